/** Metrics in memory that processes share: each worker writes into its own part, and the supervisor adds them up. */

import type { WorkerCounts } from "../../admin/admin_target.ts";
import { METRICS } from "../../observe/metrics/catalog.ts";
import {
  CHUNK_CELLS,
  type MetricFamily,
  type MetricRegistry,
  readShares,
  type RegistryShare,
} from "../../observe/metrics/registry.ts";
import { HISTOGRAM_SIZE, readDistribution } from "../../observe/metrics/histogram.ts";
import { MAX_PROCESSES } from "../../upstream/shared_servers.ts";
import type { ListedSeries } from "./channel.ts";

/** Pieces of memory that each process has; what is counted beyond them is not seen by others. */
const CHUNKS = 64;

/** Bytes of the memory; pages that nothing was written to take none. */
export const SHARED_METRICS_BYTES: number = MAX_PROCESSES * CHUNKS * CHUNK_CELLS * 8;

/** The pieces of a process. */
export class MetricChunks {
  readonly #buffer: ArrayBuffer;
  readonly #process: number;
  #used = 0;

  constructor(buffer: ArrayBuffer, process: number) {
    this.#buffer = buffer;
    this.#process = process;
  }

  /** One that nobody has used; it is full of zeros. */
  allocate(): Float64Array {
    const index = this.#used++;
    return index < CHUNKS ? this.at(index).fill(0) : new Float64Array(CHUNK_CELLS);
  }

  at(index: number): Float64Array {
    return new Float64Array(this.#buffer, (this.#process * CHUNKS + index) * CHUNK_CELLS * 8, CHUNK_CELLS);
  }
}

/** Lists the series of a worker, as far as others can read them. */
export function listSeries(registry: MetricRegistry): readonly ListedSeries[] {
  return registry.share().series
    .filter(({ chunk }) => chunk < CHUNKS)
    .map(({ family: { name }, labels, chunk, at }) => ({ name, labels, chunk, at }));
}

/** What workers have counted. */
export class WorkerMetrics {
  readonly #buffer: ArrayBuffer;
  readonly #shares = new Map<number, RegistryShare>();

  constructor(buffer: ArrayBuffer) {
    this.#buffer = buffer;
  }

  /** What each has counted. */
  get shares(): readonly RegistryShare[] {
    return [...this.#shares.values()];
  }

  /** What one has counted of itself; `null` where nothing is counted. */
  countedBy(process: number): WorkerCounts | null {
    const share = this.#shares.get(process);
    if (share === undefined) return null;
    const series = readShares([share]);
    const sum = ({ name }: MetricFamily): number =>
      Array.from(series.get(name)?.values() ?? [], ({ cells }) => cells[0]!).reduce(
        (all, each) => all + each,
        0,
      );
    const [delay] = series.get(METRICS.loopDelay.name)?.values() ?? [];
    return {
      rssBytes: sum(METRICS.memory),
      cpuSeconds: sum(METRICS.cpu),
      requests: sum(METRICS.requests),
      loopDelay: readDistribution(delay?.cells ?? new Float64Array(HISTOGRAM_SIZE)),
    };
  }

  /** A worker has said what it counts. */
  set(process: number, listed: readonly ListedSeries[]): void {
    const pieces = new MetricChunks(this.#buffer, process);
    const chunks = Array.from(
      { length: listed.reduce((most, { chunk }) => Math.max(most, chunk + 1), 0) },
      (_, index) => pieces.at(index),
    );
    const series = listed.flatMap(({ name, ...place }) => {
      const family = FAMILIES.get(name);
      return family === undefined ? [] : [{ family, ...place }];
    });
    this.#shares.set(process, { chunks, series });
  }

  /** A worker has ended: what it has counted is kept by another registry. */
  retire(process: number, registry: MetricRegistry | null): void {
    const share = this.#shares.get(process);
    if (share !== undefined) registry?.addShare(share);
    this.#shares.delete(process);
  }
}

const FAMILIES: ReadonlyMap<string, MetricFamily> = new Map(
  Object.values(METRICS).map((family) => [family.name, family]),
);
