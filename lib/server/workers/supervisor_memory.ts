/** The memory that a supervisor shares with its workers. */

import { createSharedMemory, type SharedMemory } from "../../core/shared_memory.ts";
import { LEDGER_BYTES, PermitLedger } from "../../limiter/permits.ts";
import {
  MAX_PROCESSES,
  SHARED_SERVERS_BYTES,
  type SharedCells,
  SharedServers,
} from "../../upstream/shared_servers.ts";
import type { SupervisorParts } from "../serve_options.ts";
import type { InheritedMemory } from "./channel.ts";
import { SHARED_METRICS_BYTES, WorkerMetrics } from "./shared_metrics.ts";

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
  readonly #tables: SharedMemory[] = [];

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
    const table = createSharedMemory(byteLength);
    this.#tables.push(table);
    return table.buffer;
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
  inheritedTable(buffer: ArrayBufferLike): InheritedMemory {
    return inherited(this.#tables.find((table) => table.buffer === buffer)!);
  }
}

function inherited({ descriptor, buffer }: SharedMemory): InheritedMemory {
  return { owner: Deno.pid, descriptor, byteLength: buffer.byteLength };
}
