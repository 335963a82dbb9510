/** The memory that the supervisor shares with its workers, including metrics. */

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

/** Creates the shared memory. The system frees it when the last process has ended. */
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
    this.servers.onChange = () => this.servers.notify();
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

  /** Descriptor of the memory with the state of servers. */
  get inheritedServers(): InheritedMemory {
    return inherited(this.#servers);
  }

  /** Descriptor of the memory for metrics. */
  get inheritedMetrics(): InheritedMemory {
    return inherited(this.#metrics);
  }

  /** Descriptor of the memory with the ledgers. */
  get inheritedLedgers(): InheritedMemory {
    return inherited(this.#ledgers);
  }

  /** The ledger of a process: the permits that its requests hold. */
  ledgerOf(process: number): PermitLedger {
    return new PermitLedger(this.#ledgers.buffer, process);
  }

  /** Descriptor of a table. */
  inheritedTable(buffer: ArrayBufferLike): NonNullable<StartMessage["table"]> {
    const table = this.#tables.get(buffer)!;
    return { ...inherited(table), id: table.id };
  }
}

/** The counts of a limiter, and the number of configurations that use them. */
interface KeptTable extends SharedMemory {
  readonly id: number;
  claims: number;
}

function inherited({ descriptor, buffer }: SharedMemory): InheritedMemory {
  return { owner: Deno.pid, descriptor, byteLength: buffer.byteLength };
}

// Metrics in shared memory: each worker writes into its own part, and the supervisor adds them up.

/** Chunks of memory per process. Series beyond them are not visible to the supervisor. */
const CHUNKS = 64;

/** Size in bytes. The system allocates only pages that are written to. */
const SHARED_METRICS_BYTES: number = MAX_PROCESSES * CHUNKS * CHUNK_CELLS * 8;

/** The chunks of one process. */
export class MetricChunks {
  readonly #buffer: ArrayBuffer;
  readonly #process: number;
  #used = 0;

  constructor(buffer: ArrayBuffer, process: number) {
    this.#buffer = buffer;
    this.#process = process;
  }

  /** Returns an unused chunk, filled with zeros; private memory when none is left. */
  allocate(): Float64Array {
    const index = this.#used++;
    return index < CHUNKS ? this.at(index).fill(0) : new Float64Array(CHUNK_CELLS);
  }

  at(index: number): Float64Array {
    return new Float64Array(this.#buffer, (this.#process * CHUNKS + index) * CHUNK_CELLS * 8, CHUNK_CELLS);
  }
}

/** Lists the series of a worker that are in shared memory. */
export function listSeries(registry: MetricRegistry): readonly ListedSeries[] {
  return registry.share().series
    .filter(({ chunk }) => chunk < CHUNKS)
    .map(({ family: { name }, labels, chunk, at }) => ({ name, labels, chunk, at }));
}

/** The series of all workers. */
class WorkerMetrics {
  readonly #buffer: ArrayBuffer;
  readonly #shares = new Map<number, RegistryShare>();

  constructor(buffer: ArrayBuffer) {
    this.#buffer = buffer;
  }

  /** The series of each worker. */
  get shares(): readonly RegistryShare[] {
    return [...this.#shares.values()];
  }

  /** The process metrics of a worker; `null` if metrics are off. */
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

  /** Stores the list of series that a worker has sent. */
  set(process: number, listed: readonly ListedSeries[]): void {
    const memory = new MetricChunks(this.#buffer, process);
    const chunks = Array.from(
      { length: listed.reduce((most, { chunk }) => Math.max(most, chunk + 1), 0) },
      (_, index) => memory.at(index),
    );
    const series = listed.flatMap(({ name, ...place }) => {
      const family = FAMILIES.get(name);
      return family === undefined ? [] : [{ family, ...place }];
    });
    this.#shares.set(process, { chunks, series });
  }

  /** Removes a worker that has ended; its counts are added to another registry. */
  retire(process: number, registry: MetricRegistry | null): void {
    const share = this.#shares.get(process);
    if (share !== undefined) registry?.addShare(share);
    this.#shares.delete(process);
  }
}

const FAMILIES: ReadonlyMap<string, MetricFamily> = new Map(
  Object.values(METRICS).map((family) => [family.name, family]),
);
