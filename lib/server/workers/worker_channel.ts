/** What a worker has of its supervisor. */

import type { Clock } from "../../core/clock.ts";
import type { Observer } from "../../observe/observer.ts";
import { inheritSharedMemory, letGoOfSharedMemory, openSharedMemory } from "../../core/shared_memory.ts";
import { PermitLedger } from "../../limiter/permits.ts";
import type { MetricRegistry } from "../../observe/metrics/registry.ts";
import { type SharedCells, SharedServers } from "../../upstream/shared_servers.ts";
import type { PlacedPool, WorkerParts } from "../serve_options.ts";
import {
  type FromWorker,
  type PrepareMessage,
  readLines,
  readMessage,
  type StartMessage,
  type ToWorker,
  writeMessage,
} from "./channel.ts";

import { listSeries, MetricChunks } from "./supervisor_memory.ts";

/** How often a worker shows that it is alive. */
const BEAT_MS = 100;

/** How many messages may wait while the supervisor is busy; further ones are lost, and no request waits. */
const MAX_WAITING = 10_000;

/** The way to the supervisor and back, on the standard streams. */
export class WorkerChannel {
  /** What the supervisor says, one after the other; ends when the supervisor has. */
  readonly messages: AsyncGenerator<ToWorker>;
  #writing: Promise<void> = Promise.resolve();
  #waiting = 0;

  constructor(stdin: ReadableStream<Uint8Array>) {
    this.messages = readMessages(stdin);
  }

  /** The first message. */
  async start(): Promise<StartMessage> {
    const { value } = await this.messages.next();
    return value as StartMessage;
  }

  /** Says something; nobody waits for it. */
  send(message: FromWorker): void {
    if (this.#waiting >= MAX_WAITING) return;
    void this.sendAndWait(message);
  }

  /** Says something, and resolves when it was said. */
  sendAndWait(message: FromWorker): Promise<void> {
    const bytes = writeMessage(message);
    this.#waiting++;
    return this.#writing = this.#writing.then(() => this.#write(bytes));
  }

  async #write(bytes: Uint8Array): Promise<void> {
    try {
      for (let rest = bytes; rest.length > 0;) rest = rest.subarray(await Deno.stderr.write(rest));
    } catch {
      // The supervisor has ended, and so does this process.
    }
    this.#waiting--;
  }

  /** Resolves when everything was said. */
  flush(): Promise<void> {
    return this.#writing;
  }

  /** Tells the supervisor of what happens, of each request too where it wants to know. */
  observer(wantsAccess: boolean): Observer {
    return {
      wantsAccess,
      event: (event) => {
        if (!OF_SUPERVISOR.has(event.kind)) this.send({ kind: "event", event });
      },
      access: (entry) => this.send({ kind: "access", entry }),
    };
  }
}

/** Events of which the supervisor has its own. */
const OF_SUPERVISOR: ReadonlySet<string> = new Set([
  "listening",
  "shutdown",
  "stopped",
  "reload",
  "unread_export",
  "config_warning",
]);

async function* readMessages(stdin: ReadableStream<Uint8Array>): AsyncGenerator<ToWorker> {
  for await (const line of readLines(stdin)) {
    const message = readMessage<ToWorker>(line);
    if (message !== null) yield message;
  }
}

/** The memory that a worker has inherited, and what was said of it. */
export class InheritedParts implements WorkerParts, Disposable {
  readonly role = "worker";
  readonly servers: SharedServers;
  readonly instanceId: string;
  readonly overload: SharedCells;
  readonly ledger: PermitLedger;
  #reload: number;
  #places: Pick<StartMessage, "pools" | "budgets" | "table">;
  /** Whether the process was started with the table that it is told of. */
  #inherits = true;
  /** The tables that configurations of this process have. */
  readonly #tables: { readonly id: number; readonly memory: ArrayBuffer; claims: number }[] = [];
  readonly #parent: number;
  readonly #chunks: MetricChunks;
  readonly #channel: WorkerChannel;
  #shared: MetricRegistry | null = null;
  /** Whether the supervisor does not know yet what is counted where. */
  #seriesChanged = false;
  /** The list that is being written. */
  #listing: Promise<unknown> | null = null;
  /** Tells the supervisor that a configuration could be used, and waits for its word. */
  #confirm: (() => Promise<void>) | null = null;
  #beat: Disposable | null = null;

  constructor(start: StartMessage, channel: WorkerChannel) {
    const { process, instanceId, overloadSlot, servers: { descriptor, byteLength } } = start;
    this.#places = start;
    this.#reload = start.reload;
    this.#channel = channel;
    const { metrics, ledgers } = start;
    this.ledger = new PermitLedger(inheritSharedMemory(ledgers.descriptor, ledgers.byteLength), process);
    this.#chunks = new MetricChunks(inheritSharedMemory(metrics.descriptor, metrics.byteLength), process);
    this.#parent = Deno.ppid;
    this.instanceId = instanceId;
    this.servers = new SharedServers(inheritSharedMemory(descriptor, byteLength), process);
    this.overload = this.servers.cells(overloadSlot);
  }

  get reload(): number {
    return this.#reload;
  }

  table(): ArrayBuffer | null {
    const { table } = this.#places;
    if (table === null) return null;
    const { owner, descriptor, byteLength, id } = table;
    const known = this.#tables.find((each) => each.id === id);
    if (known !== undefined) return known.memory;
    const memory = this.#inherits && owner === this.#parent
      ? inheritSharedMemory(descriptor, byteLength)
      : openSharedMemory(owner, descriptor, byteLength);
    this.#tables.push({ id, memory, claims: 0 });
    return memory;
  }

  keepTable(memory: ArrayBufferLike): Disposable {
    const table = this.#tables.find((each) => each.memory === memory)!;
    table.claims++;
    return {
      [Symbol.dispose]: () => {
        if (--table.claims > 0) return;
        this.#tables.splice(this.#tables.indexOf(table), 1);
        letGoOfSharedMemory(table.memory, null);
      },
    };
  }

  allocateMetrics(): Float64Array {
    return this.#chunks.allocate();
  }

  shareMetrics(registry: MetricRegistry): void {
    if (this.#shared === registry) return;
    this.#shared = registry;
    registry.onChange = () => this.#seriesChanged = true;
    this.#listSeries(registry);
  }

  /** The list is long where there are many servers and routes: one is written after the other. */
  #listSeries(registry: MetricRegistry): void {
    this.#seriesChanged = false;
    this.#listing = this.#channel.sendAndWait({ kind: "series", series: listSeries(registry) })
      .then(() => this.#listing = null);
  }

  /** Takes in what a supervisor says of another configuration. */
  prepare(places: PrepareMessage, confirm: () => Promise<void>): void {
    this.#places = places;
    this.#inherits = false;
    this.#reload = places.id;
    this.#confirm = confirm;
  }

  confirm(): Promise<void> {
    return this.#confirm?.() ?? Promise.resolve();
  }

  pool(name: string): PlacedPool {
    return this.#places.pools[name] ?? { slot: 0, servers: [], secret: null };
  }

  budget(route: number): number {
    return this.#places.budgets[route]!;
  }

  /** Shows from now on that this process is alive. */
  beat(clock: Clock, running: () => number): void {
    this.servers.beat(running());
    if (this.#seriesChanged && this.#listing === null) this.#listSeries(this.#shared!);
    this.#beat = clock.setTimer(() => this.beat(clock, running), BEAT_MS);
  }

  [Symbol.dispose](): void {
    this.#beat?.[Symbol.dispose]();
  }
}
