/** The connection of a worker to its supervisor: messages and shared memory. */

import type { Clock } from "../../core/clock.ts";
import type { ByteSink } from "../../observe/line_writer.ts";
import type { Observer } from "../../observe/observer.ts";
import { inheritSharedMemory, letGoOfSharedMemory, openSharedMemory } from "../../core/shared_memory.ts";
import { PermitLedger } from "../../limiter/permits.ts";
import type { MetricRegistry } from "../../observe/metrics/registry.ts";
import { type SharedCells, SharedServers } from "../../upstream/shared_servers.ts";
import type { PlacedPool, WorkerParts } from "../serve_options.ts";
import {
  type FromWorker,
  type InheritedMemory,
  type PrepareMessage,
  readLines,
  readMessage,
  type StartMessage,
  type ToWorker,
  writeMessage,
} from "./channel.ts";

import { listSeries, MetricChunks } from "./supervisor_memory.ts";

/** How often a worker shows that it is alive, in milliseconds. */
const BEAT_MS = 100;

/** What a heartbeat shows of a proxy. */
interface CountedProxy {
  readonly running: number;
  readonly drainingConfigurations: number;
}

/** How many messages may be queued while the supervisor is busy. Further ones are dropped, so that no request waits. */
const MAX_QUEUED = 10_000;

/** Sends messages to the supervisor, and receives its messages, on the standard streams. */
export class WorkerChannel {
  /** Messages of the supervisor, in order; ends when the supervisor ends. */
  readonly messages: AsyncGenerator<ToWorker>;
  readonly #stderr: Pick<ByteSink, "write">;
  #writing: Promise<void> = Promise.resolve();
  #queued = 0;
  #token = "";

  constructor(stdin: ReadableStream<Uint8Array>, stderr: Pick<ByteSink, "write">) {
    this.messages = readMessages(stdin);
    this.#stderr = stderr;
  }

  /** Waits for the first message. */
  async start(): Promise<StartMessage> {
    const { value } = await this.messages.next();
    const start = value as StartMessage;
    this.#token = start.token;
    return start;
  }

  /** Sends a message without waiting; drops it if too many are queued. */
  send(message: FromWorker): void {
    if (this.#queued >= MAX_QUEUED) return;
    void this.sendAndWait(message);
  }

  /** Sends a message, and resolves when it is written. */
  sendAndWait(message: FromWorker): Promise<void> {
    const bytes = writeMessage(message, this.#token);
    this.#queued++;
    return this.#writing = this.#writing.then(() => this.#write(bytes));
  }

  async #write(bytes: Uint8Array): Promise<void> {
    try {
      for (let rest = bytes; rest.length > 0;) rest = rest.subarray(await this.#stderr.write(rest));
    } catch {
      // The supervisor has ended, and this process will end too.
    }
    this.#queued--;
  }

  /** Resolves when all messages are written. */
  flush(): Promise<void> {
    return this.#writing;
  }

  /** Makes an observer that sends events to the supervisor, and access-log entries if it wants them. */
  observer(wantsAccess: boolean): Observer {
    return {
      wantsAccess,
      event: (event) => {
        if (!SUPERVISOR_EVENTS.has(event.kind)) this.send({ kind: "event", event });
      },
      access: (entry) => this.send({ kind: "access", entry }),
    };
  }
}

/** Events that the supervisor reports itself. */
const SUPERVISOR_EVENTS: ReadonlySet<string> = new Set([
  "listening",
  "shutdown",
  "stopped",
  "reload",
  "panic",
  "unread_export",
  "config_warning",
]);

async function* readMessages(stdin: ReadableStream<Uint8Array>): AsyncGenerator<ToWorker> {
  for await (const line of readLines(stdin)) {
    const { message } = readMessage<ToWorker>(line);
    if (message !== null) yield message;
  }
}

/** The memory that a worker has inherited, and the slots in it. */
export class InheritedParts implements WorkerParts, Disposable {
  readonly role = "worker";
  readonly servers: SharedServers;
  readonly instanceId: string;
  readonly overload: SharedCells;
  readonly ledger: PermitLedger;
  #reload: number;
  #places: Pick<StartMessage, "pools" | "budgets" | "table">;
  /** Whether this process inherited the table at its start, rather than opening it after a reload. */
  #inherits = true;
  /** The tables in use by configurations of this process. */
  readonly #tables: { readonly id: number; readonly memory: ArrayBuffer; claims: number }[] = [];
  readonly #parent: number;
  readonly #chunks: MetricChunks;
  readonly #channel: WorkerChannel;
  #shared: MetricRegistry | null = null;
  /** Whether series have changed since the last list was sent. */
  #seriesChanged = false;
  /** Settles when the list that is being sent is written; `null` if there is none. */
  #listing: Promise<unknown> | null = null;
  /** Reports that a configuration is ready, and waits for commit or cancel. */
  #confirm: (() => Promise<void>) | null = null;
  #beat: Disposable | null = null;
  /** Whether servers have changed since the last message about that was begun. */
  #unannounced = false;
  #announcing = false;

  constructor(start: StartMessage, channel: WorkerChannel) {
    const { process, instanceId, overloadSlot } = start;
    this.#places = start;
    this.#reload = start.reload;
    this.#channel = channel;
    this.#parent = Deno.ppid;
    this.ledger = new PermitLedger(this.#memoryOf(start.ledgers), process);
    this.#chunks = new MetricChunks(this.#memoryOf(start.metrics), process);
    this.instanceId = instanceId;
    this.servers = new SharedServers(this.#memoryOf(start.servers), process);
    this.servers.onChange = () => void this.#announce();
    this.overload = this.servers.cells(overloadSlot);
  }

  get reload(): number {
    return this.#reload;
  }

  /** Announces changes of servers to the supervisor, one message at a time. */
  async #announce(): Promise<void> {
    this.#unannounced = true;
    if (this.#announcing) return;
    this.#announcing = true;
    while (this.#unannounced) {
      this.#unannounced = false;
      await this.#channel.sendAndWait({ kind: "changed" });
    }
    this.#announcing = false;
  }

  table(): ArrayBuffer | null {
    const { table } = this.#places;
    if (table === null) return null;
    const { id } = table;
    const known = this.#tables.find((each) => each.id === id);
    if (known !== undefined) return known.memory;
    const memory = this.#memoryOf(table);
    this.#tables.push({ id, memory, claims: 0 });
    return memory;
  }

  #memoryOf({ owner, descriptor, byteLength }: InheritedMemory): ArrayBuffer {
    return this.#inherits && owner === this.#parent
      ? inheritSharedMemory(descriptor, byteLength)
      : openSharedMemory(owner, descriptor, byteLength);
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

  /** Sends one list at a time, because it is long with many servers and routes. */
  #listSeries(registry: MetricRegistry): void {
    this.#seriesChanged = false;
    this.#listing = this.#channel.sendAndWait({ kind: "series", series: listSeries(registry) })
      .then(() => this.#listing = null);
  }

  /** Uses the slots of another configuration from now on. */
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

  /** Counts up a number in shared memory again and again, to show that this process is alive. */
  beat(clock: Clock, proxy: CountedProxy): void {
    this.count(proxy);
    if (this.#seriesChanged && this.#listing === null) this.#listSeries(this.#shared!);
    this.#beat = clock.setTimer(() => this.beat(clock, proxy), BEAT_MS);
  }

  /** Shows now what the next heartbeat would. */
  count({ running, drainingConfigurations }: CountedProxy): void {
    this.servers.beat(running, drainingConfigurations);
  }

  [Symbol.dispose](): void {
    this.#beat?.[Symbol.dispose]();
  }
}
