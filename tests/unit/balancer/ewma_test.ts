import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { seededRandom } from "../../../lib/core/random.ts";
import { RequestSelection } from "../../../lib/balancer/load_balancer.ts";
import { Ewma } from "../../../lib/balancer/weighted_random.ts";
import type { Server } from "../../../lib/upstream/server.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { candidatesOf, fakeServer } from "./fake_server.ts";

const clock = () => new FakeClock();

/** How often each server is chosen when each request takes as long as its server does. */
function counts(
  time: FakeClock,
  ewma: Ewma,
  servers: readonly Server[],
  latencies: readonly number[],
): number[] {
  const candidates = candidatesOf(servers);
  const counts = servers.map(() => 0);
  for (let i = 0; i < 1000; i++) {
    const server = ewma.pick(candidates, new RequestSelection({}, Infinity))!;
    const index = servers.indexOf(server);
    counts[index]!++;
    time.tick(1);
    ewma.observe(server, "success", latencies[index]!);
  }
  return counts;
}

Deno.test("Ewma.pick() prefers the faster of two servers, and tries the slow one again", () => {
  const time = clock();
  const ewma = new Ewma(time, seededRandom(1), { decayMs: 100 });
  const servers = [fakeServer(1), fakeServer(2)];
  const [fast, slow] = counts(time, ewma, servers, [10, 100]) as [number, number];
  assert(fast > 900 && slow >= 3, `${fast} and ${slow}`);
});

Deno.test("Ewma.pick() prefers the server with less to do when both are as fast", () => {
  const ewma = new Ewma(clock(), seededRandom(1));
  const [busy, idle] = [fakeServer(1), fakeServer(2)];
  busy.acquire();
  for (const server of [busy, idle]) ewma.observe(server, "success", 20);
  for (let i = 0; i < 50; i++) {
    assertEquals(ewma.pick(candidatesOf([busy, idle]), new RequestSelection({}, Infinity)), idle);
  }
});

Deno.test("Ewma.pick() starves no idle server of little weight, and gives a busy one its share, on any scale", () => {
  for (const scale of [0.01, 1, 100]) {
    const ewma = new Ewma(clock(), seededRandom(1));
    const [heavy, light] = [fakeServer(1, { weight: 3 * scale }), fakeServer(2, { weight: scale })];
    const candidates = candidatesOf([heavy, light]);
    const pick = () => ewma.pick(candidates, new RequestSelection({}, Infinity))!;
    assertEquals(new Set(Array.from({ length: 20 }, pick)), new Set([heavy, light]));
    for (const server of [heavy, light]) ewma.observe(server, "success", 20);
    for (let i = 0; i < 400; i++) pick().acquire();
    assertAlmostEquals(heavy.inFlight, 300, 2);
  }
});

Deno.test("Ewma.observe() does not take failing fast for being fast", () => {
  const ewma = new Ewma(clock(), seededRandom(1));
  const [good, broken] = [fakeServer(1), fakeServer(2)];
  ewma.observe(good, "success", 50);
  ewma.observe(broken, "failure", 1);
  assertEquals(ewma.estimate(broken), 500);
  for (let i = 0; i < 50; i++) {
    assertEquals(ewma.pick(candidatesOf([good, broken]), new RequestSelection({}, Infinity)), good);
  }
  for (let i = 0; i < 10; i++) ewma.observe(broken, "failure", 1);
  assertEquals(ewma.estimate(broken), 500, "failing on does not add up without end");
});

Deno.test("Ewma.estimate() of a new server is the average of the pool", () => {
  const time = clock();
  const ewma = new Ewma(time, seededRandom(1), { decayMs: 1000 });
  const servers = [fakeServer(1), fakeServer(2)];
  for (let i = 0; i < 2000; i++) {
    time.tick(10);
    ewma.observe(servers[i % 2]!, "success", i % 2 === 0 ? 10 : 30);
  }
  assertAlmostEquals(ewma.estimate(fakeServer(3)), 20, 0.5);
});

Deno.test("Ewma.observe() forgets with time, and not with the number of requests", () => {
  const time = clock();
  const ewma = new Ewma(time, seededRandom(1), { decayMs: 1000 });
  const server = fakeServer(1);
  ewma.observe(server, "success", 100);
  time.tick(1000);
  ewma.observe(server, "success", 0.1);
  assertAlmostEquals(ewma.estimate(server), 0.1 + 99.9 / Math.E, 0.001);
  for (let i = 0; i < 100; i++) ewma.observe(server, "success", 100);
  assertAlmostEquals(
    ewma.estimate(server),
    0.1 + 99.9 / Math.E,
    0.001,
    "a burst of one moment counts little",
  );
});

Deno.test("Ewma.observe() does not take refusing fast for being fast, and not for a response of the pool", () => {
  const time = clock();
  const ewma = new Ewma(time, seededRandom(1), { decayMs: 1000 });
  const [good, refusing, slow] = [fakeServer(1), fakeServer(2), fakeServer(3)];
  for (let i = 0; i < 200; i++) {
    time.tick(50);
    ewma.observe(good, "success", 20);
    ewma.observe(refusing, "ignored", 0.5);
    ewma.observe(slow, "ignored", 300);
  }
  for (const [server, ms] of [[good, 20], [refusing, 20], [slow, 300], [fakeServer(4), 20]] as const) {
    assertAlmostEquals(ewma.estimate(server), ms, 0.5);
  }
});
