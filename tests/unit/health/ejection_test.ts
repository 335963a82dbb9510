import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { LoadBalancer } from "../../../lib/balancer/load_balancer.ts";
import type { LoadBalancerInit } from "../../../lib/balancer/load_balancer_options.ts";
import { type EjectionOptions, resolveEjection } from "../../../lib/health/ejection_options.ts";
import {
  type ActiveCheckOptions,
  type CheckPacing,
  resolveHealthCheck,
} from "../../../lib/health/health_check_options.ts";
import { Pool } from "../../../lib/upstream/pool.ts";
import type { Server, Stage } from "../../../lib/upstream/server.ts";
import { FakeClock } from "../../support/fake_clock.ts";

/** A load balancer of so many servers with what its ejection has told. */
class Bench implements Disposable {
  readonly clock = new FakeClock();
  readonly pool: Pool;
  readonly balancer: LoadBalancer;
  readonly told: string[] = [];

  constructor(count: number, options: EjectionOptions = {}, more: Partial<LoadBalancerInit> = {}) {
    this.pool = new Pool({
      name: "test",
      servers: Array.from({ length: count }, (_, i) => `10.0.0.${i}:80`),
    });
    this.balancer = new LoadBalancer({
      pool: this.pool,
      clock: this.clock,
      ejection: resolveEjection(options),
      onEjection: (server, ejected, reason) => this.told.push(`${server.id} ${ejected ? reason : "back"}`),
      ...more,
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

Deno.test("Ejection lets one request at a time through afterwards, until one gets a response", async () => {
  for (const [outcome, stage] of [["success", "response"], ["ignored", "response"]] as const) {
    using bench = new Bench(2);
    const [server] = bench.pool.servers;
    const download = server!.acquire();
    bench.fail(server!, 5);
    await bench.clock.advance(30_000);
    assertEquals([server!.eligible, server!.halfOpen, server!.full], [true, true, false]);
    const first = server!.acquire();
    assertEquals([server!.ineligibility, server!.inFlight], ["full", 2], "what ran before does not count");
    // The client went away: that says nothing.
    bench.balancer.report(server!, "ignored", 0, "request");
    first.release();
    assertEquals([server!.halfOpen, server!.full], [true, false]);
    const second = server!.acquire();
    bench.balancer.report(server!, outcome, 0, stage);
    assertEquals([server!.halfOpen, server!.full], [false, false]);
    using _third = server!.acquire();
    second.release();
    assertEquals(server!.full, false);
    assertEquals(bench.told, ["10.0.0.0:80 5 requests failed in a row, out for 30s", "10.0.0.0:80 back"]);
    download.release();
  }
});

Deno.test("Ejection takes a server out again, for longer, when the first request afterwards fails", async () => {
  using bench = new Bench(2);
  const [server] = bench.pool.servers;
  bench.fail(server!, 5);
  await bench.clock.advance(30_000);
  using _trial = server!.acquire();
  bench.balancer.report(server!, "failure", 0, "request");
  assertEquals([server!.ejected, server!.halfOpen], [true, false]);
  assertEquals(bench.told.at(-1), "10.0.0.0:80 the first request after its ejection failed, out for 1m");
  await bench.clock.advance(60_000);
  assertEquals([server!.ejected, server!.halfOpen, server!.full], [false, true, false]);
});

Deno.test("Ejection does not take the end of requests that ran before for news", async () => {
  using bench = new Bench(2);
  const [server] = bench.pool.servers;
  bench.fail(server!, 5);
  await bench.clock.advance(30_000);
  bench.balancer.report(server!, "failure", 30_001, "request");
  assertEquals(server!.halfOpen, true);
  bench.balancer.report(server!, "success", 30_001);
  assertEquals(server!.halfOpen, true);
});

Deno.test("Ejection leaves a server half open when there is no other one", async () => {
  using bench = new Bench(2);
  const [server, other] = bench.pool.servers;
  bench.fail(server!, 5);
  await bench.clock.advance(30_000);
  other!.setHealth("down");
  server!.acquire().release();
  bench.balancer.report(server!, "failure", 0, "request");
  assertEquals([server!.ejected, server!.halfOpen, server!.full], [false, true, false]);
  other!.setHealth("up");
  bench.fail(other!, 5);
  assertEquals(other!.ejected, false, "one that is half open is none that could serve");
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
    await bench.clock.advance(10_000);
    assertEquals(server!.ejected, false);
    bench.balancer.report(server!, "success", 0);
    await bench.clock.advance(15_000);
  }
  const times = () =>
    bench.told.filter((text) => text.includes("out for")).map((text) => text.split("out for ")[1]);
  // The 15 s of good behaviour in between live one down.
  assertEquals(times(), ["10s", "10s", "10s", "10s"]);
  bench.told.length = 0;
  for (let i = 0; i < 4; i++) {
    bench.fail(server!, 5);
    if (i > 0) bench.balancer.report(server!, "failure", 0);
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

/** A pool with checks of one kind that pass as long as `passing` says so, one a second. */
class CheckedBench extends Bench {
  passing = true;

  constructor(type: "tcp" | "tls" | "http" | "custom", pacing: CheckPacing = {}) {
    const check = { type, check: () => Promise.resolve(), jitter: 0, ...pacing } as ActiveCheckOptions;
    const probe = () => this.passing ? Promise.resolve() : Promise.reject(new Error("no"));
    super(2, {}, { healthCheck: resolveHealthCheck(check), probe });
  }

  get states(): string[] {
    return this.pool.servers.map(({ ejected, halfOpen }) => ejected ? "out" : halfOpen ? "half open" : "in");
  }
}

Deno.test("Ejection ends early only with a check that tries what failed", async () => {
  const table: [check: ConstructorParameters<typeof CheckedBench>[0], failed: Stage, after: string][] = [
    ["tcp", "connect", "in"],
    ["tls", "connect", "in"],
    ["http", "connect", "in"],
    ["custom", "connect", "in"],
    ["tcp", "tls", "out"],
    ["tls", "tls", "in"],
    ["http", "tls", "in"],
    ["tcp", "request", "out"],
    ["tls", "request", "out"],
    ["http", "request", "half open"],
    ["custom", "request", "half open"],
    ["tcp", "response", "out"],
    ["http", "response", "half open"],
  ];
  for (const [type, stage, after] of table) {
    using bench = new CheckedBench(type);
    await bench.balancer.startHealthChecks();
    const [server] = bench.pool.servers;
    for (let i = 0; i < 5; i++) bench.balancer.report(server!, "failure", 0, stage);
    assertEquals(bench.states, ["out", "in"]);
    await bench.clock.advance(29_000);
    assertEquals(bench.states, [after, "in"], `${type} after failures at ${stage}`);
    if (after !== "out") assertEquals(bench.clock.pending, 2, "the timer of the ejection is gone");
  }
});

Deno.test("Ejection goes by the furthest of the failures in a row, and of those in the window", async () => {
  using row = new CheckedBench("tcp");
  await row.balancer.startHealthChecks();
  const fail = (bench: Bench, stage: Stage) =>
    bench.balancer.report(bench.pool.servers[0]!, "failure", 0, stage);
  for (const stage of ["connect", "request", "connect", "connect", "connect"] as const) fail(row, stage);
  await row.clock.advance(5000);
  assertEquals(row.states, ["out", "in"]);
  using later = new CheckedBench("tcp");
  await later.balancer.startHealthChecks();
  fail(later, "request");
  later.balancer.report(later.pool.servers[0]!, "success", 0);
  for (let i = 0; i < 5; i++) fail(later, "connect");
  assertEquals(later.states, ["out", "in"]);
  await later.clock.advance(1000);
  assertEquals(later.states, ["in", "in"]);
  using often = new CheckedBench("tcp");
  await often.balancer.startHealthChecks();
  for (let i = 0; i < 10; i++) {
    fail(often, i === 0 ? "response" : "connect");
    often.balancer.report(often.pool.servers[0]!, "success", 0);
  }
  fail(often, "connect");
  assertEquals(often.states, ["out", "in"]);
  await often.clock.advance(9000);
  assertEquals(often.states, ["out", "in"]);
});

Deno.test("Ejection goes on as it would have when a request fails after a check has ended it", async () => {
  using bench = new CheckedBench("http");
  await bench.balancer.startHealthChecks();
  const [server] = bench.pool.servers;
  bench.fail(server!, 5);
  await bench.clock.advance(1000);
  assertEquals(bench.states, ["half open", "in"]);
  server!.acquire().release();
  bench.balancer.report(server!, "failure", 0, "response");
  assertEquals(bench.told.at(-1), "10.0.0.0:80 a request failed although its check has passed, out for 29s");
  await bench.clock.advance(28_999);
  assertEquals(bench.states, ["out", "in"], "29 checks have passed, and nobody believes them");
  await bench.clock.advance(1);
  assertEquals(bench.states, ["half open", "in"]);
  bench.balancer.report(server!, "failure", 0, "response");
  assertEquals(bench.told.at(-1), "10.0.0.0:80 the first request after its ejection failed, out for 1m");
  bench.passing = false;
  await bench.clock.advance(1000);
  bench.passing = true;
  await bench.clock.advance(1000);
  assertEquals(bench.states, ["half open", "in"], "a check that has failed since says something new");
});

Deno.test("Ejection does not take a check of another port for proof", async () => {
  using bench = new CheckedBench("tcp", { port: 81 });
  await bench.balancer.startHealthChecks();
  const [server] = bench.pool.servers;
  for (let i = 0; i < 5; i++) bench.balancer.report(server!, "failure", 0, "connect");
  await bench.clock.advance(1000);
  assertEquals(bench.states, ["half open", "in"]);
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

Deno.test("LoadBalancer.from() refuses a time that is none", () => {
  const from = () => LoadBalancer.from(["10.0.0.1:80"], { ejection: { baseTime: "soon" } });
  assertThrows(from, TypeError, 'Cannot make a load balancer: "ejection.baseTime" must be a duration');
});
