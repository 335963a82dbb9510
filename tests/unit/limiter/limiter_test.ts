import { assert, assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import fc from "fast-check";
import { FilterError } from "../../../lib/core/errors.ts";
import { seededRandom } from "../../../lib/core/random.ts";
import type { Decision } from "../../../lib/limiter/policy.ts";
import type { KeySource } from "../../../lib/limiter/key_spec.ts";
import { type Charge, type CountedKey, countedKey } from "../../../lib/limiter/charge.ts";
import { RateLimiter } from "../../../lib/limiter/limiter.ts";
import type { LimiterStore } from "../../../lib/limiter/memory_store.ts";
import type { AlgorithmName, LimiterPolicy } from "../../../lib/limiter/policy.ts";
import { SharedTable } from "../../../lib/limiter/shared_table.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { SEED } from "./arrivals.ts";

interface Source extends KeySource {
  readonly key: string;
  readonly cost: number;
}

const REQUEST = new Request("http://a.example/");

function from(key: string, more: Partial<Source> = {}): Source {
  return { request: REQUEST, clientIp: "192.0.2.1", target: "/", host: "a.example", key, cost: 1, ...more };
}

const BY_KEY = { key: (_: Request, source: Source): string => source.key, window: "1s" } as const;

function makeLimiter(
  policies: LimiterPolicy<Source> | LimiterPolicy<Source>[],
  options: { clock?: FakeClock; maxKeys?: number; table?: SharedTable; scope?: string } = {},
): RateLimiter<Source> {
  return new RateLimiter(policies, {
    clock: new FakeClock(),
    random: seededRandom(1),
    maxKeys: 1000,
    ...options,
  });
}

function limited(decision: Decision): Decision & { kind: "limited" } {
  assert(decision.kind === "limited", decision.kind);
  return decision;
}

function allowed(decision: Decision): Decision & { kind: "allowed" } {
  assert(decision.kind === "allowed", decision.kind);
  return decision;
}

Deno.test("RateLimiter.check() does what the tutorial's limiter does, with a window for each key", () => {
  const clock = new FakeClock();
  using limiter = new RateLimiter({ key: "header:appid", limit: 1, window: "1s" }, {
    clock,
    random: seededRandom(1),
  });
  const ask = (appid?: string): Decision =>
    limiter.check(
      from("", {
        request: new Request("http://a.example/", { headers: appid === undefined ? {} : { appid } }),
      }),
    );
  assertEquals([ask().kind, ask().kind], ["unlimited", "unlimited"]);
  assertEquals(ask("a").kind, "allowed");
  clock.tick(900);
  assertEquals([ask("a").kind, ask("b").kind], ["limited", "allowed"]);
  assertEquals(limited(ask("a")).retryAfterMs, 100);
  clock.tick(100);
  assertEquals([ask("a").kind, ask("b").kind], ["allowed", "limited"]);
});

Deno.test("RateLimiter.check() tells what is left and when the limit is back", () => {
  const clock = new FakeClock();
  using limiter = makeLimiter({ ...BY_KEY, limit: 3 }, { clock });
  assertEquals(allowed(limiter.check(from("a"))).remaining, 2);
  clock.tick(250);
  const { remaining, limit, resetMs, retryAfterMs, windowMs, lease, wouldRefuse, applied, policy } = allowed(
    limiter.check(from("a")),
  );
  assertEquals([remaining, limit, resetMs, retryAfterMs, windowMs, lease, wouldRefuse, applied], [
    1,
    3,
    750,
    0,
    1000,
    null,
    [],
    1,
  ]);
  assertEquals(policy.name, "default");
});

Deno.test("RateLimiter.check() tells nothing but a constant when no policy applies", () => {
  using limiter = makeLimiter({ ...BY_KEY, limit: 1, exempt: ({ key }) => key === "me" });
  const first = limiter.check(from("me"));
  assertEquals(first.kind, "unlimited");
  assert(first === limiter.check(from("me")));
  assertEquals(limiter.check(from("a")).kind, "allowed");
  assertEquals(limiter.check(from("a")).kind, "limited");
});

Deno.test("RateLimiter.check() does as onMissingKey says", () => {
  const policy = { ...BY_KEY, limit: 1 };
  using skipping = makeLimiter(policy);
  assertEquals([skipping.check(from("")).kind, skipping.check(from("")).kind], ["unlimited", "unlimited"]);
  using rejecting = makeLimiter({ ...policy, onMissingKey: "reject" });
  assertEquals([limited(rejecting.check(from(""))).reason, limited(rejecting.check(from(""))).retryAfterMs], [
    "missing-key",
    Infinity,
  ]);
  using byAddress = makeLimiter({ ...policy, onMissingKey: "ip" });
  assertEquals([byAddress.check(from("")).kind, byAddress.check(from("")).kind], ["allowed", "limited"]);
  assertEquals(byAddress.check(from("", { clientIp: "192.0.2.2" })).kind, "allowed");
  assertEquals(byAddress.check(from("", { clientIp: "" })).kind, "unlimited");
});

Deno.test("RateLimiter.check() takes limits and costs from functions", () => {
  using limiter = makeLimiter({
    ...BY_KEY,
    limit: (key, ctx) => key === "premium_user" ? 10 : key === "free" ? Infinity : ctx.cost,
    cost: (ctx) => ctx.cost,
  });
  assertEquals(allowed(limiter.check(from("premium_user", { cost: 9 }))).remaining, 1);
  assertEquals(limited(limiter.check(from("premium_user", { cost: 2 }))).retryAfterMs, 1000);
  assertEquals(limited(limiter.check(from("premium_user", { cost: 11 }))).retryAfterMs, Infinity);
  assertEquals(limiter.check(from("free", { cost: 1e9 })).kind, "unlimited");
});

Deno.test("RateLimiter.check() fails the request when a function of a policy does, and counts nothing", () => {
  const boom = (): never => {
    throw new Error("boom");
  };
  const tier: LimiterPolicy<Source> = { ...BY_KEY, name: "first", limit: 1 };
  const bad: [Partial<LimiterPolicy<Source>>, string][] = [
    [{ key: boom }, 'key of the limiter policy "second" threw: boom'],
    [{ key: () => 5 as unknown as string }, "it must return a string or null, returned 5"],
    [{ limit: boom }, 'limit of the limiter policy "second" threw: boom'],
    [{ limit: () => NaN }, "it must return a whole number from 0 to 1000000000, or Infinity, returned NaN"],
    [{ limit: () => -1 }, "returned -1"],
    [{ limit: () => 2.5 }, "returned 2.5"],
    [{ limit: () => 1e300 }, "returned 1e+300"],
    [{ limit: () => "5" as unknown as number }, 'returned "5"'],
    [{ cost: boom }, "cost of the limiter policy"],
    [{ cost: () => -1 }, "it must return a number from 0 to 9007199254740991, returned -1"],
    [{ cost: () => 1e300 }, "returned 1e+300"],
    [{ cost: () => NaN }, "returned NaN"],
    [{ exempt: boom }, "exempt of the limiter policy"],
    [
      { exempt: (() => Promise.resolve(false)) as unknown as () => boolean },
      "it must return true or false, returned a promise",
    ],
    [{ exempt: (() => "no") as unknown as () => boolean }, 'it must return true or false, returned "no"'],
    [{ exempt: (() => () => true) as unknown as () => boolean }, "returned a function"],
    [{ algorithm: "token-bucket", burst: boom }, "burst of the limiter policy"],
    [{ algorithm: "token-bucket", burst: () => Infinity }, "from 0 to 1000000000, returned Infinity"],
    [{ algorithm: "token-bucket", burst: () => 1.5 }, "returned 1.5"],
  ];
  for (const [change, message] of bad) {
    using limiter = makeLimiter([tier, { ...BY_KEY, name: "second", limit: 1, ...change }]);
    const error = assertThrows(() => limiter.check(from("a")), FilterError, message);
    assertEquals(error.status, 500);
    assertInstanceOf(error.cause, Error);
    assertThrows(() => limiter.check(from("a")), FilterError);
  }
});

Deno.test("RateLimiter.check() counts parts of a cost in full", () => {
  using limiter = makeLimiter({ ...BY_KEY, limit: 3, cost: ({ cost }) => cost });
  assertEquals(allowed(limiter.check(from("a", { cost: 0.1 }))).remaining, 2);
  assertEquals(allowed(limiter.check(from("a", { cost: 1.5 }))).remaining, 0);
  assertEquals(limited(limiter.check(from("a", { cost: 5e-324 }))).remaining, 0);
});

Deno.test("RateLimiter.check() charges no tier for what another one refuses", () => {
  const clock = new FakeClock();
  using limiter = makeLimiter([{ ...BY_KEY, name: "second", limit: 1 }, {
    ...BY_KEY,
    name: "hour",
    limit: 3,
    window: "1h",
  }], { clock });
  assertEquals(limiter.check(from("a")).kind, "allowed");
  for (let i = 0; i < 10; i++) assertEquals(limited(limiter.check(from("a"))).violated, ["second"]);
  clock.tick(1000);
  assertEquals(allowed(limiter.check(from("a"))).policy.name, "second");
  clock.tick(1000);
  assertEquals(limiter.check(from("a")).kind, "allowed");
  assertEquals(limited(limiter.check(from("a"))).violated, ["second", "hour"]);
  const { policy, retryAfterMs } = limited(limiter.check(from("a")));
  assertEquals([policy.name, retryAfterMs], ["hour", 3_598_000]);
  clock.tick(1000);
  assertEquals(limited(limiter.check(from("a"))).violated, ["hour"]);
  assertEquals(limiter.peek(from("a")).map(({ remaining }) => remaining), [1, 0]);
});

Deno.test("RateLimiter.check() decides on several tiers as one naive limiter each would, asked before all are charged", () => {
  const algorithms = fc.constantFrom<AlgorithmName>("fixed-window", "sliding-window", "token-bucket");
  const tier = fc.record({
    algorithm: algorithms,
    limit: fc.integer({ min: 1, max: 6 }),
    windowMs: fc.constantFrom(100, 1000),
  });
  const ask = fc.record({
    gap: fc.nat(300),
    key: fc.constantFrom("a", "b"),
    cost: fc.integer({ min: 1, max: 3 }),
  });
  fc.assert(
    fc.property(
      fc.array(tier, { minLength: 1, maxLength: 4 }),
      fc.array(ask, { maxLength: 40 }),
      (tiers, asks) => {
        const clock = new FakeClock();
        const policies = tiers.map(({ algorithm, limit, windowMs }, i): LimiterPolicy<Source> => ({
          key: BY_KEY.key,
          name: `tier${i}`,
          algorithm,
          limit,
          window: windowMs,
          cost: (ctx) => ctx.cost,
        }));
        using together = makeLimiter(policies, { clock });
        const alone = policies.map((policy) => makeLimiter(policy, { clock }));
        for (const { gap, key, cost } of asks) {
          clock.tick(gap);
          const source = from(key, { cost });
          const refusing = alone.filter((limiter) => limiter.peek(source)[0]!.retryAfterMs > 0);
          const decision = together.check(source);
          assertEquals(decision.kind, refusing.length === 0 ? "allowed" : "limited");
          if (decision.kind === "limited") {
            assertEquals(decision.violated, refusing.map(({ policies }) => policies[0]!.name));
          } else {for (const limiter of alone) {
              assertEquals(limiter.check(source).kind, "allowed");
            }}
        }
        for (const limiter of alone) limiter[Symbol.dispose]();
      },
    ),
    { ...SEED, numRuns: 100 },
  );
});

Deno.test("RateLimiter.check() on a dry run refuses nobody and says what it would have done", () => {
  using limiter = makeLimiter([{ ...BY_KEY, name: "dry", limit: 1, dryRun: true }, {
    ...BY_KEY,
    name: "real",
    limit: 3,
  }]);
  const first = allowed(limiter.check(from("a")));
  assertEquals([first.wouldRefuse, first.policy.name, first.applied], [[], "real", 2]);
  const second = allowed(limiter.check(from("a")));
  assertEquals([second.wouldRefuse, second.remaining], [["dry"], 1]);
  allowed(limiter.check(from("a")));
  assertEquals(limited(limiter.check(from("a"))).violated, ["real"]);
});

Deno.test("RateLimiter.check() counts refused requests too when the policy penalizes", () => {
  const clock = new FakeClock();
  using limiter = makeLimiter([
    { ...BY_KEY, name: "bucket", algorithm: "token-bucket", limit: 1, penalize: true },
    { ...BY_KEY, name: "calm", limit: 100 },
  ], { clock });
  for (let i = 0; i < 5; i++) limiter.check(from("a"));
  clock.tick(1500);
  assertEquals(limiter.check(from("a")).kind, "limited");
  clock.tick(2000);
  assertEquals(limiter.check(from("a")).kind, "allowed");
  assertEquals(limiter.peek(from("a"))[1]!.remaining, 99);
});

Deno.test("RateLimiter.check() holds places of a concurrency policy until the lease is given back, once", () => {
  using limiter = makeLimiter([{ key: BY_KEY.key, name: "conc", limit: 2, algorithm: "concurrency" }, {
    ...BY_KEY,
    limit: 100,
  }]);
  const [first, second] = [allowed(limiter.check(from("a"))), allowed(limiter.check(from("a")))];
  assertEquals([first.remaining, second.remaining, second.policy.name], [1, 0, "conc"]);
  assertEquals(limited(limiter.check(from("a"))).retryAfterMs, 1000);
  assertEquals(limiter.check(from("b")).kind, "allowed");
  first.lease!.release();
  first.lease!.release();
  assertEquals([limiter.check(from("a")).kind, limiter.check(from("a")).kind], ["allowed", "limited"]);
});

Deno.test("RateLimiter.check() gives back places that were counted by estimate", () => {
  // One place in the table for each of two keys at most: all others overflow.
  using limiter = makeLimiter({ key: BY_KEY.key, limit: 1, algorithm: "concurrency" }, { maxKeys: 1 });
  const leases = Array.from({ length: 2000 }, (_, i) => {
    const decision = limiter.check(from(`client${i}`));
    return decision.kind === "allowed" ? decision.lease! : null;
  });
  assert(leases.filter((lease) => lease !== null).length > 600);
  for (const lease of leases) lease?.release();
  for (let i = 0; i < 2000; i += 100) allowed(limiter.check(from(`client${i}`))).lease!.release();
});

Deno.test("RateLimiter.check() never admits more than the limit when keys do not fit, and says so once a window", () => {
  for (const algorithm of ["fixed-window", "sliding-window", "token-bucket"] as const) {
    const clock = new FakeClock();
    const told: string[] = [];
    using limiter = new RateLimiter<Source>({ ...BY_KEY, limit: 3, algorithm }, {
      clock,
      random: seededRandom(2),
      maxKeys: 1,
      onOverflow: ({ name }) => told.push(name),
    });
    const admitted = new Map<string, number>();
    for (let round = 0; round < 6; round++) {
      for (let i = 0; i < 800; i++) {
        const key = `client${i}`;
        if (limiter.check(from(key)).kind === "allowed") admitted.set(key, (admitted.get(key) ?? 0) + 1);
      }
    }
    for (const count of admitted.values()) assert(count <= 3, `${algorithm}: ${count}`);
    assert(admitted.size > 600, `${algorithm}: ${admitted.size}`);
    assertEquals(told, ["default"]);
    clock.tick(3000);
    for (let i = 0; i < 800; i++) limiter.check(from(`other${i}`));
    assertEquals(told, ["default", "default"]);
  }
});

Deno.test("RateLimiter.check() goes on from the estimate when a key gets an entry in the middle of a window", () => {
  const clock = new FakeClock(0);
  using limiter = makeLimiter([
    // Short windows whose entries are free soon, long ones that have to overflow until then.
    { key: (_, { key }) => key.startsWith("filler") ? key : null, name: "filler", limit: 1, window: "100ms" },
    { key: (_, { key }) => key.startsWith("client") ? key : null, name: "client", limit: 3, window: "1m" },
  ], { clock, maxKeys: 1 });
  for (let i = 0; i < 3000; i++) limiter.check(from(`filler${i}`));
  for (let i = 0; i < 50; i++) for (let n = 0; n < 2; n++) allowed(limiter.check(from(`client${i}`)));
  clock.tick(1000);
  for (let i = 0; i < 50; i++) {
    allowed(limiter.check(from(`client${i}`)));
    limited(limiter.check(from(`client${i}`)));
  }
});

Deno.test("RateLimiter.check() keeps 100,000 clients of one request each apart", () => {
  using limiter = makeLimiter({ ...BY_KEY, limit: 1 }, { maxKeys: 100_000 });
  let refused = 0;
  for (let i = 0; i < 100_000; i++) if (limiter.check(from(`client${i}`)).kind !== "allowed") refused++;
  assertEquals(refused, 0);
});

Deno.test("RateLimiter counts together with those that share its table and scope, and apart from others", () => {
  const clock = new FakeClock();
  const table = SharedTable.create({ clock, random: seededRandom(1), maxKeys: 100 });
  const policy = { ...BY_KEY, limit: 1 };
  using one = makeLimiter(policy, { clock, table });
  using same = makeLimiter(policy, { clock, table: SharedTable.attach(table.buffer, { clock }) });
  using other = makeLimiter(policy, { clock, table, scope: "route" });
  using renamed = makeLimiter({ ...policy, name: "mine" }, { clock, table });
  assertEquals([one, same, other, renamed].map((limiter) => limiter.check(from("a")).kind), [
    "allowed",
    "limited",
    "allowed",
    "allowed",
  ]);
});

Deno.test("RateLimiter.peek() counts nothing", () => {
  using limiter = makeLimiter({ ...BY_KEY, limit: 1 });
  for (let i = 0; i < 3; i++) assertEquals(limiter.peek(from("a"))[0]!.retryAfterMs, 0);
  limiter.check(from("a"));
  const [status] = limiter.peek(from("a"));
  assertEquals([status!.key, status!.limit, status!.remaining, status!.resetMs, status!.retryAfterMs], [
    "a",
    1,
    0,
    1000,
    1000,
  ]);
  assertEquals(limiter.peek(from("")), []);
});

Deno.test("RateLimiter.reset() forgets one key, in one policy or in all", () => {
  using limiter = makeLimiter([{ ...BY_KEY, name: "x", limit: 1 }, { ...BY_KEY, name: "y", limit: 1 }]);
  limiter.check(from("a"));
  limiter.check(from("b"));
  limiter.reset("a", "x");
  assertEquals(limited(limiter.check(from("a"))).violated, ["y"]);
  limiter.reset("a");
  assertEquals([limiter.check(from("a")).kind, limiter.check(from("b")).kind], ["allowed", "limited"]);
  assertThrows(() => limiter.reset("a", "z"), RangeError, 'no policy "z"');
});

Deno.test("RateLimiter.ban() refuses a key for its time, until it is reset", () => {
  const clock = new FakeClock();
  using limiter = makeLimiter({ ...BY_KEY, limit: 10 }, { clock });
  assertEquals(limiter.ban("a", 5000), true);
  clock.tick(1000);
  const decision = limited(limiter.check(from("a")));
  assertEquals([decision.reason, decision.retryAfterMs, decision.violated], ["banned", 4000, ["default"]]);
  assertEquals(limiter.check(from("b")).kind, "allowed");
  clock.tick(4000);
  assertEquals(limiter.check(from("a")).kind, "allowed");
  limiter.ban("a", 5000);
  limiter.reset("a");
  assertEquals(limiter.check(from("a")).kind, "allowed");
});

Deno.test("RateLimiter refuses to be used from within its own functions, and after its end", () => {
  const limiter: RateLimiter<Source> = makeLimiter({
    ...BY_KEY,
    limit: (_, ctx): number => limiter.peek(ctx).length,
  });
  assertThrows(() => limiter.check(from("a")), FilterError, "from within a function");
  limiter[Symbol.dispose]();
  limiter[Symbol.dispose]();
  assertThrows(() => limiter.check(from("a")), TypeError, "disposed");
});

Deno.test("RateLimiter takes at most 30 policies", () => {
  const policies = Array.from({ length: 31 }, () => ({ ...BY_KEY, limit: 1 }));
  assertThrows(() => makeLimiter(policies), RangeError, "31 policies");
});

Deno.test("RateLimiter.check() admits at most what its algorithm does in real time, whatever steps the given times make", () => {
  // A window's worth at its end and one at the next beginning; a bucket and what comes back; each once more for the step.
  const most = { "fixed-window": 2, "sliding-window": 2, "token-bucket": 2 } as const;
  const ask = fc.record({ gap: fc.nat(300), step: fc.integer({ min: -900, max: 0 }) });
  fc.assert(
    fc.property(
      fc.constantFrom("fixed-window", "sliding-window", "token-bucket"),
      fc.integer({ min: 1, max: 5 }),
      fc.array(ask, { maxLength: 80 }),
      (algorithm, limit, asks) => {
        const clock = new FakeClock();
        using limiter = makeLimiter({ ...BY_KEY, algorithm, limit }, { clock });
        const admitted: number[] = [];
        for (const { gap, step } of asks) {
          clock.tick(gap);
          const decision = limiter.check(from("a"), clock.now() + step);
          if (decision.kind === "allowed") admitted.push(clock.now());
          if (decision.kind === "unlimited") continue;
          assert(decision.remaining >= 0 && decision.retryAfterMs >= 0 && decision.resetMs >= 0);
        }
        for (const start of admitted) {
          const inWindow = admitted.filter((at) => at >= start && at < start + 1000).length;
          assert(inWindow <= most[algorithm] * limit, `${inWindow} of ${limit}`);
        }
      },
    ),
    { ...SEED, numRuns: 500 },
  );
});

/** A store behind a network: answers when the test says so, from what its charges say then. */
class SlowStore implements LimiterStore {
  readonly answersLater = true;
  readonly asked: { charges: readonly Charge[]; answer: (admitted: boolean) => void }[] = [];
  readonly corrected: [key: string, delta: number][] = [];

  admit(charges: readonly Charge[]): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const answer = (admitted: boolean): void => {
      for (const { verdict, cost } of charges) {
        Object.assign(verdict, { admitted, remaining: cost, retryAfterUs: 5 });
      }
      resolve(admitted);
    };
    this.asked.push({ charges, answer });
    return promise;
  }

  hold(): null {
    return null;
  }

  counted(charge: Charge): CountedKey {
    return countedKey(charge, 0);
  }

  correct({ key }: CountedKey, delta: number): void {
    this.corrected.push([key, delta]);
  }
}

Deno.test("RateLimiter.decide() keeps requests apart that a store is asked about at the same time", async () => {
  const store = new SlowStore();
  using limiter = new RateLimiter<Source>(
    { ...BY_KEY, limit: 5, cost: ({ cost }) => cost, charge: () => 7 },
    { clock: new FakeClock(), random: seededRandom(1), maxKeys: 10, store },
  );
  assertThrows(() => limiter.check(from("a")), TypeError, "the store responds later");
  for (let round = 0; round < 2; round++) {
    const decisions = ["a", "b", "c"].map((key, i) => limiter.decide(from(key, { cost: i + 1 })));
    const asked = store.asked.splice(0);
    assertEquals(asked.map(({ charges }) => charges[0]!.key), ["a", "b", "c"]);
    for (const i of [2, 0, 1]) asked[i]!.answer(i !== 1);
    const [a, b, c] = await Promise.all(decisions);
    assertEquals([allowed(a!).key, allowed(a!).remaining], ["a", 1]);
    assertEquals([limited(b!).key, limited(b!).limit], ["b", 5]);
    assertEquals([allowed(c!).key, allowed(c!).remaining], ["c", 3]);
    limiter.settle(c!, from("c"));
    limiter.settle(a!, from("a"), false);
  }
  assertEquals(store.corrected, [["c", 4], ["a", -1], ["c", 4], ["a", -1]]);
});

Deno.test("RateLimiter.decide() answers at once what a store need not be asked", () => {
  const store = new SlowStore();
  using limiter = new RateLimiter<Source>(
    [{ ...BY_KEY, limit: 5, exempt: ({ key }) => key === "free" }, {
      ...BY_KEY,
      name: "strict",
      limit: 5,
      key: (_, { key }) => key === "free" ? null : key || null,
      onMissingKey: "skip",
    }],
    { clock: new FakeClock(), random: seededRandom(1), maxKeys: 10, store },
  );
  assertEquals((limiter.decide(from("free")) as Decision).kind, "unlimited");
  limiter.ban("a", "1m");
  assertEquals(limited(limiter.decide(from("a")) as Decision).reason, "banned");
  assertEquals(store.asked.length, 0);
});

Deno.test("RateLimiter lets refused keys in again within the window of a new configuration, on the same table", () => {
  for (const algorithm of ["fixed-window", "sliding-window", "token-bucket", "concurrency"] as const) {
    const clock = new FakeClock();
    const table = SharedTable.create({ clock, random: seededRandom(1), maxKeys: 100 });
    using long = makeLimiter({ ...BY_KEY, algorithm, limit: 1, window: "1h" }, { clock, table });
    allowed(long.check(from("a")));
    limited(long.check(from("a")));
    assertEquals(long.ban("banned", "2h"), true);
    using short = makeLimiter({ ...BY_KEY, algorithm, limit: 1, window: "1s" }, { clock, table });
    let decision = short.check(from("a"));
    for (let i = 0; i < 20 && decision.kind === "limited"; i++) {
      clock.tick(100);
      decision = short.check(from("a"));
    }
    assertEquals(decision.kind, "allowed", algorithm);
    assertEquals(
      limited(short.check(from("banned"))).reason,
      "banned",
      "a ban has nothing to do with a window",
    );
    short.reset("banned");
    allowed(long.check(from("banned")));
  }
});

/** Places of requests that run for ten windows, in the table and by estimate, with decisions meanwhile or without. */
for (const maxKeys of [1000, 1]) {
  for (const meanwhile of [true, false]) {
    const where = `${maxKeys === 1 ? "by estimate" : "in the table"}${
      meanwhile ? "" : ", with nothing meanwhile"
    }`;
    Deno.test(`RateLimiter.check() holds places for as long as requests run: ${where}`, () => {
      const clock = new FakeClock(0);
      using limiter = makeLimiter({ key: BY_KEY.key, limit: 2, window: "1s", algorithm: "concurrency" }, {
        clock,
        maxKeys,
      });
      // More than there is room for, where there is room for one: of the last ones all are estimated.
      const keys = maxKeys === 1 ? Array.from({ length: 900 }, (_, i) => `client${i}`) : ["a"];
      const leases = keys.map((key) => allowed(limiter.check(from(key))).lease!);
      const key = keys.at(-1)!;
      for (let i = 0; i < 100; i++) {
        clock.tick(100);
        if (meanwhile) limiter.check(from("other"));
      }
      const second = allowed(limiter.check(from(key)));
      limited(limiter.check(from(key)));
      clock.tick(5000);
      limited(limiter.check(from(key)));
      second.lease!.release();
      allowed(limiter.check(from(key))).lease!.release();
      for (const lease of leases) lease.release();
      for (let i = 0; i < 2; i++) allowed(limiter.check(from(key)));
      limited(limiter.check(from(key)));
    });
  }
}

Deno.test("RateLimiter.check() frees the places of a worker that says nothing, after two windows at most", () => {
  const clock = new FakeClock();
  const table = SharedTable.create({ clock, random: seededRandom(1), maxKeys: 100 });
  const policy = { key: BY_KEY.key, limit: 1, window: "1s", algorithm: "concurrency" } as const;
  using dead = makeLimiter(policy, { clock, table });
  using other = makeLimiter(policy, { clock, table: SharedTable.attach(table.buffer, { clock }) });
  allowed(dead.check(from("a")));
  clock.tick(999);
  limited(other.check(from("a")));
  clock.tick(1001);
  const { lease } = allowed(other.check(from("a")));
  // It was not dead: what it holds counts, and ends, as well.
  limited(dead.check(from("a")));
  lease!.release();
  limited(other.check(from("a")));
});
