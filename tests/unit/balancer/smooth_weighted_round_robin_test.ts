import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Algorithm } from "../../../lib/balancer/algorithm.ts";
import { RequestSelection } from "../../../lib/balancer/load_balancer.ts";
import { LoadBalancer } from "../../../lib/balancer/load_balancer.ts";
import { createRoundRobin } from "../../../lib/balancer/smooth_weighted_round_robin.ts";
import type { Server } from "../../../lib/upstream/server.ts";
import { SHARED_SERVERS_BYTES, SharedServers } from "../../../lib/upstream/shared_servers.ts";
import { candidatesOf, fakeServer } from "./fake_server.ts";

const SEED = { seed: 20260726, numRuns: 200 };

/** The algorithm of nginx with no thought for speed: the oracle. */
function naive(weights: readonly number[], picks: number): number[] {
  const current = weights.map(() => 0);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return Array.from({ length: picks }, () => {
    weights.forEach((weight, i) => current[i]! += weight);
    const best = current.indexOf(Math.max(...current));
    current[best]! -= total;
    return best;
  });
}

/** Which servers a balancer of these weights chooses, by their place in the list. */
function sequence(weights: readonly number[], picks: number): number[] {
  const servers = weights.map((weight, i) => fakeServer(i + 1, { weight }));
  const algorithm = createRoundRobin(null);
  const candidates = candidatesOf(servers);
  return Array.from({ length: picks }, () => {
    return servers.indexOf(algorithm.pick(candidates, new RequestSelection({}, Infinity))!);
  });
}

Deno.test("SmoothWeightedRoundRobin.pick() gives nginx's own example, a a b a c a a", () => {
  assertEquals(sequence([5, 1, 1], 14), [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
});

Deno.test("SmoothWeightedRoundRobin.pick() alternates exactly between two equal servers", () => {
  assertEquals(sequence([1, 1], 10), [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
});

Deno.test("SmoothWeightedRoundRobin.pick() gives the sequence of the naive algorithm for any weights", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 12 }), (weights) => {
      const picks = 3 * weights.reduce((sum, weight) => sum + weight, 0);
      assertEquals(sequence(weights, picks), naive(weights, picks));
    }),
    SEED,
  );
});

Deno.test("SmoothWeightedRoundRobin.pick() stays within 1 of each share over a cycle, whoever is down", () => {
  const server = fc.record({ weight: fc.integer({ min: 1, max: 30 }), down: fc.boolean() });
  fc.assert(
    fc.property(
      fc.array(server, { minLength: 1, maxLength: 10 }),
      fc.integer({ min: 0, max: 60 }),
      (specs, picksBefore) => {
        using balancer = LoadBalancer.from(
          specs.map(({ weight }, i) => ({ address: `10.0.0.${i}:80`, weight })),
        );
        const { servers } = balancer.pool;
        for (let i = 0; i < picksBefore; i++) balancer.select();
        specs.forEach(({ down }, i) => down && servers[i]!.setHealth("down"));
        const total = specs.reduce((sum, { weight, down }) => sum + (down ? 0 : weight), 0);
        const counts = specs.map(() => 0);
        for (let i = 0; i < total; i++) counts[servers.indexOf(balancer.select()!)]!++;
        specs.forEach(({ weight, down }, i) => {
          assert(Math.abs(counts[i]! - (down ? 0 : weight)) <= 1, `${JSON.stringify(specs)} gave ${counts}`);
        });
      },
    ),
    SEED,
  );
});

Deno.test("SmoothWeightedRoundRobin.pick() shares 50/50 when the heavy one of 8, 1, 1 is down", () => {
  using balancer = LoadBalancer.from([
    { address: "10.0.0.1:80", weight: 8 },
    "10.0.0.2:80",
    "10.0.0.3:80",
  ]);
  balancer.pool.servers[0]!.setHealth("down");
  const ids = Array.from({ length: 10 }, () => balancer.select()!.id);
  assertEquals(ids.filter((id) => id === "10.0.0.2:80").length, 5);
  assertEquals(ids.filter((id) => id === "10.0.0.3:80").length, 5);
});

Deno.test("SmoothWeightedRoundRobin.pick() gives a server that comes back its share and no burst", () => {
  using balancer = LoadBalancer.from(["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
  const [first] = balancer.pool.servers;
  first!.setHealth("down");
  for (let i = 0; i < 1000; i++) balancer.select();
  first!.setHealth("up");
  const ids = Array.from({ length: 9 }, () => balancer.select()!.id);
  assertEquals(ids.filter((id) => id === first!.id).length, 3);
});

Deno.test("SmoothWeightedRoundRobin.pick() goes on with its turns when servers come and go", () => {
  using balancer = LoadBalancer.from(["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
  const [first] = balancer.pool.servers;
  const seen = new Map<string, number>();
  for (let i = 0; i < 300; i++) {
    const { id } = balancer.select()!;
    seen.set(id, (seen.get(id) ?? 0) + 1);
    // Flapping at each request must not send everything to the first of the list.
    first!.setHealth(i % 2 === 0 ? "down" : "up");
  }
  assert(seen.get("10.0.0.2:80")! >= 100 && seen.get("10.0.0.3:80")! >= 100, JSON.stringify([...seen]));
  assert(seen.get("10.0.0.1:80")! >= 40, JSON.stringify([...seen]));
});

Deno.test("SmoothWeightedRoundRobin.pick() shares in proportion among those that are not full", () => {
  const servers = [8, 2, 1].map((weight, i) =>
    fakeServer(i, { weight, ...(i === 0 ? { maxInFlight: 0 } : {}) })
  );
  const algorithm = createRoundRobin(null);
  const candidates = candidatesOf(servers);
  const counts = [0, 0, 0];
  for (let i = 0; i < 300; i++) {
    counts[servers.indexOf(algorithm.pick(candidates, new RequestSelection({}, Infinity))!)]!++;
  }
  assertEquals(counts, [0, 200, 100]);
});

Deno.test("SmoothWeightedRoundRobin.pick() skips servers that were tried, and ends with nothing", () => {
  const servers = [1, 2, 3].map((weight) => fakeServer(weight, { weight }));
  const algorithm = createRoundRobin(null);
  const candidates = candidatesOf(servers);
  for (let round = 0; round < 20; round++) {
    const tried: Server[] = [];
    for (let i = 0; i < 3; i++) {
      const server = algorithm.pick(candidates, new RequestSelection({ exclude: tried }, Infinity))!;
      assert(!tried.includes(server));
      tried.push(server);
    }
    assertEquals(algorithm.pick(candidates, new RequestSelection({ exclude: tried }, Infinity)), undefined);
  }
});

/** Algorithms of several processes that take turns together, on the same servers. */
function sharedAlgorithms(count: number): Algorithm[] {
  const buffer = new ArrayBuffer(SHARED_SERVERS_BYTES);
  const slot = new SharedServers(buffer, 0).allocate();
  return Array.from({ length: count }, (_, process) => {
    return createRoundRobin({ cells: new SharedServers(buffer, process).cells(slot), rank: 0 });
  });
}

Deno.test("createRoundRobin() lets processes take the turns of one, whichever is asked", () => {
  const asked = fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 120 });
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 12 }),
      asked,
      (weights, processes) => {
        const servers = weights.map((weight, i) => fakeServer(i + 1, { weight }));
        const candidates = candidatesOf(servers);
        const algorithms = sharedAlgorithms(4);
        const chosen = processes.map((process) => {
          return servers.indexOf(algorithms[process]!.pick(candidates, new RequestSelection({}, Infinity))!);
        });
        assertEquals(chosen, naive(weights, processes.length));
      },
    ),
    SEED,
  );
});

Deno.test("createRoundRobin() of several processes keeps shares of any weights", () => {
  for (const weights of [[0.5, 1.5], [1, 9_999, 5_000], [0.1, 1, 1, 1], [7_919, 7_907, 3]]) {
    const servers = weights.map((weight, i) => fakeServer(i + 1, { weight }));
    const candidates = candidatesOf(servers);
    const [algorithm] = sharedAlgorithms(1);
    const counts = weights.map(() => 0);
    const picks = 40_000;
    for (let i = 0; i < picks; i++) {
      counts[servers.indexOf(algorithm!.pick(candidates, new RequestSelection({}, Infinity))!)]!++;
    }
    counts.forEach((count, i) => {
      const share = weights[i]! / candidates.totalWeight;
      assert(Math.abs(count / picks - share) < 1 / 2000, `${weights} gave ${counts}`);
      assert(count > 0);
    });
  }
});

Deno.test("createRoundRobin() of several processes shares among those that are not full, and keeps retries apart", () => {
  const servers = [1, 2, 3].map((i) => fakeServer(i, { maxInFlight: 1 }));
  const candidates = candidatesOf(servers);
  const [one, other] = sharedAlgorithms(2);
  const lease = servers[1]!.acquire();
  const counts = [0, 0, 0];
  for (let i = 0; i < 30; i++) {
    counts[
      servers.indexOf((i % 3 === 0 ? one : other)!.pick(candidates, new RequestSelection({}, Infinity))!)
    ]!++;
  }
  assertEquals(counts, [15, 0, 15]);
  lease.release();
  const first = () => servers.indexOf(one!.pick(candidates, new RequestSelection({}, Infinity))!);
  const again = (exclude: Server[]) =>
    servers.indexOf(other!.pick(candidates, new RequestSelection({ exclude }, Infinity))!);
  const before = first();
  // Each request fails at its first server and is sent to another one: all have first attempts all the same.
  const tried = [1, 2, 3].map(() => {
    const place = first();
    assert(again([servers[place]!]) !== place);
    return place;
  });
  assertEquals(tried, [1, 2, 3].map((turn) => (before + turn) % 3));
  assertEquals(again(servers), -1);
});
