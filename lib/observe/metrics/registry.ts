/**
 * Counts in memory shared by workers: each worker writes its own series, and readers sum them and write them as text.
 */

import {
  BUCKETS,
  Counter,
  EXEMPLAR_SIZE,
  EXPOSED_BOUNDS,
  EXPOSED_OF,
  Histogram,
  HISTOGRAM_SIZE,
  type MetricFamily,
  NOWHERE,
  type Place,
  type Series,
  sizeOf,
} from "./series.ts";

/** The series of one worker. */
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

/** Cells per block of memory; a series never spans two blocks. */
export const CHUNK_CELLS = 4096;

/**
 * The series of one worker. Only this worker writes them, so counting is a plain addition, not an atomic one. A
 * concurrent reader sees the number before or after an addition.
 */
export class MetricRegistry {
  readonly #chunks: Float64Array[] = [];
  readonly #series = new Map<string, Series>();
  /** Places of dropped series, by size. */
  readonly #free = new Map<number, Place[]>();
  #used = CHUNK_CELLS;
  readonly #dropped = (series: Series): void => this.#drop(series);
  readonly #allocate: () => Float64Array;
  /** Called after a series was added or dropped. */
  onChange: (() => void) | null = null;

  /** @param allocate returns a zeroed block of memory that others can read */
  constructor(allocate: () => Float64Array = allocateHere) {
    this.#allocate = allocate;
  }

  /** Opens a counter; the same one for the same labels. Dispose it when it is no longer used. */
  counter(family: MetricFamily, ...labels: readonly string[]): Counter {
    return this.#open(family, labels, Counter);
  }

  /** Opens a histogram; the same one for the same labels. */
  histogram(family: MetricFamily, ...labels: readonly string[]): Histogram {
    return this.#open(family, labels, Histogram);
  }

  /** Adds the counts of a worker that has ended; gauges are dropped. */
  addShare({ chunks, series }: RegistryShare): void {
    for (const { family, labels, chunk, at } of series) {
      if (family.type === "gauge") continue;
      const size = family.type === "histogram" ? HISTOGRAM_SIZE : 1;
      const sum = size === 1 ? this.counter(family, ...labels) : this.histogram(family, ...labels);
      for (let i = 0; i < size; i++) sum.cells[sum.at + i]! += chunks[chunk]![at + i]!;
    }
  }

  /** Number of series. */
  get size(): number {
    return this.#series.size;
  }

  /** The data with which another worker reads the series; valid until a series is added or dropped. */
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

/** Value of a series, summed over all workers. */
export interface SeriesValue {
  readonly labels: readonly string[];
  /** One cell for a counter; the cells of a histogram, with its exemplars if it has any. */
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

/** Sums counts; keeps the later exemplar. */
function addCells(sum: Float64Array, cells: Float64Array, at: number): void {
  const counts = Math.min(sum.length, HISTOGRAM_SIZE);
  for (let i = 0; i < counts; i++) sum[i]! += cells[at + i]!;
  for (let i = counts; i < sum.length; i += EXEMPLAR_SIZE) {
    if (cells[at + i + 5]! > sum[i + 5]!) sum.set(cells.subarray(at + i, at + i + EXEMPLAR_SIZE), i);
  }
}

function seriesKey(name: string, labels: readonly string[]): string {
  return `${name}\0${labels.join("\0")}`;
}

// Writes metrics: the text format of Prometheus (version 0.0.4), and OpenMetrics (version 1.0.0).

/** A metric with all of its values. */
export interface Metric {
  readonly family: MetricFamily;
  readonly values: Iterable<SeriesValue>;
}

/** Format of metrics: `"prometheus"` is widely supported, `"openmetrics"` has exemplars. */
export type MetricsFormat = keyof typeof METRICS_TYPES;

/** The `Content-Type` of a response with metrics. */
export const METRICS_TYPES: Readonly<Record<"prometheus" | "openmetrics", string>> = {
  prometheus: "text/plain; version=0.0.4; charset=utf-8",
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

/** The format for a client, by the `Accept` field of its request: OpenMetrics if the client supports it. */
export function metricsFormat(accept: string | null): "prometheus" | "openmetrics" {
  return accept !== null && /application\/openmetrics-text/i.test(accept) ? "openmetrics" : "prometheus";
}

/** Writes metrics in sequence; metrics without values are omitted. */
export function writeMetrics(metrics: Iterable<Metric>, format: MetricsFormat = "prometheus"): string {
  const open = format === "openmetrics";
  let text = "";
  for (const { family, values } of metrics) {
    let lines = "";
    for (const value of values) {
      lines += family.type === "histogram"
        ? writeHistogram(family, value, open)
        : `${family.name}${labelsOf(family, value)} ${value.cells[0]!}\n`;
    }
    if (lines === "") continue;
    // OpenMetrics names a counter without the suffix of its samples.
    const name = open && family.type === "counter" ? family.name.replace(/_total$/, "") : family.name;
    text += `# HELP ${name} ${escapeHelp(family.help, open)}\n# TYPE ${name} ${family.type}\n${lines}`;
  }
  return open ? `${text}# EOF\n` : text;
}

function writeHistogram(family: MetricFamily, { labels, cells }: SeriesValue, open: boolean): string {
  const counts = new Float64Array(EXPOSED_BOUNDS.length + 1);
  for (let i = 0; i < BUCKETS; i++) counts[EXPOSED_OF[i]!]! += cells[i]!;
  const { name } = family;
  let text = "";
  let count = 0;
  for (let i = 0; i < counts.length; i++) {
    count += counts[i]!;
    const bound = i < EXPOSED_BOUNDS.length ? formatBound(EXPOSED_BOUNDS[i]!, open) : "+Inf";
    const pairs = labelsOf(family, { labels }, `le="${bound}"`);
    text += `${name}_bucket${pairs} ${count}${open ? writeExemplar(cells, i) : ""}\n`;
  }
  const pairs = labelsOf(family, { labels });
  return `${text}${name}_sum${pairs} ${cells[BUCKETS]! / 1000}\n${name}_count${pairs} ${count}\n`;
}

/** OpenMetrics requires integer bounds to be written as floats. */
function formatBound(bound: number, open: boolean): string {
  return open && Number.isInteger(bound) ? `${bound}.0` : String(bound);
}

function writeExemplar(cells: Float64Array, bucket: number): string {
  const at = HISTOGRAM_SIZE + bucket * EXEMPLAR_SIZE;
  const wallTime = cells[at + 5];
  if (wallTime === undefined || wallTime === 0) return "";
  let traceId = "";
  for (let i = 0; i < 4; i++) traceId += cells[at + i]!.toString(16).padStart(8, "0");
  return ` # {trace_id="${traceId}"} ${cells[at + 4]! / 1000} ${wallTime / 1000}`;
}

function labelsOf(family: MetricFamily, { labels }: Pick<SeriesValue, "labels">, last = ""): string {
  let pairs = "";
  for (let i = 0; i < labels.length; i++) {
    pairs += `${pairs === "" ? "" : ","}${family.labels[i]}="${escapeLabel(labels[i]!)}"`;
  }
  if (last !== "") pairs += pairs === "" ? last : `,${last}`;
  return pairs === "" ? "" : `{${pairs}}`;
}

function escapeLabel(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function escapeHelp(help: string, open: boolean): string {
  const escaped = help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
  return open ? escaped.replaceAll('"', '\\"') : escaped;
}
