import { assertEquals } from "@std/assert";
import { seededRandom } from "../../../lib/core/random.ts";
import { BusyKeys } from "../../../lib/limiter/busy_keys.ts";
import type { KeySource } from "../../../lib/limiter/key_spec.ts";
import { RateLimiter } from "../../../lib/limiter/limiter.ts";
import type { LimiterPolicy } from "../../../lib/limiter/policy.ts";
import { FakeClock } from "../../support/fake_clock.ts";

interface Source extends KeySource {
  readonly key: string;
}

const REQUEST = new Request("http://a.example/");
const BY_KEY = { key: (_: Request, source: Source): string => source.key, window: "10s" } as const;

/** A limiter that remembers its keys, and what asks it. */
class Bench {
  readonly clock = new FakeClock();
  readonly limiter: RateLimiter<Source>;

  constructor(policies: LimiterPolicy<Source> | LimiterPolicy<Source>[]) {
    const parts = { clock: this.clock, random: seededRandom(1), busyKeys: new BusyKeys() };
    this.limiter = new RateLimiter<Source>(policies, parts);
  }

  ask(key: string, times: number): void {
    const source = { request: REQUEST, clientIp: "192.0.2.1", target: "/", host: "a.example", key };
    for (let n = 0; n < times; n++) this.limiter.check(source);
  }

  /** What has been used by each key, and of which limit. */
  get used(): Record<string, string> {
    const keys = this.limiter.busyKeys().map(({ policy, key, used, limit }) =>
      [`${policy.name} ${key}`, `${used}/${limit}`] as const
    );
    return Object.fromEntries(keys.sort(([one], [other]) => one < other ? -1 : 1));
  }
}

Deno.test("RateLimiter.busyKeys() names the keys that have used a tenth of their limits, with what they have used by now", () => {
  const bench = new Bench({ ...BY_KEY, name: "app", limit: 20 });
  bench.ask("a", 1);
  bench.ask("b", 2);
  bench.ask("<b>c</b>", 25);
  assertEquals(bench.used, { "app <b>c</b>": "20/20", "app b": "2/20" });
  bench.clock.tick(10_000);
  assertEquals(bench.used, {});
});

Deno.test("RateLimiter.busyKeys() tells policies and algorithms apart", () => {
  const bench = new Bench([
    { ...BY_KEY, name: "window", limit: 4 },
    { ...BY_KEY, name: "bucket", limit: 10, burst: 5, algorithm: "token-bucket" },
    { ...BY_KEY, name: "both", limit: () => 8, algorithm: "sliding-window" },
  ]);
  bench.ask("k", 3);
  assertEquals(bench.used, { "both k": "3/8", "bucket k": "3/5", "window k": "3/4" });
  bench.clock.tick(1000);
  assertEquals(bench.used["bucket k"], "2/5");
});

Deno.test("RateLimiter.busyKeys() names banned keys, until they are reset", () => {
  const bench = new Bench({ ...BY_KEY, name: "app", limit: 100 });
  bench.limiter.ban("k", "1m");
  bench.ask("k", 1);
  assertEquals(bench.limiter.busyKeys().map(({ key, bannedMs }) => [key, bannedMs]), [["k", 60_000]]);
  bench.limiter.reset("k");
  assertEquals(bench.limiter.busyKeys(), []);
});

Deno.test("BusyKeys holds 1,024 keys at most, of which those that have used least go first", () => {
  const bench = new Bench({ ...BY_KEY, name: "app", limit: 5, maxKeys: 20_000 });
  const heavy = Array.from({ length: 40 }, (_, i) => `heavy ${i}`);
  for (const key of heavy) bench.ask(key, 5);
  for (let n = 0; n < 10_000; n++) bench.ask(`light ${n}`, 1);
  const keys = bench.limiter.busyKeys().map(({ key }) => key);
  assertEquals(keys.length <= 1024, true);
  assertEquals(heavy.filter((key) => !keys.includes(key)), []);
});

Deno.test("SharedTable.use counts the keys whose windows are not over", () => {
  const bench = new Bench({ ...BY_KEY, limit: 5, maxKeys: 1000 });
  assertEquals(bench.limiter.table.use.keys, 0);
  for (let n = 0; n < 700; n++) bench.ask(`k${n}`, 1);
  assertEquals(bench.limiter.table.use.keys, 700);
  bench.clock.tick(11_000);
  assertEquals(bench.limiter.table.use.keys, 0);
});
