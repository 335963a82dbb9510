import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { type Random, seededRandom } from "../../../lib/core/random.ts";
import { RequestSelection } from "../../../lib/balancer/load_balancer.ts";
import { LoadBalancer } from "../../../lib/balancer/load_balancer.ts";
import { PowerOfTwoChoices } from "../../../lib/balancer/weighted_random.ts";
import { Pool } from "../../../lib/upstream/pool.ts";
import type { Server } from "../../../lib/upstream/server.ts";
import { candidatesOf, fakeServer } from "./fake_server.ts";

Deno.test("PowerOfTwoChoices.pick() takes the less busy of the two that it draws, always", () => {
  const loads = fc.array(fc.nat(5), { minLength: 2, maxLength: 8 });
  fc.assert(
    fc.property(loads, fc.integer(), (loads, seed) => {
      const drawn: number[] = [];
      const source = seededRandom(seed);
      const random: Random = () => {
        const value = source();
        drawn.push(Math.floor(value * loads.length));
        return value;
      };
      const servers = loads.map((load, i) => {
        const server = fakeServer(i);
        for (let k = 0; k < load; k++) server.acquire();
        return server;
      });
      const algorithm = new PowerOfTwoChoices(random);
      const candidates = candidatesOf(servers);
      for (let i = 0; i < 20; i++) {
        drawn.length = 0;
        const chosen = servers.indexOf(algorithm.pick(candidates, new RequestSelection({}, Infinity))!);
        const first = drawn[0]!;
        const second = drawn.find((index) => index !== first)!;
        if (second === undefined) continue;
        assertEquals(chosen, loads[second]! < loads[first]! ? second : first);
      }
    }),
    { seed: 22, numRuns: 200 },
  );
});

Deno.test("PowerOfTwoChoices.pick() never takes the busiest server when another can be had", () => {
  const servers = [0, 1, 2].map((i) => fakeServer(i));
  for (let i = 0; i < 3; i++) servers[2]!.acquire();
  const algorithm = new PowerOfTwoChoices(seededRandom(1));
  const candidates = candidatesOf(servers);
  for (let i = 0; i < 1000; i++) {
    assert(algorithm.pick(candidates, new RequestSelection({}, Infinity)) !== servers[2]);
  }
});

Deno.test("PowerOfTwoChoices.pick() takes what is left", () => {
  const [one, other, third] = [0, 1, 2].map((i) => fakeServer(i)) as [Server, Server, Server];
  const algorithm = new PowerOfTwoChoices(seededRandom(1));
  const pick = (exclude: Server[]) =>
    algorithm.pick(candidatesOf([one, other, third]), new RequestSelection({ exclude }, Infinity));
  assertStrictEquals(pick([one, other]), third);
  assertEquals(pick([one, other, third]), undefined);
  assertEquals(algorithm.pick(candidatesOf([one]), new RequestSelection({}, Infinity)), one);
});

Deno.test("PowerOfTwoChoices spreads requests in flight by weight", () => {
  const servers = [4, 2, 1, 1].map((weight, i) => ({ address: `10.0.0.${i}:80`, weight }));
  const pool = new Pool({ name: "test", servers });
  using balancer = new LoadBalancer({ pool, balance: "p2c", random: seededRandom(3) });
  for (let i = 0; i < 800; i++) balancer.pick({})!.acquire();
  pool.servers.forEach(({ inFlight }, i) => {
    const ideal = [400, 200, 100, 100][i]!;
    assert(Math.abs(inFlight - ideal) < 10, `${pool.servers.map((server) => server.inFlight)}`);
  });
});
