import { assert, assertEquals, assertNotStrictEquals, assertStrictEquals } from "@std/assert";
import { seededRandom } from "../../../lib/core/random.ts";
import type { LimitedDecision } from "../../../lib/limiter/policy.ts";
import { RateLimiter } from "../../../lib/limiter/limiter.ts";
import { RefusalBodies, refusalBody } from "../../../lib/limiter/limit_headers.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const SOURCE = {
  request: new Request("http://a.example/"),
  clientIp: "192.0.2.1",
  target: "/",
  host: "a.example",
};
const parts = () => ({ clock: new FakeClock(), random: seededRandom(1), maxKeys: 1000 });

/** What the second request is told when each may come once. */
function refuse(...names: string[]): LimitedDecision {
  const policies = names.map((name) => ({ name, key: "ip" as const, limit: 1, window: "1m" as const }));
  using limiter = new RateLimiter(policies, parts());
  limiter.check(SOURCE);
  const decision = limiter.check(SOURCE);
  assert(decision.kind === "limited");
  return decision;
}

Deno.test("RefusalBodies.get() gives what refusalBody() makes, and for one policy always the same", () => {
  const bodies = new RefusalBodies();
  for (const decision of [refuse("a"), refuse("b"), refuse("a", "b")]) {
    assertEquals(bodies.get(decision), refusalBody(decision));
    assertEquals(bodies.get(decision), refusalBody(decision));
  }
  assertStrictEquals(bodies.get(refuse("a")), bodies.get(refuse("a")));
  assertNotStrictEquals(bodies.get(refuse("a")), bodies.get(refuse("b")));
});

Deno.test("RefusalBodies.get() makes anew what is refused for another reason", () => {
  using limiter = new RateLimiter({
    name: "a",
    key: "header:appid",
    limit: 1,
    window: "1m",
    onMissingKey: "reject",
  }, parts());
  const decision = limiter.check(SOURCE);
  assert(decision.kind === "limited" && decision.reason === "missing-key");
  const bodies = new RefusalBodies();
  bodies.get(refuse("a"));
  assertEquals(bodies.get(decision), refusalBody(decision));
});
