/** Counts in memory that workers can share: each worker writes into its own, and they are summed when they are read. */

import { bucketOf, BUCKETS, EXPOSED_BOUNDS, EXPOSED_OF, HISTOGRAM_SIZE } from "./histogram.ts";

/** A metric: what it is called, what it tells, and by what its series are set apart. */
export interface MetricFamily {
  /** Name, with the unit and, for counters, `_total` at its end. */
  readonly name: string;
  /** What it tells, in a sentence. */
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly labels: readonly string[];
  /** Whether its buckets have examples. @default {false} */
  readonly exemplars?: boolean;
}

/** Where the series of one worker are. */
export interface RegistryShare {
  readonly chunks: readonly Float64Array[];
  readonly series: readonly SharedSeries[];
}

/** One series of a worker. */
export interface SharedSeries {
  readonly family: MetricFamily;
  readonly labels: readonly string[];
  readonly chunk: number;
  readonly at: number;
}

/** A trace that stands for the durations of a bucket: its id in four words, the duration, and when it ended. */
export const EXEMPLAR_SIZE = 6;
const EXEMPLARS_SIZE = (EXPOSED_BOUNDS.length + 1) * EXEMPLAR_SIZE;

/** Cells of a piece of memory; a series never spans two. */
export const CHUNK_CELLS = 4096;

/** Takes what is written to a series that has been dropped: a request that outlives its server may still do so. */
const NOWHERE: Float64Array = new Float64Array(HISTOGRAM_SIZE + EXEMPLARS_SIZE);

/** One line of a metric. */
export abstract class Series implements Disposable {
  readonly family: MetricFamily;
  readonly labels: readonly string[];
  /** @internal The piece of memory it is in, and where in there. */
  cells: Float64Array;
  at: number;
  /** @internal By how many it is used. */
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

  /** Lets go of it; when nobody uses it any more it is not exposed, and its memory goes to another one. */
  [Symbol.dispose](): void {
    this.users--;
    if (this.users === 0) this.#dropped(this);
  }
}

/** A number that only grows. */
export class Counter extends Series {
  /** Counts. */
  add(count: number): void {
    this.cells[this.at]! += count;
  }

  /** What was counted here, by this worker. */
  get value(): number {
    return this.cells[this.at]!;
  }
}

/** How durations are distributed. */
export class Histogram extends Series {
  /** Takes a duration in. */
  record(durationMs: number): void {
    const { cells, at } = this;
    cells[at + bucketOf(durationMs)]!++;
    cells[at + BUCKETS]! += durationMs;
  }

  /**
   * Keeps a trace as the example of its bucket; only of a family that has exemplars.
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

interface Place {
  readonly cells: Float64Array;
  readonly at: number;
}

/**
 * The series of one worker. Nobody else writes into them, so that counting is an addition and not an atomic one; whoever
 * reads them meanwhile sees the number before or after it.
 */
export class MetricRegistry {
  readonly #chunks: Float64Array[] = [];
  readonly #series = new Map<string, Series>();
  /** Places of series that were dropped, by size. */
  readonly #free = new Map<number, Place[]>();
  #used = CHUNK_CELLS;
  readonly #dropped = (series: Series): void => this.#drop(series);
  readonly #allocate: () => Float64Array;
  /** Called when a series was added or dropped. */
  onChange: (() => void) | null = null;

  /** @param allocate gives a piece of memory full of zeros, which others can read */
  constructor(allocate: () => Float64Array = allocateHere) {
    this.#allocate = allocate;
  }

  /** Opens a counter; the same one for the same labels. Dispose it when it is not used any more. */
  counter(family: MetricFamily, ...labels: readonly string[]): Counter {
    return this.#open(family, labels, Counter);
  }

  /** Opens a histogram; the same one for the same labels. */
  histogram(family: MetricFamily, ...labels: readonly string[]): Histogram {
    return this.#open(family, labels, Histogram);
  }

  /** Adds what a worker has counted that is there no more; what was only so at the moment is dropped. */
  addShare({ chunks, series }: RegistryShare): void {
    for (const { family, labels, chunk, at } of series) {
      if (family.type === "gauge") continue;
      const size = family.type === "histogram" ? HISTOGRAM_SIZE : 1;
      const sum = size === 1 ? this.counter(family, ...labels) : this.histogram(family, ...labels);
      for (let i = 0; i < size; i++) sum.cells[sum.at + i]! += chunks[chunk]![at + i]!;
    }
  }

  /** How many series there are. */
  get size(): number {
    return this.#series.size;
  }

  /** What another worker needs to read them; good until a series is added or dropped. */
  share(): RegistryShare {
    const series = Array.from(this.#series.values(), ({ family, labels, cells, at }) => ({
      family,
      labels,
      chunk: this.#chunks.indexOf(cells),
      at,
    }));
    return { chunks: [...this.#chunks], series };
  }

  #open<Kind extends Series>(
    family: MetricFamily,
    labels: readonly string[],
    Kind: new (...init: ConstructorParameters<typeof Counter>) => Kind,
  ): Kind {
    const key = seriesKey(family.name, labels);
    let series = this.#series.get(key);
    if (series === undefined) {
      series = new Kind(family, labels, this.#place(sizeOf(family)), this.#dropped);
      this.#series.set(key, series);
      this.onChange?.();
    }
    series.users++;
    return series as Kind;
  }

  #place(size: number): Place {
    const free = this.#free.get(size)?.pop();
    if (free !== undefined) return free;
    if (this.#used + size > CHUNK_CELLS) {
      this.#chunks.push(this.#allocate());
      this.#used = 0;
    }
    const at = this.#used;
    this.#used += size;
    return { cells: this.#chunks.at(-1)!, at };
  }

  #drop(series: Series): void {
    this.#series.delete(seriesKey(series.family.name, series.labels));
    const { cells, at } = series;
    const size = sizeOf(series.family);
    cells.fill(0, at, at + size);
    let free = this.#free.get(size);
    if (free === undefined) this.#free.set(size, free = []);
    free.push({ cells, at });
    series.cells = NOWHERE;
    series.at = 0;
    this.onChange?.();
  }
}

function allocateHere(): Float64Array {
  return new Float64Array(new SharedArrayBuffer(CHUNK_CELLS * 8));
}

/** What a series holds, summed over all workers. */
export interface SeriesValue {
  readonly labels: readonly string[];
  /** One cell for a counter; those of a histogram with their exemplars, if there is room for them. */
  readonly cells: Float64Array;
}

/** Reads the series of all workers: by metric, in the order in which they were opened. */
export function readShares(
  shares: readonly RegistryShare[],
): Map<MetricFamily["name"], Map<string, SeriesValue>> {
  const families = new Map<string, Map<string, SeriesValue>>();
  for (const { chunks, series } of shares) {
    for (const { family, labels, chunk, at } of series) {
      let values = families.get(family.name);
      if (values === undefined) families.set(family.name, values = new Map());
      const size = sizeOf(family);
      const key = labels.join("\0");
      const known = values.get(key);
      if (known === undefined) values.set(key, { labels, cells: chunks[chunk]!.slice(at, at + size) });
      else addCells(known.cells, chunks[chunk]!, at);
    }
  }
  return families;
}

/** Sums counts; of exemplars the later one stays. */
function addCells(sum: Float64Array, cells: Float64Array, at: number): void {
  const counts = Math.min(sum.length, HISTOGRAM_SIZE);
  for (let i = 0; i < counts; i++) sum[i]! += cells[at + i]!;
  for (let i = counts; i < sum.length; i += EXEMPLAR_SIZE) {
    if (cells[at + i + 5]! > sum[i + 5]!) sum.set(cells.subarray(at + i, at + i + EXEMPLAR_SIZE), i);
  }
}

/** How many cells a series has. */
function sizeOf({ type, exemplars = false }: MetricFamily): number {
  if (type !== "histogram") return 1;
  return HISTOGRAM_SIZE + (exemplars ? EXEMPLARS_SIZE : 0);
}

function seriesKey(name: string, labels: readonly string[]): string {
  return `${name}\0${labels.join("\0")}`;
}
