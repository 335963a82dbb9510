/** Distributions of durations: fine buckets for quantiles, of which the exposition shows a few. */

/** Upper bounds of the buckets that are exposed, in seconds. */
export const EXPOSED_BOUNDS: readonly number[] = Object.freeze(
  [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
);

const STEPS = [1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9];
const LEAST_US = 10;
const MOST_US = 60_000_000;

/** Upper bounds of the fine buckets in microseconds, those of {@linkcode EXPOSED_BOUNDS} among them; the last is `Infinity`. */
const BOUNDS_US: Float64Array = fineBounds();

/** How many fine buckets there are. */
export const BUCKETS: number = BOUNDS_US.length;

/** Cells of a distribution: its buckets, and behind them the sum in milliseconds. */
export const HISTOGRAM_SIZE: number = BUCKETS + 1;

/** For each fine bucket, which of the exposed ones it belongs to. */
export const EXPOSED_OF: Uint8Array = Uint8Array.from(
  BOUNDS_US,
  (bound) => EXPOSED_BOUNDS.filter((exposed) => bound > exposed * 1e6 + 0.5).length,
);

/** For each leading bit and the three behind it, the first bucket that a number of that kind can be in. */
const FIRST: Uint8Array = firstBuckets();

function fineBounds(): Float64Array {
  const bounds: number[] = [];
  for (let decade = LEAST_US; decade <= MOST_US; decade *= 10) {
    for (const step of STEPS) if (step * decade <= MOST_US) bounds.push(step * decade);
  }
  return Float64Array.of(...bounds, Infinity);
}

function firstBuckets(): Uint8Array {
  return Uint8Array.from({ length: 32 * 8 }, (_, key) => {
    const exponent = key >> 3;
    const least = exponent < 3 ? 0 : (8 + (key & 7)) * 2 ** (exponent - 3);
    return BOUNDS_US.findIndex((bound) => bound >= least);
  });
}

/** The fine bucket of a duration. */
export function bucketOf(durationMs: number): number {
  const us = durationMs * 1000;
  const whole = us < 0x7fffffff ? us | 0 : 0x7fffffff;
  const exponent = 31 - Math.clz32(whole);
  let bucket = exponent < 3 ? 0 : FIRST[exponent << 3 | (whole >> (exponent - 3)) & 7]!;
  while (us > BOUNDS_US[bucket]!) bucket++;
  return bucket;
}

/** What is known of a distribution. */
export interface Distribution {
  /** How many durations are in each fine bucket. */
  readonly counts: ArrayLike<number>;
  /** How many there are in all. */
  readonly count: number;
  /** What they come to, in milliseconds. */
  readonly sumMs: number;
}

/** Reads a distribution from its cells. */
export function readDistribution(cells: ArrayLike<number>, at = 0): Distribution {
  const counts = new Float64Array(BUCKETS);
  let count = 0;
  for (let i = 0; i < BUCKETS; i++) count += counts[i] = cells[at + i]!;
  return { counts, count, sumMs: cells[at + BUCKETS]! };
}

/** What has come to a distribution since it was read before. */
export function distributionSince(now: Distribution, before: Distribution | undefined): Distribution {
  if (before === undefined) return now;
  const counts = Float64Array.from(now.counts, (count, i) => Math.max(0, count - before.counts[i]!));
  const count = counts.reduce((sum, each) => sum + each, 0);
  return { counts, count, sumMs: Math.max(0, now.sumMs - before.sumMs) };
}

/** All of several distributions. */
export function sumDistributions(distributions: Iterable<Distribution>): Distribution {
  const counts = new Float64Array(BUCKETS);
  let count = 0;
  let sumMs = 0;
  for (const each of distributions) {
    for (let i = 0; i < BUCKETS; i++) counts[i]! += each.counts[i]!;
    count += each.count;
    sumMs += each.sumMs;
  }
  return { counts, count, sumMs };
}

/**
 * The duration in milliseconds that a share of all is not longer than, such as 0.99 of them: to a quarter, since within a
 * bucket durations are taken to be spread evenly. `null` when there are none; a minute when it is longer.
 */
export function quantile({ counts, count }: Distribution, share: number): number | null {
  if (count === 0) return null;
  const rank = share * count;
  let below = 0;
  for (let i = 0; i < BUCKETS - 1; i++) {
    const here = counts[i]!;
    if (here > 0 && below + here >= rank) {
      const from = i === 0 ? 0 : BOUNDS_US[i - 1]!;
      return (from + (BOUNDS_US[i]! - from) * Math.max(0, (rank - below) / here)) / 1000;
    }
    below += here;
  }
  return MOST_US / 1000;
}

/** Median and tail of a distribution in milliseconds; `null` where there is nothing to tell. */
export interface Quantiles {
  /** Half of all are not longer. */
  readonly p50Ms: number | null;
  /** 95 of 100 are not longer. */
  readonly p95Ms: number | null;
  /** 99 of 100 are not longer. */
  readonly p99Ms: number | null;
}

/** The quantiles that are shown to people. */
export function quantilesOf(distribution: Distribution): Quantiles {
  return {
    p50Ms: quantile(distribution, 0.5),
    p95Ms: quantile(distribution, 0.95),
    p99Ms: quantile(distribution, 0.99),
  };
}
