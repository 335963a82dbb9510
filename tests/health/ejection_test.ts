import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { LoadBalancer } from "../../lib/balancer/load_balancer.ts";
import { type EjectionOptions, resolveEjection } from "../../lib/health/ejection_options.ts";
import { resolveHealthCheck } from "../../lib/health/health_check_options.ts";
import { Pool } from "../../lib/upstream/pool.ts";
import type { Server } from "../../lib/upstream/server.ts";
import { FakeClock } from "../support/fake_clock.ts";

/** A load balancer of so many servers with what its ejection has told. */
class Bench implements Disposable {
  readonly clock = new FakeClock();
  readonly pool: Pool;
  readonly balancer: LoadBalancer;
  readonly told: string[] = [];

  constructor(count: number, options: EjectionOptions = {}) {
    this.pool = new Pool({
      name: "test",
      servers: Array.from({ length: count }, (_, i) => `10.0.0.${i}:80`),
    });
    this.balancer = new LoadBalancer({
      pool: this.pool,
      clock: this.clock,
      ejection: resolveEjection(options),
      onEjection: (server, ejected, reason) => this.told.push(`${server.id} ${ejected ? reason : "back"}`),
    });
  }

  fail(server: Server, times: number): void {
    for (let i = 0; i < times; i++) this.balancer.report(server, "failure", 1);
  }

  get ejected(): boolean[] {
    return this.pool.servers.map(({ ejected }) => ejected);
  }

  [Symbol.dispose](): void {
    this.balancer[Symbol.dispose]();
  }
}

Deno.test("Ejection takes a server out after failures in a row, and lets it in when its time is over", async () => {
  using bench = new Bench(4);
  const [server] = bench.pool.servers;
  bench.fail(server!, 4);
  assertEquals(server!.ejected, false);
  bench.fail(server!, 1);
  assertEquals([server!.ejected, server!.eligible], [true, false]);
  assertEquals(bench.told, ["10.0.0.0:80 5 requests failed in a row, out for 30s"]);
  await bench.clock.advance(29_999);
  assertEquals(server!.ejected, true);
  await bench.clock.advance(1);
  assertEquals([server!.ejected, server!.consecutiveFailures], [false, 0]);
  assertEquals(bench.told.at(-1), "10.0.0.0:80 back");
});

Deno.test("Ejection does not count failures that a success lies between, nor what says nothing", () => {
  using bench = new Bench(4, { failureRate: 2 });
  const [server] = bench.pool.servers;
  for (let i = 0; i < 20; i++) {
    bench.fail(server!, 4);
    bench.balancer.report(server!, "success", 1);
  }
  for (let i = 0; i < 100; i++) bench.balancer.report(server!, "ignored", 1);
  assertEquals(server!.ejected, false);
  bench.fail(server!, 2);
  bench.balancer.report(server!, "ignored", 1);
  bench.fail(server!, 3);
  assertEquals(server!.ejected, true, "a 404 in between is no success");
});

Deno.test("Ejection takes a server out that fails too often, and looks no further back than the window", async () => {
  using bench = new Bench(4, {
    consecutiveFailures: Infinity,
    failureRate: 0.5,
    minRequests: 20,
    window: "10s",
  });
  const [server] = bench.pool.servers;
  for (let i = 0; i < 19; i++) bench.balancer.report(server!, i % 2 === 0 ? "failure" : "success", 1);
  assertEquals(server!.ejected, false, "too few to tell");
  await bench.clock.advance(11_000);
  bench.fail(server!, 1);
  assertEquals(server!.ejected, false, "what was then does not count");
  for (let i = 0; i < 9; i++) bench.balancer.report(server!, "success", 1);
  bench.fail(server!, 9);
  assertEquals(server!.ejected, false);
  bench.fail(server!, 1);
  assertEquals(bench.told, ["10.0.0.0:80 55% of 20 requests failed, out for 30s"]);
});

Deno.test("Ejection lasts longer each time, up to the most, and is lived down", async () => {
  using bench = new Bench(4, { baseTime: "10s", maxTime: "25s" });
  const [server] = bench.pool.servers;
  for (let i = 0; i < 4; i++) {
    bench.fail(server!, 5);
    await bench.clock.advance(25_000);
    assertEquals(server!.ejected, false);
  }
  const times = () =>
    bench.told.filter((text) => text.includes("out for")).map((text) => text.split("out for ")[1]);
  // The 15 s of good behaviour in between live one down.
  assertEquals(times(), ["10s", "10s", "10s", "10s"]);
  bench.told.length = 0;
  for (let i = 0; i < 4; i++) {
    bench.fail(server!, 5);
    await bench.clock.advance([10_000, 20_000, 25_000, 25_000][i]!);
    assertEquals(server!.ejected, false, `time ${i}`);
  }
  assertEquals(times(), ["10s", "20s", "25s", "25s"]);
});

Deno.test("Ejection leaves the last eligible server in, and half of the pool", () => {
  using bench = new Bench(5);
  for (const server of bench.pool.servers) bench.fail(server, 5);
  assertEquals(bench.ejected, [true, true, false, false, false]);
  using pair = new Bench(2);
  const [one, other] = pair.pool.servers;
  other!.setHealth("down");
  pair.fail(one!, 50);
  assertEquals(one!.ejected, false);
  using single = new Bench(1, { maxEjectedPercent: 100 });
  single.fail(single.pool.servers[0]!, 50);
  assertEquals(single.ejected, [false]);
});

Deno.test("Ejection never leaves a pool without an eligible server, whatever fails", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 6 }),
      fc.array(fc.tuple(fc.nat(5), fc.integer({ min: 1, max: 6 }), fc.nat(20_000)), { maxLength: 40 }),
      fc.integer({ min: 1, max: 100 }),
      (count, steps, maxEjectedPercent) => {
        using bench = new Bench(count, { maxEjectedPercent });
        for (const [which, times, wait] of steps) {
          bench.fail(bench.pool.servers[which % count]!, times);
          bench.clock.tick(wait);
          const out = bench.ejected.filter(Boolean).length;
          assert(out < count && out <= Math.max(1, Math.floor(count * maxEjectedPercent / 100)));
          assert(bench.balancer.select() !== undefined);
        }
      },
    ),
    { seed: 50, numRuns: 150 },
  );
});

Deno.test("Ejection ends with a passed active check", async () => {
  const clock = new FakeClock();
  const pool = new Pool({ name: "test", servers: ["10.0.0.1:80", "10.0.0.2:80"] });
  using balancer = new LoadBalancer({
    pool,
    clock,
    healthCheck: resolveHealthCheck({ type: "tcp", jitter: 0 }),
    probe: () => Promise.resolve(),
  });
  await balancer.startHealthChecks();
  const [server] = pool.servers;
  for (let i = 0; i < 5; i++) balancer.report(server!, "failure", 1);
  assertEquals(server!.ejected, true);
  await clock.advance(1000);
  assertEquals([server!.ejected, server!.eligible], [false, true]);
  assertEquals(clock.pending, 2, "the timer of the ejection is gone, those of the checks run");
});

Deno.test("Ejection forgets a server that leaves, and lets all in when it is disposed", async () => {
  const bench = new Bench(4);
  const [first, second] = bench.pool.servers;
  bench.fail(first!, 5);
  bench.fail(second!, 5);
  assertEquals(bench.clock.pending, 2);
  await bench.pool.removeServer(first!);
  assertEquals(bench.clock.pending, 1);
  bench[Symbol.dispose]();
  bench[Symbol.dispose]();
  assertEquals([bench.clock.pending, second!.ejected], [0, false]);
});

Deno.test("LoadBalancer with ejection false never takes a server out", () => {
  using balancer = LoadBalancer.from(["10.0.0.1:80", "10.0.0.2:80"], { ejection: false });
  const [server] = balancer.pool.servers;
  for (let i = 0; i < 100; i++) balancer.report(server!, "failure", 1);
  assertEquals(server!.eligible, true);
});

Deno.test("resolveEjection() refuses a time that is none", () => {
  assertThrows(() => resolveEjection({ baseTime: "soon" }), TypeError, '"baseTime" must be a duration');
});
