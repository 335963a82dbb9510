import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { fixedWindow, makeVerdict } from "../../../lib/limiter/algorithm.ts";
import { busiest, checkRetryAfter, play, SEED, traces } from "./arrivals.ts";

Deno.test("fixedWindow() admits what a list of the window's requests would", () => {
  fc.assert(
    fc.property(traces, ({ rule, list }) => {
      let start = -Infinity;
      let counted: number[] = [];
      for (const { at, cost, admitted, remaining } of play(fixedWindow, rule, list)) {
        if (at - start >= rule.windowUs) counted = [];
        const sum = counted.reduce((total, one) => total + one, 0);
        assertEquals(admitted, sum + cost <= rule.limit);
        if (!admitted) continue;
        if (at - start >= rule.windowUs) start = at;
        counted.push(cost);
        assertEquals(remaining, rule.limit - sum - cost);
      }
    }),
    SEED,
  );
});

Deno.test("fixedWindow() admits at most twice the limit in any window", () => {
  fc.assert(
    fc.property(traces, ({ rule, list }) => {
      assert(busiest(play(fixedWindow, rule, list), rule.windowUs) <= 2 * rule.limit);
    }),
    SEED,
  );
});

Deno.test("fixedWindow() tells exactly how long to wait", () => {
  fc.assert(
    fc.property(
      traces,
      ({ rule, list }) => checkRetryAfter(fixedWindow, rule, play(fixedWindow, rule, list)),
    ),
    SEED,
  );
});

Deno.test("fixedWindow() counts refused requests only when they are penalized, and lets them in after the window", () => {
  const rule = { limit: 1, windowUs: 1000, burst: 0, penalize: true, bounded: false };
  const verdict = makeVerdict();
  fixedWindow({ a: 1000, b: 1, c: 0 }, 10, 1, rule, verdict);
  assertEquals([verdict.admitted, verdict.next.b], [false, 2]);
  fixedWindow(verdict.next, 1000, 1, rule, verdict);
  assertEquals(verdict.admitted, true);
});

Deno.test("fixedWindow() keeps nobody waiting for longer than the window that is in force", () => {
  const verdict = makeVerdict();
  fixedWindow(
    { a: 9000, b: 1, c: 0 },
    10,
    1,
    { limit: 1, windowUs: 1000, burst: 0, penalize: false, bounded: false },
    verdict,
  );
  assertEquals([verdict.admitted, verdict.resetUs, verdict.corrects], [false, 1000, true]);
  assertEquals(verdict.next, { a: 1010, b: 1, c: 0 });
});

Deno.test("fixedWindow() keeps its count when a clock is behind the one that began the window", () => {
  const verdict = makeVerdict();
  fixedWindow(
    { a: 1500, b: 1, c: 0 },
    499,
    1,
    { limit: 1, windowUs: 1000, burst: 0, penalize: false, bounded: false },
    verdict,
  );
  assertEquals(verdict.admitted, false);
});
