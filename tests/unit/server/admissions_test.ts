import { assert, assertEquals } from "@std/assert";
import { seededRandom } from "../../../lib/core/random.ts";
import { resolvePolicies } from "../../../lib/limiter/resolve_policy.ts";
import { silentObserver } from "../../../lib/observe/observer.ts";
import type { Exchange } from "../../../lib/proxy/exchange.ts";
import { Admissions, LimiterStores } from "../../../lib/server/admissions.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const GET = {
  request: new Request("http://h/"),
  clientIp: "192.0.2.1",
  target: "/",
  host: "h",
} as unknown as Exchange;

Deno.test("Admissions count a proxy's policy together for all routes, and a route's for itself", () => {
  const proxy = resolvePolicies({ key: "ip", limit: 5, window: "1h" });
  const api = resolvePolicies({ key: "ip", limit: 2, window: "1h" }, "api");
  const files = resolvePolicies({ key: "ip", limit: 4, window: "1h" }, "files");
  const parts = { clock: new FakeClock(), random: seededRandom(1), observer: silentObserver };
  using admissions = new Admissions([...proxy, ...api, ...files], parts, new LimiterStores(parts));
  const ask = (policies: typeof proxy): string[] => {
    const decision = admissions.create(policies)!.limiter.check(GET);
    return decision.kind === "limited" ? [...decision.violated] : [];
  };
  // Two limiters of the same policies are one.
  const seen = [api, api, api, files, files, files, files].map((route) => ask([...proxy, ...route]));
  assertEquals(seen, [[], [], ["api"], [], [], [], ["default"]]);
  assertEquals(ask(files), []);
  assertEquals(ask(files), ["files"]);
  assert(admissions.create([]) === null);
});
