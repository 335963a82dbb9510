import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { makeVerdict, tokenBucket } from "../../../lib/limiter/algorithm.ts";
import { checkRetryAfter, play, SEED, traces } from "./arrivals.ts";

Deno.test("tokenBucket() decides as GCRA does with one theoretical arrival time, in exact arithmetic", () => {
  fc.assert(
    fc.property(traces, ({ rule, list }) => {
      // Everything times the limit, so that the emission interval (window / limit) is a whole number.
      const limit = BigInt(rule.limit);
      const interval = BigInt(rule.windowUs);
      const tolerance = BigInt(rule.limit === 0 ? 0 : rule.burst) * interval;
      let arrival = 0n;
      for (const outcome of play(tokenBucket, rule, list)) {
        const now = BigInt(outcome.at) * limit;
        const next = (arrival > now ? arrival : now) + BigInt(outcome.cost) * interval;
        assertEquals(outcome.admitted, next - now <= tolerance);
        if (!outcome.admitted) continue;
        arrival = next;
        assertEquals(BigInt(outcome.remaining), (tolerance - (next - now)) / interval);
      }
    }),
    SEED,
  );
});

Deno.test("tokenBucket() admits at most the burst and what came back meanwhile, in any interval", () => {
  fc.assert(
    fc.property(traces, ({ rule, list }) => {
      const admitted = play(tokenBucket, rule, list).filter((outcome) => outcome.admitted);
      for (let i = 0; i < admitted.length; i++) {
        let sum = 0;
        for (let j = i; j < admitted.length; j++) {
          sum += admitted[j]!.cost;
          const elapsed = admitted[j]!.at - admitted[i]!.at;
          assert(sum <= rule.burst + elapsed * rule.limit / rule.windowUs + 1e-9);
        }
      }
    }),
    SEED,
  );
});

Deno.test("tokenBucket() is full when it says so, and not a moment before", () => {
  const rule = { limit: 3, windowUs: 10, burst: 4, bounded: false, penalize: false };
  for (let cost = 1; cost <= 4; cost++) {
    const first = makeVerdict();
    tokenBucket({ a: 0, b: 0, c: 0 }, 1000, cost, rule, first);
    assertEquals([first.admitted, first.next.a], [true, 1000 + first.resetUs]);
    for (const [early, full] of [[0, true], [1, false]] as const) {
      const all = makeVerdict();
      tokenBucket({ ...first.next }, first.next.a - early, 4, rule, all);
      assertEquals(all.admitted, full, `cost ${cost}, ${early} us before`);
    }
  }
});

Deno.test("tokenBucket() tells exactly how long to wait", () => {
  fc.assert(
    fc.property(
      traces,
      ({ rule, list }) => checkRetryAfter(tokenBucket, rule, play(tokenBucket, rule, list)),
    ),
    SEED,
  );
});

Deno.test("tokenBucket() does not drift at a rate that divides nothing", () => {
  // 3 a second for a day, one after the other as soon as allowed: 333,333.3 us apart.
  const rule = { limit: 3, windowUs: 1_000_000, burst: 1, penalize: false, bounded: false };
  const verdict = makeVerdict();
  let state = { a: 0, b: 0, c: 0 };
  let now = 0;
  for (let i = 0; i < 3 * 86_400; i++) {
    tokenBucket(state, now, 1, rule, verdict);
    assert(verdict.admitted);
    state = { ...verdict.next };
    now += verdict.retryAfterUs;
  }
  // A request waits for the next whole microsecond, so a second of three takes 1,000,002 us and never less.
  assertEquals(now, 3 * 86_400 * 333_334);
});

Deno.test("tokenBucket() penalizes by at most another bucket", () => {
  const rule = { limit: 1, windowUs: 1000, burst: 2, penalize: true, bounded: false };
  const outcomes = play(tokenBucket, rule, Array.from({ length: 50 }, () => ({ gap: 0, cost: 1 })));
  assertEquals(outcomes.filter(({ admitted }) => admitted).length, 2);
  assertEquals(outcomes.at(-1)!.resetUs, 4000);
});

Deno.test("tokenBucket() takes back nothing when a clock is behind", () => {
  const verdict = makeVerdict();
  tokenBucket(
    { a: 6000, b: 1000, c: 5000 },
    4000,
    1,
    { limit: 1, windowUs: 1000, burst: 1, penalize: false, bounded: false },
    verdict,
  );
  assertEquals([verdict.admitted, verdict.retryAfterUs], [false, 2000]);
});

Deno.test("tokenBucket() goes on from the present when the clock was set back", () => {
  const rule = { limit: 1, windowUs: 1000, burst: 1, penalize: false, bounded: false };
  const verdict = makeVerdict();
  tokenBucket({ a: 5_001_000, b: 1000, c: 5_000_000 }, 10, 1, rule, verdict);
  assertEquals([verdict.admitted, verdict.corrects, verdict.retryAfterUs], [false, true, 1000]);
  assertEquals(verdict.next, { a: 1010, b: 1000, c: 10 });
});

Deno.test("tokenBucket() keeps nobody waiting for a larger bucket that is in force no more", () => {
  const verdict = makeVerdict();
  for (const [penalize, waitUs] of [[false, 1000], [true, 3000]] as const) {
    const rule = { limit: 1, windowUs: 1000, burst: 2, penalize };
    const state = { a: 500_000, b: 500_000, c: 0 };
    tokenBucket(state, 0, 1, { ...rule, bounded: true }, verdict);
    assertEquals([verdict.admitted, verdict.corrects, verdict.retryAfterUs], [false, true, waitUs]);
    // Where a function gives the burst, or more is charged afterwards, that much may have been used up rightly.
    tokenBucket(state, 0, 1, { ...rule, bounded: false }, verdict);
    assertEquals([verdict.admitted, verdict.corrects, verdict.retryAfterUs], [false, false, 499_000]);
  }
});
