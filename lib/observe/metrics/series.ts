/** Series of counts: counters, and durations in fine buckets for quantiles, which are exposed as fewer buckets. */

/** A metric: its name, help text and labels. */
export interface MetricFamily {
  /** Name, with the unit and, for counters, `_total` at its end. */
  readonly name: string;
  /** Description in one sentence. */
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly labels: readonly string[];
  /** Whether its buckets have exemplars. @default {false} */
  readonly exemplars?: boolean;
}

/** Upper bounds of the exposed buckets, in seconds. */
export const EXPOSED_BOUNDS: readonly number[] = Object.freeze(
  [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
);

const STEPS = [1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9];
const LEAST_US = 10;
const MOST_US = 60_000_000;

/**
 * Upper bounds of the fine buckets in microseconds, including those of {@linkcode EXPOSED_BOUNDS}; the last is
 * `Infinity`.
 */
const BOUNDS_US: Float64Array = fineBounds();

/** Number of fine buckets. */
export const BUCKETS: number = BOUNDS_US.length;

/** Cells of a distribution: its buckets, followed by the sum in milliseconds. */
export const HISTOGRAM_SIZE: number = BUCKETS + 1;

/** For each fine bucket, the index of its exposed bucket. */
export const EXPOSED_OF: Uint8Array = Uint8Array.from(
  BOUNDS_US,
  (bound) => EXPOSED_BOUNDS.filter((exposed) => bound > exposed * 1e6 + 0.5).length,
);

/** For each leading bit and the three bits after it, the first possible bucket of such a number. */
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

/** Cells of an exemplar, a trace of a bucket: its id in four words, the duration, and the end time. */
export const EXEMPLAR_SIZE = 6;
const EXEMPLARS_SIZE = (EXPOSED_BOUNDS.length + 1) * EXEMPLAR_SIZE;

/** Number of cells of a series. */
export function sizeOf({ type, exemplars = false }: MetricFamily): number {
  if (type !== "histogram") return 1;
  return HISTOGRAM_SIZE + (exemplars ? EXEMPLARS_SIZE : 0);
}

/** Receives writes to a dropped series: a request that outlives its server may still count. */
export const NOWHERE: Float64Array = new Float64Array(HISTOGRAM_SIZE + EXEMPLARS_SIZE);

/** @internal Location of a series. */
export interface Place {
  readonly cells: Float64Array;
  readonly at: number;
}

/** One line of a metric. */
export abstract class Series implements Disposable {
  readonly family: MetricFamily;
  readonly labels: readonly string[];
  /** @internal The block of memory and the index of its first cell. */
  cells: Float64Array;
  at: number;
  /** @internal Number of users. */
  users = 0;
  readonly #dropped: (series: Series) => void;

  /** @internal Use {@linkcode MetricRegistry}. */
  constructor(
    family: MetricFamily,
    labels: readonly string[],
    place: Place,
    dropped: (series: Series) => void,
  ) {
    this.family = family;
    this.labels = labels;
    this.cells = place.cells;
    this.at = place.at;
    this.#dropped = dropped;
  }

  /** Releases the series. Without users it is no longer exposed, and its memory is reused. */
  [Symbol.dispose](): void {
    this.users--;
    if (this.users === 0) this.#dropped(this);
  }
}

/** A number that only increases. */
export class Counter extends Series {
  /** Adds to the count. */
  add(count: number): void {
    this.cells[this.at]! += count;
  }

  /** The count of this worker. */
  get value(): number {
    return this.cells[this.at]!;
  }
}

/** A distribution of durations. */
export class Histogram extends Series {
  /** Adds a duration. */
  record(durationMs: number): void {
    const { cells, at } = this;
    cells[at + bucketOf(durationMs)]!++;
    cells[at + BUCKETS]! += durationMs;
  }

  /**
   * Stores a trace as the exemplar of its bucket; only for a family with exemplars.
   *
   * @param traceId 32 hexadecimal digits
   */
  recordExample(durationMs: number, traceId: string, wallTime: number): void {
    const { cells } = this;
    const at = this.at + HISTOGRAM_SIZE + EXPOSED_OF[bucketOf(durationMs)]! * EXEMPLAR_SIZE;
    for (let i = 0; i < 4; i++) cells[at + i] = parseInt(traceId.slice(i * 8, i * 8 + 8), 16);
    cells[at + 4] = durationMs;
    cells[at + 5] = wallTime;
  }
}

/** A distribution of durations. */
export interface Distribution {
  /** Number of durations in each fine bucket. */
  readonly counts: ArrayLike<number>;
  /** Number of all durations. */
  readonly count: number;
  /** Sum of all durations, in milliseconds. */
  readonly sumMs: number;
}

/** Reads a distribution from its cells. */
export function readDistribution(cells: ArrayLike<number>, at = 0): Distribution {
  const counts = new Float64Array(BUCKETS);
  let count = 0;
  for (let i = 0; i < BUCKETS; i++) count += counts[i] = cells[at + i]!;
  return { counts, count, sumMs: cells[at + BUCKETS]! };
}

/** The difference of a distribution from its earlier state. */
export function distributionSince(now: Distribution, before: Distribution | undefined): Distribution {
  if (before === undefined) return now;
  const counts = Float64Array.from(now.counts, (count, i) => Math.max(0, count - before.counts[i]!));
  const count = counts.reduce((sum, each) => sum + each, 0);
  return { counts, count, sumMs: Math.max(0, now.sumMs - before.sumMs) };
}

/** The sum of several distributions. */
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
 * The duration in milliseconds that a share of all durations, such as 0.99, does not exceed. It is accurate to a
 * quarter, since durations are assumed to be spread evenly within a bucket. `null` without durations; a minute if it is
 * longer.
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

/** Median and tail of a distribution in milliseconds; `null` without durations. */
export interface Quantiles {
  /** Half of all durations are not longer. */
  readonly p50Ms: number | null;
  /** 95 of 100 durations are not longer. */
  readonly p95Ms: number | null;
  /** 99 of 100 durations are not longer. */
  readonly p99Ms: number | null;
}

/** The quantiles for display. */
export function quantilesOf(distribution: Distribution): Quantiles {
  return {
    p50Ms: quantile(distribution, 0.5),
    p95Ms: quantile(distribution, 0.95),
    p99Ms: quantile(distribution, 0.99),
  };
}
