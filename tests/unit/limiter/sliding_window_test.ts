import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { makeVerdict, slidingWindow } from "../../../lib/limiter/algorithm.ts";
import { busiest, checkRetryAfter, play, SEED, traces } from "./arrivals.ts";

Deno.test("slidingWindow() weighs the window before as the definition does, in exact arithmetic", () => {
  fc.assert(
    fc.property(traces, ({ rule, list }) => {
      // Windows follow each other from the first request on, and from the first one after two windows without any.
      const window = BigInt(rule.windowUs);
      let start: bigint | null = null;
      let hits: { at: bigint; cost: bigint }[] = [];
      const within = (from: bigint): bigint =>
        hits.reduce((sum, { at, cost }) => at >= from && at < from + window ? sum + cost : sum, 0n);
      for (const outcome of play(slidingWindow, rule, list)) {
        const at = BigInt(outcome.at);
        const cost = BigInt(outcome.cost);
        let begin: bigint = start ?? at;
        if (at >= begin + 2n * window) {
          begin = at;
          hits = [];
        } else if (at >= begin + window) begin += window;
        const previous = within(begin - window);
        const current = within(begin);
        const weighed = previous * (begin + window - at) + (current + cost) * window;
        assertEquals(outcome.admitted, weighed <= BigInt(rule.limit) * window);
        if (!outcome.admitted) continue;
        start = begin;
        hits.push({ at, cost });
        assertEquals(BigInt(outcome.remaining), (BigInt(rule.limit) * window - weighed) / window);
      }
    }),
    SEED,
  );
});

Deno.test("slidingWindow() admits less than twice the limit in any window", () => {
  fc.assert(
    fc.property(traces, ({ rule, list }) => {
      assert(busiest(play(slidingWindow, rule, list), rule.windowUs) < Math.max(1, 2 * rule.limit));
    }),
    SEED,
  );
});

Deno.test("slidingWindow() tells exactly how long to wait", () => {
  fc.assert(
    fc.property(
      traces,
      ({ rule, list }) => checkRetryAfter(slidingWindow, rule, play(slidingWindow, rule, list)),
    ),
    SEED,
  );
});

Deno.test("slidingWindow() says that the whole limit is back when it is", () => {
  fc.assert(
    fc.property(traces, ({ rule, list }) => {
      const verdict = makeVerdict();
      for (const { at, cost, resetUs, before } of play(slidingWindow, rule, list)) {
        slidingWindow(before, at, cost, rule, verdict);
        const state = verdict.admitted ? { ...verdict.next } : before;
        slidingWindow(state, at + resetUs, rule.limit, rule, verdict);
        assertEquals(verdict.admitted, true);
      }
    }),
    SEED,
  );
});

Deno.test("slidingWindow() gives the values of Pingora's interpolated rate", () => {
  // One second, 5 at 0 s and 4 at 1 s: 5 * 0.25 + 4 at 1.75 s, 4 at 2 s, 2 at 2.5 s, nothing at 3.5 s.
  const rule = { limit: 100, windowUs: 1_000_000, burst: 0, penalize: false, bounded: false };
  const list = [
    { gap: 0, cost: 5 },
    { gap: 1_000_000, cost: 4 },
    { gap: 750_000, cost: 0 },
    { gap: 250_000, cost: 0 },
    { gap: 500_000, cost: 0 },
    { gap: 1_000_000, cost: 0 },
  ];
  const used = play(slidingWindow, rule, list).map(({ remaining }) => 100 - remaining);
  assertEquals(used, [5, 9, 6, 4, 2, 0]);
});

Deno.test("slidingWindow() keeps nobody waiting for longer than two of the windows in force", () => {
  const rule = { limit: 1, windowUs: 1000, burst: 0, penalize: false, bounded: false };
  const verdict = makeVerdict();
  slidingWindow({ a: 9_000_000, b: 1, c: 1 }, 10, 1, rule, verdict);
  assertEquals([verdict.admitted, verdict.corrects, verdict.retryAfterUs], [false, true, 2000]);
  assertEquals(verdict.next, { a: 2010, b: 1, c: 1 });
  slidingWindow({ ...verdict.next }, 2010, 1, rule, verdict);
  assertEquals([verdict.admitted, verdict.corrects], [true, false]);
});
