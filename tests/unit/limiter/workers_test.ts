import { assert, assertEquals } from "@std/assert";
import { seededRandom } from "../../../lib/core/random.ts";
import { RateLimiter } from "../../../lib/limiter/limiter.ts";
import type { LimiterPolicy } from "../../../lib/limiter/policy.ts";
import { SharedTable } from "../../../lib/limiter/shared_table.ts";
import type { HammerJob } from "./hammer_worker.ts";
import { untilStill } from "../../support/until_still.ts";
import { type KeyedSource, sharedClock, sourceOf } from "../../support/shared_clock.ts";

/** How many workers are terminated; run by hand with 1,000 as well. */
const TERMINATIONS = Number(Deno.env.get("LIMITER_TERMINATIONS") ?? 40);
const WORKERS = 4;

type Policy = Omit<LimiterPolicy<KeyedSource>, "key">;

/** Workers on one table, under the test's own clock. */
class Hammers implements Disposable {
  readonly table: SharedTable;
  readonly limiter: RateLimiter<KeyedSource>;
  readonly #time: SharedArrayBuffer = new SharedArrayBuffer(4);
  readonly #policies: readonly Policy[];
  readonly #workers: Worker[] = [];

  constructor(policies: readonly Policy[], maxKeys: number) {
    const clock = sharedClock(this.#time);
    this.#policies = policies;
    this.table = SharedTable.create({ clock, random: seededRandom(5), maxKeys, sketches: policies.length });
    this.limiter = this.#limiterOn(this.table);
  }

  /** Makes a table that is to take over the counts, and tells workers of it. */
  async createHeir(like: SharedTable, maxKeys: number, workers: readonly Worker[]): Promise<SharedTable> {
    const clock = sharedClock(this.#time);
    const sketches = this.#policies.length;
    const heir = SharedTable.create({ clock, random: seededRandom(6), maxKeys, sketches, like });
    await Promise.all(workers.map((worker) => {
      const follows = nextMessage(worker);
      worker.postMessage({ heir: heir.buffer });
      return follows;
    }));
    return heir;
  }

  /** What policies count in a table. */
  peek(table: SharedTable, key: string): readonly number[] {
    using limiter = this.#limiterOn(table);
    return limiter.peek(sourceOf(key)).map(({ limit, remaining }) => limit - remaining);
  }

  #limiterOn(table: SharedTable): RateLimiter<KeyedSource> {
    return new RateLimiter<KeyedSource>(
      this.#policies.map((policy) => ({ ...policy, key: (_, source) => source.key })),
      { clock: sharedClock(this.#time), random: seededRandom(1), table },
    );
  }

  async start(): Promise<Worker> {
    const worker = new Worker(new URL("./hammer_worker.ts", import.meta.url), { type: "module" });
    this.#workers.push(worker);
    const ready = nextMessage(worker);
    worker.postMessage({ table: this.table.buffer, time: this.#time, policies: this.#policies });
    assertEquals(await ready, "ready");
    return worker;
  }

  tick(us: number): void {
    Atomics.add(new Int32Array(this.#time), 0, us);
  }

  [Symbol.dispose](): void {
    for (const worker of this.#workers) worker.terminate();
    this.limiter[Symbol.dispose]();
  }
}

function nextMessage(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
  });
}

/** Lets all workers do a job at once, and waits until all are done. */
async function runAll(workers: readonly Worker[], jobOf: (index: number) => HammerJob): Promise<void> {
  await Promise.all(workers.map((worker, i) => {
    const done = nextMessage(worker);
    worker.postMessage(jobOf(i));
    return done;
  }));
}

function job(more: Partial<HammerJob> & { admitted: SharedArrayBuffer }): HammerJob {
  return { prefix: "client", from: 0, to: 1, rounds: 1, stop: null, ...more };
}

for (const algorithm of ["fixed-window", "sliding-window", "token-bucket"] as const) {
  Deno.test(`RateLimiter with ${algorithm} admits exactly the limit of one key to four Workers at once`, async () => {
    using hammers = new Hammers([{ limit: 1000, window: "1s", algorithm }], 100);
    const workers = await Promise.all(Array.from({ length: WORKERS }, () => hammers.start()));
    for (let window = 0; window < 3; window++) {
      const admitted = new SharedArrayBuffer(4);
      await runAll(workers, () => job({ rounds: 3000, admitted }));
      assertEquals(new Int32Array(admitted)[0], 1000);
      // Two windows: a sliding one remembers the window before.
      hammers.tick(2_000_000);
    }
  });
}

Deno.test("RateLimiter admits to four Workers what a bucket gives while time goes on", async () => {
  using hammers = new Hammers([{ limit: 1000, window: "1s", algorithm: "token-bucket", burst: 50 }], 100);
  const workers = await Promise.all(Array.from({ length: WORKERS }, () => hammers.start()));
  const admitted = new SharedArrayBuffer(4);
  const done = runAll(workers, () => job({ rounds: 20_000, admitted }));
  let elapsed = 0;
  for (let i = 0; i < 500; i++) {
    // This thread asks too, so that the bucket does not run over while no Worker gets the processor.
    while (hammers.limiter.check(sourceOf("client0")).kind === "allowed") {
      Atomics.add(new Int32Array(admitted), 0, 1);
    }
    hammers.tick(137);
    elapsed += 137;
  }
  await done;
  // Whoever comes last takes what is left.
  await runAll(workers, () => job({ rounds: 200, admitted }));
  assertEquals(new Int32Array(admitted)[0], 50 + Math.floor(elapsed / 1000));
});

Deno.test("RateLimiter admits one of four Workers to each of 20,000 keys that all four want first", async () => {
  using hammers = new Hammers([{ limit: 1, window: "1s" }], 20_000);
  const workers = await Promise.all(Array.from({ length: WORKERS }, () => hammers.start()));
  const keys = 20_000;
  const admitted = new SharedArrayBuffer(keys * 4);
  await runAll(workers, () => job({ to: keys, admitted }));
  assert(new Int32Array(admitted).every((count) => count === 1));
});

Deno.test("RateLimiter refuses none of 100,000 keys that come once, from four Workers", async () => {
  using hammers = new Hammers([{ limit: 1, window: "1s" }], 100_000);
  const workers = await Promise.all(Array.from({ length: WORKERS }, () => hammers.start()));
  const share = 100_000 / WORKERS;
  const admitted = new SharedArrayBuffer(100_000 * 4);
  await runAll(workers, (i) => job({ from: i * share, to: (i + 1) * share, admitted }));
  assert(new Int32Array(admitted).every((count) => count === 1));
});

Deno.test("RateLimiter charges all tiers or none, with four Workers on the same keys", async () => {
  const tiers: Policy[] = [
    { name: "second", limit: 100, window: "1s" },
    { name: "minute", limit: 250, window: "1m", algorithm: "sliding-window" },
    { name: "burst", limit: 60, window: "1s", algorithm: "token-bucket", burst: 80 },
  ];
  using hammers = new Hammers(tiers, 100);
  const workers = await Promise.all(Array.from({ length: WORKERS }, () => hammers.start()));
  const admitted = new SharedArrayBuffer(8 * 4);
  const perSecond: number[] = [];
  for (let second = 0; second < 6; second++) {
    const before = new Int32Array(admitted).slice();
    await runAll(workers, () => job({ to: 8, rounds: 300, admitted }));
    const gained = new Int32Array(admitted).map((count, i) => count - before[i]!);
    assert(gained.every((count) => count === gained[0]), `keys differ: ${gained}`);
    perSecond.push(gained[0]!);
    hammers.tick(1_000_000);
  }
  // The burst, then its rate, then what is left of the minute: a refusal by one has taken nothing from the others.
  assertEquals(perSecond, [80, 60, 60, 50, 0, 0]);
});

Deno.test("RateLimiter counts keys together that displace others, with four Workers on a full table", async () => {
  using hammers = new Hammers([{ limit: 50, window: "1s" }], 1);
  const workers = await Promise.all(Array.from({ length: WORKERS }, () => hammers.start()));
  const filler = new SharedArrayBuffer(3000 * 4);
  await runAll(workers, () => job({ prefix: "filler", to: 3000, admitted: filler }));
  const keys = 20;
  const admitted = new SharedArrayBuffer(keys * 4);
  await runAll(workers, () => job({ to: keys, rounds: 200, admitted }));
  const counts = [...new Int32Array(admitted)];
  assert(counts.every((count) => count <= 50), `${counts}`);
});

Deno.test("SharedTable takes over counts, and none is lost, while four Workers go on counting", async () => {
  const keys = 300;
  const limit = 1_000_000_000;
  const tiers: Policy[] = [{ name: "one", limit, window: "366d" }, { name: "two", limit, window: "300d" }];
  using hammers = new Hammers(tiers, 1000);
  const workers = await Promise.all(Array.from({ length: WORKERS }, () => hammers.start()));
  const admitted = new SharedArrayBuffer(keys * 4);
  const counts = new Int32Array(admitted);
  const until = (least: number): void => {
    const pause = new Int32Array(new SharedArrayBuffer(4));
    for (let i = 0; i < 60_000 && counts.reduce((sum, count) => sum + count, 0) < least; i++) {
      Atomics.wait(pause, 0, 0, 1);
    }
  };
  let table = hammers.table;
  let total = 0;
  // Larger and smaller ones, so that groups become others.
  for (const maxKeys of [5000, 300, 20_000, 2000, 1000, 7000]) {
    const heir = await hammers.createHeir(table, maxKeys, workers);
    const stop = new Int32Array(new SharedArrayBuffer(4));
    const begun = workers.map(nextMessage);
    for (const worker of workers) worker.postMessage(job({ to: keys, stop: stop.buffer, admitted }));
    await Promise.all(begun);
    until(total + 2 * keys);
    const done = workers.map(nextMessage);
    heir.takeOver(table);
    until(total + 6 * keys);
    Atomics.store(stop, 0, 1);
    await Promise.all(done);
    table = heir;
    total = counts.reduce((sum, count) => sum + count, 0);
    const charged = Array.from(counts, (_, key) => hammers.peek(table, `client${key}`));
    assertEquals(charged, Array.from(counts, (count) => [count, count]), `with ${maxKeys} keys`);
  }
});

Deno.test("RateLimiter goes on without loss when Workers are terminated in the middle of decisions", async () => {
  const keys = 6;
  const limit = 1_000_000_000;
  const tiers: Policy[] = [{ name: "one", limit, window: "366d" }, { name: "two", limit, window: "300d" }];
  using hammers = new Hammers(tiers, 1);
  const admitted = new SharedArrayBuffer(keys * 4);
  const counts = new Int32Array(admitted);
  const random = seededRandom(11);
  let stop = new Int32Array(new SharedArrayBuffer(4));
  for (let killed = 0; killed < TERMINATIONS; killed++) {
    const worker = await hammers.start();
    const begun = nextMessage(worker);
    // The runtime ends only five of six Workers that never rest (Deno 2.9.6): the sixth is told, one round later.
    Atomics.store(stop, 0, 1);
    stop = new Int32Array(new SharedArrayBuffer(4));
    worker.postMessage(job({ to: keys, stop: stop.buffer, admitted }));
    await begun;
    // This thread decides about the same keys meanwhile, for a random while.
    for (let left = Math.floor(random() * 20_000); left > 0; left--) {
      const key = left % keys;
      if (hammers.limiter.check(sourceOf(`client${key}`)).kind === "allowed") Atomics.add(counts, key, 1);
    }
    worker.terminate();
  }
  Atomics.store(stop, 0, 1);
  await untilStill(() => counts.reduce((sum, count) => sum + count, 0));
  for (let key = 0; key < keys; key++) {
    const decided = Atomics.load(counts, key);
    // A terminated decision may have been charged, in one tier or in both, and not been heard of.
    for (const { remaining } of hammers.limiter.peek(sourceOf(`client${key}`))) {
      const charged = limit - remaining;
      assert(
        charged >= decided && charged <= decided + TERMINATIONS,
        `${charged} charged, ${decided} decided`,
      );
    }
  }
});
