import { assert, assertEquals } from "@std/assert";
import { seededRandom } from "../../../lib/core/random.ts";
import { RequestSelection } from "../../../lib/balancer/load_balancer.ts";
import { WeightedRandom } from "../../../lib/balancer/weighted_random.ts";
import type { Server } from "../../../lib/upstream/server.ts";
import { candidatesOf, fakeServer } from "./fake_server.ts";

/** How often each server is chosen. */
function counts(servers: readonly Server[], picks: number, exclude: readonly Server[] = []): number[] {
  const algorithm = new WeightedRandom(seededRandom(5));
  const candidates = candidatesOf(servers);
  const counts = servers.map(() => 0);
  for (let i = 0; i < picks; i++) {
    const server = algorithm.pick(candidates, new RequestSelection({ exclude }, Infinity));
    if (server !== undefined) counts[servers.indexOf(server)]!++;
  }
  return counts;
}

function assertShares(counts: readonly number[], weights: readonly number[]): void {
  const picks = counts.reduce((sum, count) => sum + count, 0);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  weights.forEach((weight, i) => {
    const share = weight / total;
    // Five standard deviations: with this seed either right or wrong for good.
    const tolerance = 5 * Math.sqrt(picks * share * (1 - share)) + 1;
    assert(Math.abs(counts[i]! - picks * share) <= tolerance, `${counts} for ${weights}`);
  });
}

Deno.test("WeightedRandom.pick() chooses each server as often as its weight says", () => {
  for (const weights of [[1, 1, 1], [8, 1, 1], [1, 2, 3, 4], [0.5, 1.5], [1]]) {
    const servers = weights.map((weight, i) => fakeServer(i, { weight }));
    assertShares(counts(servers, 10_000), weights);
  }
});

Deno.test("WeightedRandom.pick() keeps the shares of the others when one was tried or is full", () => {
  const weights = [80, 2, 1];
  const servers = weights.map((weight, i) =>
    fakeServer(i, { weight, ...(i === 0 ? { maxInFlight: 0 } : {}) })
  );
  assertShares(counts(servers, 3000), [0, 2, 1]);
  const free = weights.map((weight, i) => fakeServer(i, { weight }));
  assertShares(counts(free, 3000, [free[0]!]), [0, 2, 1]);
  assertEquals(counts(free, 10, free), [0, 0, 0]);
});
