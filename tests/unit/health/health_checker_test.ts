import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { seededRandom } from "../../../lib/core/random.ts";
import { systemClock } from "../../../lib/core/clock.ts";
import {
  type CheckPacing,
  type CheckServer,
  resolveHealthCheck,
} from "../../../lib/health/health_check_options.ts";
import { HealthChecker } from "../../../lib/health/health_checker.ts";
import { type Probe, tcpCheck } from "../../../lib/health/probe.ts";
import { Pool } from "../../../lib/upstream/pool.ts";
import type { Server } from "../../../lib/upstream/server.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { keepAlive } from "../../support/keep_alive.ts";
import { StrayErrors } from "../../support/stray_errors.ts";

/** A checker over servers that are up as long as `down` does not name them. */
class Bench implements Disposable {
  readonly clock = new FakeClock();
  readonly pool: Pool;
  readonly down = new Set<string>();
  readonly probed: string[] = [];
  readonly lacking = new Set<string>();
  readonly flips: string[] = [];
  readonly told: string[] = [];
  readonly checker: HealthChecker;

  constructor(count: number, options?: CheckPacing, probe?: Probe) {
    const servers = Array.from({ length: count }, (_, i) => `10.0.${i >> 8}.${i & 255}:80`);
    this.pool = new Pool({ name: "test", servers });
    this.checker = new HealthChecker({
      pool: this.pool,
      check: resolveHealthCheck({ type: "tcp", jitter: 0, ...options }),
      probe: probe ?? ((server) => this.#probe(server)),
      clock: this.clock,
      random: seededRandom(1),
      onImpossible: (server, reason) => this.told.push(`${server.id} ${reason}`),
      onChange: (server, healthy, reason) =>
        this.flips.push(`${server.id} ${healthy ? "up" : `down: ${reason}`}`),
    });
  }

  #probe({ id }: Server): Promise<void> {
    this.probed.push(id);
    if (this.lacking.has(id)) {
      return Promise.reject(Object.assign(new Error("no socket"), { code: "EMFILE" }));
    }
    return this.down.has(id) ? Promise.reject(new Error("refused")) : Promise.resolve();
  }

  get healthy(): boolean[] {
    return this.pool.servers.map((server) => server.healthy);
  }

  [Symbol.dispose](): void {
    this.checker[Symbol.dispose]();
    this.pool[Symbol.dispose]();
  }
}

Deno.test("HealthChecker.firstRound() checks every server at once and then knows", async () => {
  using bench = new Bench(3);
  bench.down.add("10.0.0.1:80");
  const round = bench.checker.firstRound();
  assertEquals(bench.healthy, [false, false, false], "nothing is known yet");
  await round;
  assertEquals(bench.healthy, [true, false, true]);
  assertEquals(bench.flips, ["10.0.0.1:80 down: refused"]);
});

Deno.test("HealthChecker.firstRound() of no servers is over at once", async () => {
  using bench = new Bench(0);
  await bench.checker.firstRound();
  assertEquals(bench.clock.pending, 0);
});

Deno.test("HealthChecker.firstRound() waits no longer than the timeout", async () => {
  using bench = new Bench(500, { timeout: "2s" }, () => new Promise(() => {}));
  let over = false;
  const round = bench.checker.firstRound().then(() => over = true);
  await bench.clock.advance(1999);
  assertEquals(over, false);
  await bench.clock.advance(1);
  await round;
});

Deno.test("HealthChecker calls back once a flip, up and down", async () => {
  using bench = new Bench(1);
  await bench.checker.firstRound();
  for (const down of [true, true, true, false, false, true]) {
    if (down) bench.down.add("10.0.0.0:80");
    else bench.down.clear();
    await bench.clock.advance(1000);
  }
  assertEquals(bench.flips, ["10.0.0.0:80 down: refused", "10.0.0.0:80 up", "10.0.0.0:80 down: refused"]);
  assertEquals(bench.probed.length, 7);
});

Deno.test("HealthChecker believes nothing of a check that this machine had no socket for, and tells of it once", async () => {
  using bench = new Bench(3, { fall: 2 });
  const [up, down, unseen] = bench.pool.servers.map(({ id }) => id) as [string, string, string];
  bench.down.add(down);
  bench.lacking.add(unseen);
  await bench.checker.firstRound();
  assertEquals([bench.healthy, bench.told], [[true, false, false], [`${unseen} no socket`]]);
  bench.lacking.clear();
  await bench.clock.advance(1000);
  assertEquals(bench.healthy, [true, false, true], "the first verdict decides alone, as always");
  for (const id of [up, down]) bench.lacking.add(id);
  await bench.clock.advance(5000);
  assertEquals(bench.healthy, [true, false, true]);
  assertEquals(
    bench.told,
    [`${unseen} no socket`, `${up} no socket`],
    "once until that server is checked again",
  );
  bench.lacking.clear();
  bench.down.add(up);
  await bench.clock.advance(1000);
  assertEquals(bench.healthy[0], true, "failures before and after are counted, those in between are not");
  bench.lacking.add(up);
  await bench.clock.advance(1000);
  bench.lacking.clear();
  await bench.clock.advance(1000);
  assertEquals(bench.healthy[0], false);
  assertEquals(bench.told.length, 3);
});

Deno.test("HealthChecker takes `fall` failures and `rise` passes in a row", async () => {
  using bench = new Bench(1, { rise: 2, fall: 3 });
  await bench.checker.firstRound();
  const seen: boolean[] = [];
  for (const result of "--+---+-++") {
    if (result === "-") bench.down.add("10.0.0.0:80");
    else bench.down.clear();
    await bench.clock.advance(1000);
    seen.push(bench.healthy[0]!);
  }
  assertEquals(seen, [true, true, true, true, true, false, false, false, false, true]);
});

Deno.test("HealthChecker counts a check that takes too long as failed, and calls it off", async () => {
  let aborted = 0;
  const hangs: Probe = (_, signal) =>
    new Promise((_, reject) => {
      signal.onabort = () => {
        aborted++;
        reject(signal.reason);
      };
    });
  using bench = new Bench(1, { interval: "500ms", timeout: "1s" }, hangs);
  bench.checker.start();
  await bench.clock.advance(1000);
  assertEquals(bench.flips, ["10.0.0.0:80 down: timed out after 1s"]);
  assertEquals(aborted, 1);
  await bench.clock.advance(10_000);
  assertEquals(aborted, 11, "the next one starts when the one before is over, not while it hangs");
});

Deno.test("HealthChecker never calls a probe that ignores its signal a second time while it hangs", async () => {
  let calls = 0;
  const deaf: Probe = () => {
    calls++;
    return new Promise(() => {});
  };
  using bench = new Bench(1, {}, deaf);
  bench.checker.start();
  await bench.clock.advance(60_000);
  assertEquals(calls, 1);
  assertEquals(bench.healthy, [false]);
  assert(bench.clock.pending <= 1, "timers do not pile up");
});

Deno.test("HealthChecker looks at servers that are down at an interval of their own", async () => {
  using bench = new Bench(2, { interval: "10s", unhealthyInterval: "1s" });
  bench.down.add("10.0.0.1:80");
  await bench.checker.firstRound();
  await bench.clock.advance(9000);
  assertEquals(bench.probed.filter((id) => id === "10.0.0.0:80").length, 1);
  assertEquals(bench.probed.filter((id) => id === "10.0.0.1:80").length, 10);
});

Deno.test("HealthChecker begins with what servers count as at first", async () => {
  const afterFirstRound = { up: [true, true], down: [false, false], checking: [true, false] };
  for (const initial of ["up", "down", "checking"] as const) {
    using bench = new Bench(2, { initial, rise: 2, fall: 2 });
    bench.down.add("10.0.0.1:80");
    await bench.checker.firstRound();
    assertEquals(bench.healthy, afterFirstRound[initial], initial);
    await bench.clock.advance(1000);
    assertEquals(bench.healthy, [true, false]);
  }
});

Deno.test("HealthChecker tells why a custom check failed", async () => {
  const checks: [CheckServer, string][] = [
    [() => Promise.resolve(false), "the check returned false"],
    [() => Promise.reject(new Error("no")), "no"],
    [() => {
      throw new Error("at once");
    }, "at once"],
  ];
  for (const [check, reason] of checks) {
    using pool = new Pool({ name: "test", servers: ["10.0.0.1:80"] });
    const told: string[] = [];
    using checker = new HealthChecker({
      pool,
      check: resolveHealthCheck({ type: "custom", check }),
      clock: new FakeClock(),
      random: seededRandom(1),
      onChange: (_, healthy, why) => told.push(`${healthy} ${why}`),
    });
    await checker.firstRound();
    assertEquals(told, [`false ${reason}`]);
  }
});

Deno.test("HealthChecker runs 100 checks at once at most, and all in the end", async () => {
  let running = 0;
  let most = 0;
  const open: (() => void)[] = [];
  const slow: Probe = () => {
    most = Math.max(most, ++running);
    return new Promise((resolve) =>
      open.push(() => {
        running--;
        resolve();
      })
    );
  };
  using bench = new Bench(250, { timeout: "1h" }, slow);
  bench.checker.start();
  assertEquals(running, 100);
  let finished = 0;
  while (open.length > 0) {
    open.shift()!();
    finished++;
    await bench.clock.advance(0);
  }
  assertEquals([finished, most], [250, 100]);
  assert(bench.healthy.every(Boolean));
});

Deno.test("HealthChecker checks a server that is added at once, and no longer one that was removed", async () => {
  using bench = new Bench(1);
  await bench.checker.firstRound();
  const added = bench.pool.addServer("10.9.9.9:80");
  assertEquals(added.eligible, false, "not before it was checked");
  await bench.clock.advance(0);
  assertEquals(added.eligible, true);
  await bench.pool.removeServer("10.0.0.0:80");
  bench.probed.length = 0;
  await bench.clock.advance(5000);
  assertEquals(new Set(bench.probed), new Set(["10.9.9.9:80"]));
  assertEquals(bench.clock.pending, 1);
});

Deno.test("HealthChecker gives the place of a removed server that was being checked to the next one", async () => {
  const waiting: Server[] = [];
  using bench = new Bench(101, { timeout: "1h" }, (server) => {
    waiting.push(server);
    return new Promise(() => {});
  });
  bench.checker.start();
  assertEquals(waiting.length, 100);
  await bench.pool.removeServer(waiting[0]!);
  assertEquals(waiting.length, 101);
});

Deno.test("HealthChecker keeps intervals within the jitter", async () => {
  const at: number[] = [];
  const clock = new FakeClock();
  using pool = new Pool({ name: "test", servers: ["10.0.0.1:80"] });
  using checker = new HealthChecker({
    pool,
    check: resolveHealthCheck({ type: "tcp", interval: "1s", jitter: 0.2 }),
    probe: () => {
      at.push(clock.now());
      return Promise.resolve();
    },
    clock,
    random: seededRandom(7),
  });
  checker.start();
  await clock.advance(100_000);
  const gaps = at.slice(1).map((time, i) => time - at[i]!);
  assert(gaps.every((gap) => gap >= 800 && gap <= 1200), String(gaps));
  assert(Math.max(...gaps) - Math.min(...gaps) > 200, "they differ");
});

Deno.test("HealthChecker[Symbol.dispose]() ends timers and checks, twice as well as once", async () => {
  const bench = new Bench(2, {}, (_, signal) =>
    new Promise((_, reject) => {
      signal.onabort = () => reject(signal.reason);
    }));
  const round = bench.checker.firstRound();
  bench.checker[Symbol.dispose]();
  bench[Symbol.dispose]();
  await round;
  assertEquals(bench.clock.pending, 0);
  await bench.clock.advance(10_000);
  assertEquals(bench.flips, []);
});

Deno.test("HealthChecker goes on when the callback throws", async () => {
  const clock = new FakeClock();
  using pool = new Pool({ name: "test", servers: ["10.0.0.1:80"] });
  let probes = 0;
  using checker = new HealthChecker({
    pool,
    check: resolveHealthCheck({ type: "tcp", jitter: 0 }),
    probe: () => Promise.reject(new Error(`refused ${++probes}`)),
    clock,
    random: seededRandom(1),
    onChange: () => {
      throw new Error("from the callback");
    },
  });
  using strays = new StrayErrors();
  await checker.firstRound();
  await clock.advance(3000);
  assertEquals(probes, 4);
  assertEquals(strays.lines, ["onHealthChange threw: from the callback"]);
});

Deno.test("HealthChecker says of each server what the last results say, for any course of events", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }), { minLength: 1, maxLength: 12 }),
      async (rounds) => {
        using bench = new Bench(3, { rise: 1, fall: 1 });
        for (const [round, results] of rounds.entries()) {
          results.forEach((up, i) => bench.down[up ? "delete" : "add"](`10.0.0.${i}:80`));
          if (round === 0) await bench.checker.firstRound();
          else await bench.clock.advance(1000);
          assertEquals(bench.healthy, results);
        }
      },
    ),
    { seed: 3, numRuns: 50 },
  );
});

Deno.test("HealthChecker sees a real port close and open again", async () => {
  using _alive = keepAlive();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  using pool = new Pool({ name: "test", servers: [`127.0.0.1:${port}`] });
  let flipped = Promise.withResolvers<boolean>();
  await using checker = new HealthChecker({
    pool,
    check: resolveHealthCheck({ type: "tcp", interval: "10ms" }),
    probe: tcpCheck(),
    clock: systemClock,
    random: seededRandom(1),
    onChange: (_, healthy) => flipped.resolve(healthy),
  });
  await checker.firstRound();
  assertEquals(pool.servers[0]!.eligible, true);
  listener.close();
  assertEquals(await flipped.promise, false);
  assertEquals(pool.servers[0]!.eligible, false);
  flipped = Promise.withResolvers();
  using _again = Deno.listen({ hostname: "127.0.0.1", port });
  assertEquals(await flipped.promise, true);
  assertEquals(pool.servers[0]!.eligible, true);
});

Deno.test("HealthChecker bundles the checks of many servers, and misses no interval and no timeout for that", async () => {
  const hanging = Promise.withResolvers<void>();
  let hangs = false;
  const probed = new Map<string, number[]>();
  using bench: Bench = new Bench(200, { jitter: 0.1, timeout: "500ms" }, ({ id }) => {
    probed.set(id, [...probed.get(id) ?? [], bench.clock.now()]);
    return hangs ? hanging.promise : Promise.resolve();
  });
  await bench.checker.firstRound();
  assert(bench.clock.pending <= 41, `${bench.clock.pending} timers for 200 servers`);
  for (let i = 0; i < 800; i++) await bench.clock.advance(12.5);
  for (const times of probed.values()) {
    times.slice(1).forEach((time, i) => {
      const pause = time - times[i]!;
      assert(pause >= 900 && pause <= 1100 + 2 * 12.5 + 12.5, `${pause}`);
    });
    assert(times.length >= 9);
  }
  hangs = true;
  for (let i = 0; i < 160; i++) await bench.clock.advance(12.5);
  assertEquals(bench.healthy.filter(Boolean).length, 0);
});
