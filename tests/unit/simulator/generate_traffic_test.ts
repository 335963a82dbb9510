import { assert, assertEquals } from "@std/assert";
import { seededRandom } from "../../../lib/core/random.ts";
import { resolvePolicies } from "../../../lib/limiter/resolve_policy.ts";
import { generateTraffic } from "../../../lib/simulator/simulated_request.ts";

const policies = resolvePolicies([
  { name: "a", key: "header:appid", limit: 1, window: "1s" },
  { name: "b", key: ["cookie:sid", "query:q", "ip"], limit: 1, window: "1s" },
  { name: "c", key: "path", limit: 1, window: "1s" },
  { name: "d", key: "host", limit: 1, window: "1s" },
  { name: "e", key: () => "all", limit: 1, window: "1s" },
]);

Deno.test("generateTraffic() makes clients that differ in everything that is counted by", () => {
  const random = seededRandom(3);
  const requests = [...generateTraffic({ perSecond: 100, keys: 5, forMs: 10_000, random }, policies)];
  const differing = (of: (request: typeof requests[number]) => unknown) => new Set(requests.map(of)).size;
  assertEquals(differing(({ ip }) => ip), 5);
  assertEquals(differing(({ headers }) => headers?.appid), 5);
  assertEquals(differing(({ headers }) => headers?.cookie), 5);
  assertEquals(differing(({ target }) => target), 5);
  assertEquals(differing(({ host }) => host), 5);
});

Deno.test("generateTraffic() keeps its rate and its length, and is the same for the same seed", () => {
  const traffic = { perSecond: 200, keys: 3, forMs: 60_000 };
  const times = (seed: number) =>
    [...generateTraffic({ ...traffic, random: seededRandom(seed) }, policies)].map(({ atMs }) => atMs);
  const once = times(9);
  // The count of a Poisson process: 12,000, give or take five times the root of it.
  assert(Math.abs(once.length - 12_000) < 550, `${once.length}`);
  assert(once.every((atMs, i) => atMs < 60_000 && (i === 0 || atMs >= once[i - 1]!)));
  assertEquals(times(9), once);
});
