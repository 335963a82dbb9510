import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Lease } from "../../../lib/core/cancellation.ts";
import { LoadBalancer } from "../../../lib/balancer/load_balancer.ts";
import { WinnerTree } from "../../../lib/balancer/least_connections.ts";

function balancerOf(weights: readonly number[]): LoadBalancer {
  return LoadBalancer.from(weights.map((weight, i) => ({ address: `10.0.0.${i}:80`, weight })), {
    balance: "least-connections",
  });
}

Deno.test("LeastConnections.pick() takes a server with the fewest requests for its weight, whatever happens", () => {
  const weights = fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 9 });
  fc.assert(
    fc.property(weights, fc.array(fc.nat(30), { maxLength: 80 }), (weights, steps) => {
      using balancer = balancerOf(weights);
      const { servers } = balancer.pool;
      const leases: Lease[] = [];
      for (const step of steps) {
        if (step > 20) leases.splice(step % Math.max(1, leases.length), 1)[0]?.release();
        if (step === 20) servers[0]!.setHealth(servers[0]!.healthy ? "down" : "up");
        const up = servers.filter((server) => server.eligible);
        const server = balancer.pick({});
        if (server === undefined) {
          assertEquals(up.length, 0);
          continue;
        }
        const least = Math.min(...up.map(({ inFlight, weight }) => inFlight / weight));
        assertEquals(server.inFlight / server.weight, least);
        leases.push(server.acquire());
      }
      for (const lease of leases) lease.release();
      assert(servers.every(({ inFlight }) => inFlight === 0));
    }),
    { seed: 11, numRuns: 200 },
  );
});

Deno.test("LeastConnections.pick() takes turns by weight when nothing is in flight", () => {
  using balancer = balancerOf([8, 1, 1]);
  const counts = [0, 0, 0];
  for (let i = 0; i < 100; i++) {
    const server = balancer.pick({})!;
    counts[balancer.pool.servers.indexOf(server)]!++;
    server.acquire().release();
  }
  assertEquals(counts, [80, 10, 10]);
});

Deno.test("LeastConnections.pick() passes over servers that were tried or are full", () => {
  using balancer = LoadBalancer.from([
    { address: "10.0.0.1:80", maxInFlight: 1 },
    { address: "10.0.0.2:80", weight: 5 },
    "10.0.0.3:80",
  ], { balance: "least-connections" });
  const [one, other, third] = balancer.pool.servers;
  one!.acquire();
  other!.acquire();
  assertEquals(balancer.pick({ exclude: [third!] }), other);
  assertEquals(balancer.pick({ exclude: [third!, other!] }), undefined);
});

Deno.test("WinnerTree knows the smallest after any changes", () => {
  const numbers = fc.array(fc.nat(20), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(numbers, fc.array(fc.tuple(fc.nat(), fc.nat(20)), { maxLength: 40 }), (numbers, changes) => {
      const tree = new WinnerTree(numbers.length, (a, b) => numbers[a]! < numbers[b]!);
      for (const [at, value] of changes) {
        const index = at % numbers.length;
        numbers[index] = value;
        tree.update(index);
        assertEquals(numbers[tree.winner], Math.min(...numbers));
      }
    }),
    { seed: 12, numRuns: 200 },
  );
});
