/** One worker, as the supervisor sees it. */

import { ConfigError } from "../../config/config_error.ts";
import { ListenError } from "../../engine/engine.ts";
import type { NamedKey } from "../../limiter/busy_keys.ts";
import type { AccessEntry } from "../../observe/observer.ts";
import type { ProxyEvent } from "../../observe/events.ts";
import {
  type FromWorker,
  type ListedSeries,
  type PrepareMessage,
  readLines,
  readMessage,
  type StartMessage,
  type ToWorker,
  writeMessage,
} from "./channel.ts";

/** What a worker reports. */
interface WorkerReports {
  /** Says where it counts what. */
  series(series: readonly ListedSeries[]): void;
  event(event: ProxyEvent): void;
  access(entry: AccessEntry): void;
  /** Names of keys that have used much of their limits there. */
  keys(keys: readonly NamedKey[]): void;
  /** Whole lines of its access log, without the last line end. */
  accessLines(text: string): void;
  /** A line that its runtime has written. */
  stray(line: string): void;
}

/** How long the main thread of a process has run, and waited to run because others did. */
export interface ProcessorTime {
  readonly ranMs: number;
  readonly waitedMs: number;
}

/** A process that serves requests. */
export class WorkerProcess {
  /** Number of the process in shared memory. */
  readonly process: number;
  readonly pid: number;
  /** The ports that it listens at; rejects when it cannot. */
  readonly listening: Promise<readonly number[]>;
  /** Why it has ended, once it has. */
  readonly ended: Promise<string>;
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #listening = Promise.withResolvers<readonly number[]>();
  readonly #reports: WorkerReports;
  #failure: Error | null = null;
  /** Waits for what becomes of the configuration that it was told to load. */
  #preparing: PromiseWithResolvers<boolean> & { readonly id: number } | null = null;
  #loads = false;
  /** Waits until it uses that. */
  #committing: PromiseWithResolvers<void> | null = null;
  /** Waits for names of keys that it was asked for. */
  #asked: PromiseWithResolvers<void> | null = null;
  #killed: string | null = null;
  /** Whether it has said that it listens. */
  #listens = false;
  /** Whether it is stopping. */
  #stopping = false;
  /** Requests that were cut when it stopped. */
  abandonedRequests = 0;

  constructor(command: Deno.Command, start: StartMessage, reports: WorkerReports) {
    this.process = start.process;
    this.#reports = reports;
    const child = this.#child = command.spawn();
    this.pid = child.pid;
    this.#stdin = child.stdin.getWriter();
    this.listening = this.#listening.promise;
    // Whoever replaces a worker looks at `ended`.
    this.listening.catch(() => {});
    this.ended = this.#watch();
    this.send(start);
  }

  get listens(): boolean {
    return this.#listens;
  }

  /** Whether it loads a configuration. */
  get loads(): boolean {
    return this.#loads;
  }

  get stopping(): boolean {
    return this.#stopping;
  }

  /** What it has had of the processor; `null` where the system does not say, or may not be asked. */
  processorTime(): ProcessorTime | null {
    try {
      const [ran, waited] = Deno.readTextFileSync(`/proc/${this.pid}/schedstat`).split(" ").map(Number);
      return { ranMs: ran! / 1e6, waitedMs: waited! / 1e6 };
    } catch {
      return null;
    }
  }

  /** Says something; one that has ended hears nothing. */
  send(message: ToWorker): void {
    this.#stdin.write(writeMessage(message)).catch(() => {});
  }

  /**
   * Has it load the configuration again, which it uses when it is told to commit.
   *
   * @returns whether it has; one that has ended meanwhile is started anew
   * @throws why it cannot
   */
  prepare(message: PrepareMessage): Promise<boolean> {
    const preparing = { id: message.id, ...Promise.withResolvers<boolean>() };
    this.#preparing = preparing;
    this.send(message);
    this.ended.then(() => preparing.resolve(false));
    return preparing.promise;
  }

  /** Has it use what it has loaded; resolves when it does, or has ended. */
  commit(): Promise<void> {
    const committing = this.#committing = Promise.withResolvers<void>();
    this.send({ kind: "commit" });
    this.ended.then(() => committing.resolve());
    return committing.promise;
  }

  /** Has it give that up. */
  cancel(reason: string): void {
    this.#loads = false;
    this.#preparing = null;
    this.send({ kind: "cancel", reason });
  }

  /** Has it report names of keys; one that does not respond is not asked again. */
  askKeys(most: number): Promise<void> {
    if (this.#asked === null) {
      this.#asked = Promise.withResolvers();
      this.send({ kind: "keys", most });
    }
    return this.#asked.promise;
  }

  /** Has it finish its requests and end. */
  stop(reason: string): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.send({ kind: "stop", reason });
  }

  /** Ends it at once. */
  kill(reason: string): void {
    this.#killed ??= reason;
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended already.
    }
  }

  async #watch(): Promise<string> {
    const [status] = await Promise.all([this.#child.status, this.#readMessages(), this.#readAccessLines()]);
    this.#stdin.close().catch(() => {});
    const reason = this.#killed ??
      (status.signal === null ? `it ended with code ${status.code}` : `it was ended by ${status.signal}`);
    this.#listening.reject(this.#failure ?? new Error(`A worker could not start: ${reason}`));
    return reason;
  }

  async #readMessages(): Promise<void> {
    for await (const line of readLines(this.#child.stderr)) {
      const message = readMessage<FromWorker>(line);
      if (message === null) this.#reports.stray(line);
      else this.#takeIn(message);
    }
  }

  #takeIn(message: FromWorker): void {
    switch (message.kind) {
      case "listening":
        this.#listens = true;
        return this.#listening.resolve(message.ports);
      case "prepared":
        if (this.#preparing?.id === message.id) this.#preparing.resolve(true);
        return;
      case "rejected":
        if (this.#preparing?.id !== message.id) return;
        this.#loads = false;
        return this.#preparing.reject(new Error(`a worker: ${message.problems.join("; ")}`));
      case "loading":
        this.#loads = this.#preparing?.id === message.id;
        return;
      case "committed":
        this.#loads = false;
        return this.#committing?.resolve();
      case "failed":
        this.#failure = failureOf(message);
        return;
      case "stopped":
        this.abandonedRequests = message.abandonedRequests;
        return;
      case "series":
        return this.#reports.series(message.series);
      case "keys":
        this.#reports.keys(message.keys);
        this.#asked?.resolve();
        this.#asked = null;
        return;
      case "event":
        return this.#reports.event(message.event);
      case "access":
        return this.#reports.access(message.entry);
    }
  }

  async #readAccessLines(): Promise<void> {
    const decoder = new TextDecoder();
    let rest: Uint8Array = new Uint8Array(0);
    for await (const bytes of this.#child.stdout) {
      const end = bytes.lastIndexOf(LINE_END) + 1;
      if (end > 0) this.#reports.accessLines(decoder.decode(joined(rest, bytes.subarray(0, end - 1))));
      rest = end > 0 ? bytes.slice(end) : joined(rest, bytes);
    }
  }
}

const LINE_END = 0x0a;

function joined(one: Uint8Array, other: Uint8Array): Uint8Array {
  if (one.length === 0) return other;
  const all = new Uint8Array(one.length + other.length);
  all.set(one);
  all.set(other, one.length);
  return all;
}

/** The error as the worker had it, so that the program ends with the same words and code. */
function failureOf({ name, message }: Extract<FromWorker, { kind: "failed" }>): Error {
  if (name === "ListenError") return new ListenError(message);
  if (name === "ConfigError") {
    const error = new ConfigError("configuration", []);
    // It has been put together already.
    error.message = message;
    return error;
  }
  return new Error(message);
}
