import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { seededRandom } from "../../../lib/core/random.ts";
import type { KeySource } from "../../../lib/limiter/key_spec.ts";
import { RateLimiter } from "../../../lib/limiter/limiter.ts";
import type { Decision } from "../../../lib/limiter/policy.ts";
import type { AlgorithmName, LimiterPolicy } from "../../../lib/limiter/policy.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { SEED } from "./arrivals.ts";

/** A request, and what it comes to. */
class Source implements KeySource {
  readonly request = new Request("http://a.example/");
  readonly clientIp = "192.0.2.1";
  readonly target = "/";
  readonly host = "a.example";
  constructor(readonly key: string, readonly cost = 1, readonly amount = cost) {}
}

function makeLimiter(
  clock: FakeClock,
  more: Partial<LimiterPolicy<Source>>,
  maxKeys = 100,
): RateLimiter<Source> {
  return new RateLimiter<Source>({
    key: (_, { key }) => key,
    limit: 10,
    window: "1s",
    cost: ({ cost }) => cost,
    charge: ({ amount }) => amount,
    ...more,
  }, { clock, random: seededRandom(1), maxKeys });
}

function remaining(limiter: RateLimiter<Source>, key = "a"): number {
  return limiter.peek(new Source(key))[0]!.remaining;
}

Deno.test("RateLimiter.settle() makes a request count what it came to, once", () => {
  for (const algorithm of ["fixed-window", "sliding-window", "token-bucket"] as const) {
    using limiter = makeLimiter(new FakeClock(), { algorithm });
    const ask = (cost: number, amount: number, counts = true): number => {
      const source = new Source("a", cost, amount);
      const decision = limiter.check(source);
      limiter.settle(decision, source, counts);
      limiter.settle(decision, source, counts);
      return remaining(limiter);
    };
    assertEquals([ask(1, 4), ask(5, 2), ask(3, 0), ask(1, 9, false), ask(4, 4)], [6, 4, 4, 4, 0], algorithm);
  }
});

Deno.test("RateLimiter.settle() may count more than the limit, which is paid back", () => {
  const table: [AlgorithmName, number[]][] = [
    ["fixed-window", [1000]],
    // 40 in the window before count for less than 10 after three quarters of this one.
    ["sliding-window", [1775]],
    ["token-bucket", [3100]],
  ];
  for (const [algorithm, [waitMs]] of table) {
    const clock = new FakeClock();
    using limiter = makeLimiter(clock, { algorithm });
    const source = new Source("a", 1, 40);
    limiter.settle(limiter.check(source), source);
    const refused = limiter.check(new Source("a"));
    assert(refused.kind === "limited");
    assertEquals(refused.retryAfterMs, waitMs, algorithm);
    clock.tick(waitMs! - 1);
    assertEquals(limiter.check(new Source("a")).kind, "limited");
    clock.tick(1);
    assertEquals(limiter.check(new Source("a")).kind, "allowed");
  }
});

Deno.test("RateLimiter.settle() takes nothing back from a later window", () => {
  for (
    const [algorithm, left] of [["fixed-window", 9], ["sliding-window", 9], ["token-bucket", 9]] as const
  ) {
    const clock = new FakeClock();
    using limiter = makeLimiter(clock, { algorithm });
    const early = new Source("a", 5, 0);
    const decision = limiter.check(early);
    clock.tick(2500);
    limiter.check(new Source("a", 1));
    limiter.settle(decision, early);
    assertEquals(remaining(limiter), left, algorithm);
  }
});

Deno.test("RateLimiter.settle() finds a sliding window's count again where it has moved to", () => {
  const clock = new FakeClock();
  using limiter = makeLimiter(clock, { algorithm: "sliding-window" });
  const early = new Source("a", 10, 0);
  const decision = limiter.check(early);
  clock.tick(1500);
  limiter.check(new Source("a", 1));
  assertEquals(remaining(limiter), 4);
  limiter.settle(decision, early);
  assertEquals(remaining(limiter), 9);
});

Deno.test("RateLimiter.settle() of a token bucket never leaves more than if the request had never come", () => {
  const step = fc.record({ gap: fc.nat(400), cost: fc.integer({ min: 0, max: 5 }), end: fc.nat(8) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const clock = new FakeClock();
      using corrected = makeLimiter(clock, { algorithm: "token-bucket", limit: 10, burst: 1000 });
      using without = makeLimiter(clock, { algorithm: "token-bucket", limit: 10, burst: 1000 });
      const running: { source: Source; decision: Decision }[] = [];
      for (const { gap, cost, end } of steps) {
        clock.tick(gap);
        // Every other request is taken back later; the other limiter never hears of it.
        const source = new Source("a", cost);
        const decision = corrected.check(source);
        if (cost % 2 === 0) without.check(source);
        else running.push({ source, decision });
        const [over] = end < running.length ? running.splice(end, 1) : [];
        if (over !== undefined) corrected.settle(over.decision, over.source, false);
        assert(remaining(corrected) <= remaining(without));
      }
    }),
    SEED,
  );
});

Deno.test("RateLimiter.settle() corrects keys that are counted by estimate, and no others", () => {
  for (const algorithm of ["fixed-window", "sliding-window", "token-bucket"] as const) {
    const clock = new FakeClock();
    // One place: all but a few hundred keys overflow.
    using limiter = makeLimiter(clock, { algorithm, window: "1h" }, 1);
    const sources = Array.from({ length: 900 }, (_, i) => new Source(`client${i}`, 6, 0));
    const decisions = sources.map((source) => limiter.check(source));
    sources.forEach((source, i) => limiter.settle(decisions[i]!, source));
    const again = sources.map((source) => limiter.check(source));
    // Not none: a few share all their cells with others that run. Without corrections it would be all of them.
    const refused = again.filter(({ kind }) => kind === "limited").length;
    assert(refused < 10, `${algorithm}: ${refused}`);
    const more = new Source("client899", 4, 50);
    limiter.settle(limiter.check(more), more);
    assertEquals(limiter.check(new Source("client899")).kind, "limited");
    assertEquals(limiter.check(new Source("client898")).kind, "allowed");
  }
});

Deno.test("RateLimiter.settle() leaves alone what a later window counts in the same cells", () => {
  const clock = new FakeClock(0);
  using limiter = makeLimiter(clock, { limit: 1000, window: "1s" }, 1);
  const sources = Array.from({ length: 900 }, (_, i) => new Source(`client${i}`, 1, 0));
  const decisions = sources.map((source) => limiter.check(source));
  // Two windows later the cells are used again.
  clock.tick(2000);
  for (const { key } of sources) limiter.check(new Source(key, 7));
  sources.forEach((source, i) => limiter.settle(decisions[i]!, source));
  assertEquals(sources.filter(({ key }) => remaining(limiter, key) > 993), []);
});

Deno.test("RateLimiter.settle() does nothing for other decisions, and after the end", () => {
  const limiter = makeLimiter(new FakeClock(), { limit: 1 });
  const source = new Source("a", 1, 0);
  const allowed = limiter.check(source);
  limiter.settle(limiter.check(source), source);
  assertEquals(limiter.check(source).kind, "limited");
  limiter[Symbol.dispose]();
  limiter.settle(allowed, source);
});
