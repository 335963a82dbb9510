import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  bucketOf,
  BUCKETS,
  distributionSince,
  EXPOSED_BOUNDS,
  EXPOSED_OF,
  HISTOGRAM_SIZE,
  quantile,
  readDistribution,
  sumDistributions,
} from "../../../../lib/observe/metrics/series.ts";

function distributionOf(durations: readonly number[]) {
  const cells = new Float64Array(HISTOGRAM_SIZE);
  for (const duration of durations) {
    cells[bucketOf(duration)]!++;
    cells[BUCKETS]! += duration;
  }
  return readDistribution(cells);
}

Deno.test("bucketOf() puts a duration into the exposed bucket whose bound it does not exceed", () => {
  const inBucket = (ms: number) => {
    const wanted = EXPOSED_BOUNDS.findIndex((bound) => ms * 1000 <= bound * 1e6);
    assertEquals(EXPOSED_OF[bucketOf(ms)], wanted < 0 ? EXPOSED_BOUNDS.length : wanted, `${ms} ms`);
  };
  for (const bound of EXPOSED_BOUNDS) [bound * 999.9, bound * 1000, bound * 1000.1].forEach(inBucket);
  [0, 0.0001, 1e7, 1e12, Number.MAX_VALUE].forEach(inBucket);
  fc.assert(fc.property(fc.double({ min: 0, max: 100_000, noNaN: true }), inBucket));
  assert(EXPOSED_OF.every((exposed, i) => i === 0 || exposed >= EXPOSED_OF[i - 1]!));
});

Deno.test("quantile() is within a quarter of the true one, from ten microseconds to a minute", () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0.01, max: 60_000, noNaN: true }), { minLength: 1, maxLength: 200 }),
      fc.constantFrom(0.5, 0.95, 0.99),
      (durations, share) => {
        const sorted = [...durations].sort((a, b) => a - b);
        const exact = sorted[Math.ceil(share * sorted.length) - 1]!;
        const found = quantile(distributionOf(durations), share)!;
        // The bucket of the exact one is at most a half wide.
        assert(found >= exact / 1.5 - 0.01 && found <= exact * 1.5 + 0.01, `${found} for ${exact}`);
      },
    ),
  );
});

Deno.test("quantile() knows nothing of nothing, and says a minute of what is longer", () => {
  assertEquals(quantile(distributionOf([]), 0.5), null);
  assertEquals(quantile(distributionOf([120_000]), 0.5), 60_000);
});

Deno.test("distributionSince() is what came to it, sumDistributions() all of several", () => {
  const before = distributionOf([1, 2]);
  const now = distributionOf([1, 2, 300]);
  const since = distributionSince(now, before);
  assertEquals([since.count, since.sumMs], [1, 300]);
  assert(Math.abs(quantile(since, 0.5)! - 300) < 100);
  assertEquals(distributionSince(now, undefined), now);
  const sum = sumDistributions([before, now]);
  assertEquals([sum.count, sum.sumMs], [5, 306]);
});
