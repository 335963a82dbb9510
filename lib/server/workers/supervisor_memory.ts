/** The memory that a supervisor shares with its workers, with the metrics in it. */

import type { WorkerCounts } from "../../admin/admin_target.ts";
import { createSharedMemory, letGoOfSharedMemory, type SharedMemory } from "../../core/shared_memory.ts";
import { LEDGER_BYTES, PermitLedger } from "../../limiter/permits.ts";
import { METRICS } from "../../observe/metrics/catalog.ts";
import { HISTOGRAM_SIZE, type MetricFamily, readDistribution } from "../../observe/metrics/series.ts";
import {
  CHUNK_CELLS,
  type MetricRegistry,
  readShares,
  type RegistryShare,
} from "../../observe/metrics/registry.ts";
import {
  MAX_PROCESSES,
  SHARED_SERVERS_BYTES,
  type SharedCells,
  SharedServers,
} from "../../upstream/shared_servers.ts";
import type { SupervisorParts } from "../serve_options.ts";
import type { InheritedMemory, ListedSeries, StartMessage } from "./channel.ts";

/** Makes it; it is gone when the last process has ended. */
export class SupervisorMemory implements SupervisorParts {
  readonly role = "supervisor";
  readonly servers: SharedServers;
  readonly instanceId: string = crypto.randomUUID().slice(0, 18);
  readonly overload: SharedCells;
  reloads = 0;
  readonly #servers: SharedMemory;
  readonly #metrics: SharedMemory;
  readonly #ledgers: SharedMemory;
  readonly metrics: WorkerMetrics;
  readonly #tables = new Map<ArrayBufferLike, KeptTable>();
  #tablesMade = 0;

  /** @throws {Deno.errors.NotCapable} without `--allow-ffi` */
  constructor() {
    this.#servers = createSharedMemory(SHARED_SERVERS_BYTES);
    this.servers = new SharedServers(this.#servers.buffer, 0);
    this.overload = this.servers.cells(this.servers.allocate());
    this.#metrics = createSharedMemory(SHARED_METRICS_BYTES);
    this.#ledgers = createSharedMemory(LEDGER_BYTES * MAX_PROCESSES);
    this.metrics = new WorkerMetrics(this.#metrics.buffer);
  }

  createTable(byteLength: number): ArrayBuffer {
    const memory = createSharedMemory(byteLength);
    this.#tables.set(memory.buffer, { ...memory, id: ++this.#tablesMade, claims: 0 });
    return memory.buffer;
  }

  keepTable(memory: ArrayBufferLike): Disposable {
    const table = this.#tables.get(memory)!;
    table.claims++;
    return {
      [Symbol.dispose]: () => {
        if (--table.claims > 0) return;
        this.#tables.delete(memory);
        letGoOfSharedMemory(table.buffer, table.descriptor);
      },
    };
  }

  /** How workers get the state of servers. */
  get inheritedServers(): InheritedMemory {
    return inherited(this.#servers);
  }

  /** How they get memory for metrics. */
  get inheritedMetrics(): InheritedMemory {
    return inherited(this.#metrics);
  }

  /** How they get their ledgers. */
  get inheritedLedgers(): InheritedMemory {
    return inherited(this.#ledgers);
  }

  /** The ledger of a process. */
  ledgerOf(process: number): PermitLedger {
    return new PermitLedger(this.#ledgers.buffer, process);
  }

  /** How workers get a table. */
  inheritedTable(buffer: ArrayBufferLike): NonNullable<StartMessage["table"]> {
    const table = this.#tables.get(buffer)!;
    return { ...inherited(table), id: table.id };
  }
}

/** The counts of a limiter, and how many configurations have them. */
interface KeptTable extends SharedMemory {
  readonly id: number;
  claims: number;
}

function inherited({ descriptor, buffer }: SharedMemory): InheritedMemory {
  return { owner: Deno.pid, descriptor, byteLength: buffer.byteLength };
}

// Metrics in memory that processes share: each worker writes into its own part, and the supervisor adds them up.

/** Pieces of memory that each process has; what is counted beyond them is not seen by others. */
const CHUNKS = 64;

/** Bytes of the memory; pages that nothing was written to take none. */
const SHARED_METRICS_BYTES: number = MAX_PROCESSES * CHUNKS * CHUNK_CELLS * 8;

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
class WorkerMetrics {
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
