/** One worker process, for the supervisor. */

import { ConfigError } from "../../config/config_error.ts";
import { ListenError } from "../../engine/engine.ts";
import type { NamedKey } from "../../limiter/busy_keys.ts";
import type { AccessEntry } from "../../observe/observer.ts";
import type { ProxyEvent } from "../../observe/events.ts";
import type { WorkerChild } from "../serve_options.ts";
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

/** Receives the messages of a worker. */
interface WorkerReports {
  /** The list of its series in shared memory. */
  series(series: readonly ListedSeries[]): void;
  event(event: ProxyEvent): void;
  /** It has changed the state of servers. */
  changed(): void;
  access(entry: AccessEntry): void;
  /** Names of the keys that have used most of their limits. */
  keys(keys: readonly NamedKey[]): void;
  /** Whole lines of its access log, without the last line end. */
  accessLines(text: string): void;
  /** A line that its runtime has written to `stderr`. */
  stray(line: string): void;
}

/** How long the main thread of a process has run, and waited for a processor, in milliseconds. */
export interface ProcessorTime {
  readonly ranMs: number;
  readonly waitedMs: number;
}

/** A process that serves requests. */
export class WorkerProcess {
  /** Number of the process in shared memory. */
  readonly process: number;
  readonly pid: number;
  /** Resolves with the ports that it listens at; rejects when it cannot listen. */
  readonly listening: Promise<readonly number[]>;
  /** Resolves with the reason when the process has ended. */
  readonly ended: Promise<string>;
  readonly #child: WorkerChild;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #listening = Promise.withResolvers<readonly number[]>();
  readonly #reports: WorkerReports;
  #failure: Error | null = null;
  /** Settles when the worker has loaded, or rejected, the configuration that it was requested to load. */
  #preparing: PromiseWithResolvers<boolean> & { readonly id: number } | null = null;
  #loads = false;
  /** Resolves when the worker uses that configuration. */
  #committing: PromiseWithResolvers<void> | null = null;
  /** Resolves when the requested key names have arrived. */
  #keysRequested: PromiseWithResolvers<void> | null = null;
  readonly #token: string;
  #killed: string | null = null;
  /** Whether the worker has reported that it listens. */
  #listens = false;
  /** Whether it is stopping. */
  #stopping = false;
  #hasEnded = false;
  /** Number of requests that were cut off when it stopped; `null` if it did not report that. */
  abandonedRequests: number | null = null;

  constructor(child: WorkerChild, start: StartMessage, reports: WorkerReports) {
    this.process = start.process;
    this.#token = start.token;
    this.#reports = reports;
    this.#child = child;
    this.pid = child.pid;
    this.#stdin = child.stdin.getWriter();
    this.listening = this.#listening.promise;
    // Callers that do not await `listening` use `ended`; without this, the rejection would be unhandled.
    this.listening.catch(() => {});
    this.ended = this.#watch();
    this.send(start);
  }

  get listens(): boolean {
    return this.#listens && !this.#hasEnded;
  }

  /** Whether it listens, or did until it ended. */
  get hasListened(): boolean {
    return this.#listens;
  }

  /** Whether the supervisor has killed it. */
  get killed(): boolean {
    return this.#killed !== null;
  }

  /** Whether the worker is loading a configuration. */
  get loads(): boolean {
    return this.#loads;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  get stopping(): boolean {
    return this.#stopping;
  }

  /** Its processor time; `null` if the system does not provide it, or a permission is missing. */
  processorTime(): ProcessorTime | null {
    try {
      const [ran, waited] = Deno.readTextFileSync(`/proc/${this.pid}/schedstat`).split(" ").map(Number);
      return { ranMs: ran! / 1e6, waitedMs: waited! / 1e6 };
    } catch {
      return null;
    }
  }

  /** Sends a message; does nothing if the process has ended. */
  send(message: ToWorker): void {
    this.#stdin.write(writeMessage(message)).catch(() => {});
  }

  /**
   * Requests the worker to load the configuration again; it uses it after {@linkcode commit}.
   *
   * @returns `true` when it is loaded; `false` if the process has ended, in which case it will be replaced
   * @throws the reason why it cannot load it
   */
  prepare(message: PrepareMessage): Promise<boolean> {
    const preparing = { id: message.id, ...Promise.withResolvers<boolean>() };
    this.#preparing = preparing;
    this.send(message);
    this.ended.then(() => preparing.resolve(false));
    return preparing.promise;
  }

  /** Requests the worker to use the loaded configuration; resolves when it does, or has ended. */
  commit(): Promise<void> {
    const committing = this.#committing = Promise.withResolvers<void>();
    this.send({ kind: "commit" });
    this.ended.then(() => committing.resolve());
    return committing.promise;
  }

  /** Requests the worker to discard that configuration. */
  cancel(reason: string): void {
    this.#loads = false;
    this.#preparing = null;
    this.send({ kind: "cancel", reason });
  }

  /** Requests key names from the worker. While a request is open, no second one is sent. */
  askKeys(most: number): Promise<void> {
    if (this.#keysRequested === null) {
      this.#keysRequested = Promise.withResolvers();
      this.send({ kind: "keys", most });
    }
    return this.#keysRequested.promise;
  }

  /** Requests the worker to finish its requests and exit. */
  stop(reason: string): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.send({ kind: "stop", reason });
  }

  /** Kills the process. */
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
    this.#hasEnded = true;
    this.#stdin.close().catch(() => {});
    const reason = this.#killed ??
      (status.signal === null ? `it ended with code ${status.code}` : `it was ended by ${status.signal}`);
    this.#listening.reject(this.#failure ?? new Error(`A worker could not start: ${reason}`));
    return reason;
  }

  async #readMessages(): Promise<void> {
    for await (const line of readLines(this.#child.stderr)) {
      try {
        const { text, message } = readMessage<FromWorker>(line, this.#token);
        if (text !== "" || message === null) this.#reports.stray(text);
        if (message !== null) this.#handleMessage(message);
      } catch {
        // A line that is no whole message, or that cannot be written, must not end the supervision of the worker.
      }
    }
  }

  #handleMessage(message: FromWorker): void {
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
        return this.#preparing.reject(
          new ConfigError(
            "configuration",
            message.problems.map((problem) => ({ path: "", message: problem })),
          ),
        );
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
        this.#keysRequested?.resolve();
        this.#keysRequested = null;
        return;
      case "changed":
        return this.#reports.changed();
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
      if (end > 0) this.#reports.accessLines(decoder.decode(concatenate(rest, bytes.subarray(0, end - 1))));
      rest = end > 0 ? bytes.slice(end) : concatenate(rest, bytes);
    }
  }
}

const LINE_END = 0x0a;

function concatenate(one: Uint8Array, other: Uint8Array): Uint8Array {
  if (one.length === 0) return other;
  const all = new Uint8Array(one.length + other.length);
  all.set(one);
  all.set(other, one.length);
  return all;
}

/** Restores the error of the worker, so that the program exits with the same message and code. */
function failureOf({ name, message }: Extract<FromWorker, { kind: "failed" }>): Error {
  if (name === "ListenError") return new ListenError(message);
  if (name === "ConfigError") {
    const error = new ConfigError("configuration", []);
    // The message of the worker already lists the problems.
    error.message = message;
    return error;
  }
  return new Error(message);
}
