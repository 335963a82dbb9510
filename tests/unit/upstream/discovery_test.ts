import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { seededRandom } from "../../../lib/core/random.ts";
import { type Discover, Discovery } from "../../../lib/upstream/discovery.ts";
import { Pool } from "../../../lib/upstream/pool.ts";
import { FakeClock } from "../../support/fake_clock.ts";

/** A pool of one server that is refreshed every 10 s. */
class Bench implements Disposable {
  readonly clock = new FakeClock();
  readonly pool = new Pool({ name: "test", servers: ["10.0.0.1:80"] });
  readonly told: string[] = [];
  readonly discovery: Discovery;

  constructor(discover: Discover) {
    this.discovery = new Discovery({
      pool: this.pool,
      discover,
      intervalMs: 10_000,
      timeoutMs: 2000,
      clock: this.clock,
      random: seededRandom(1),
      onChange: ({ added, removed }) => this.told.push(`+${added.length} -${removed.length}`),
      onFailure: (error) => this.told.push(`failed: ${(error as Error).message}`),
      onRecovery: () => this.told.push("recovered"),
    });
  }

  get ids(): string[] {
    return this.pool.servers.map(({ id }) => id);
  }

  [Symbol.dispose](): void {
    this.discovery[Symbol.dispose]();
    this.pool[Symbol.dispose]();
  }
}

Deno.test("Discovery applies what is found as a difference", async () => {
  let found = ["10.0.0.1:80", "10.0.0.2:80"];
  using bench = new Bench(() => Promise.resolve(found));
  const [first] = bench.pool.servers;
  await bench.discovery.start();
  assertEquals(bench.ids, found);
  assertStrictEquals(bench.pool.servers[0], first);
  found = ["10.0.0.2:80"];
  await bench.clock.advance(10_000);
  assertEquals(bench.ids, found);
  await bench.clock.advance(30_000);
  assertEquals(bench.told, ["+1 -0", "+0 -1"], "what is the same is no news");
});

Deno.test("Discovery keeps the servers when nothing is found or the search fails, and says so once", async () => {
  const answers: (() => Promise<string[]>)[] = [
    () => Promise.reject(new Error("no such name")),
    () => Promise.resolve([]),
    () => Promise.resolve(["nowhere"]),
    () => Promise.resolve(["10.0.0.2:80"]),
    () => Promise.resolve([]),
  ];
  using bench = new Bench(() => answers.shift()!());
  await bench.discovery.start();
  for (let i = 0; i < 2; i++) await bench.clock.advance(10_000);
  assertEquals([bench.ids, bench.told, bench.discovery.failures], [
    ["10.0.0.1:80"],
    ["failed: no such name"],
    3,
  ]);
  await bench.clock.advance(10_000);
  assertEquals(bench.ids, ["10.0.0.2:80"]);
  await bench.clock.advance(10_000);
  assertEquals(bench.told, ["failed: no such name", "recovered", "+1 -1", "failed: no servers were found"]);
});

Deno.test("Discovery gives up a search that hangs, also one that does not care for its signal", async () => {
  let aborted = 0;
  using bench = new Bench((signal) => {
    signal.onabort = () => aborted++;
    return new Promise(() => {});
  });
  const started = bench.discovery.start();
  await bench.clock.advance(2000);
  await started;
  assertEquals([aborted, bench.told], [1, ["failed: No response after 2000 ms"]]);
  await bench.clock.advance(60_000);
  assert(aborted >= 5 && aborted <= 6, "and goes on looking");
});

Deno.test("Discovery[Symbol.dispose]() ends timers and a search that runs, twice as well as once", async () => {
  const bench = new Bench(() => new Promise(() => {}));
  const started = bench.discovery.start();
  bench[Symbol.dispose]();
  bench[Symbol.dispose]();
  await started;
  assertEquals([bench.clock.pending, bench.told], [0, []]);
});

Deno.test("Discovery keeps running when the search throws at once", async () => {
  using bench = new Bench(() => {
    throw new Error("at once");
  });
  await bench.discovery.start();
  assertEquals([bench.told, bench.clock.pending], [["failed: at once"], 1]);
});

Deno.test("Discovery looks again soon while the pool has no server at all", async () => {
  const clock = new FakeClock();
  using pool = new Pool({ name: "test", servers: [] });
  let looks = 0;
  using discovery = new Discovery({
    pool,
    discover: () => Promise.resolve(++looks < 3 ? [] : ["10.0.0.1:80"]),
    intervalMs: 60_000,
    timeoutMs: 2000,
    clock,
    random: seededRandom(1),
  });
  await discovery.start();
  await clock.advance(2000);
  assertEquals([looks, pool.servers.length], [3, 1]);
  await clock.advance(50_000);
  assertEquals(looks, 3);
});
