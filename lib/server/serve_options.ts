/** What a proxy needs in addition to its configuration. */

import type { ModuleTexts } from "../config/module_graph.ts";
import type { ResolvedConfig } from "../config/proxy_config.ts";
import { checkOptions, choose, FUNCTION, isRecord, must, object } from "../core/options.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { systemRandom } from "../core/random.ts";
import type { AccessLog } from "../observe/access_log.ts";
import { createLog, type LogControl } from "../observe/create_log.ts";
import type { ByteSink } from "../observe/line_writer.ts";
import type { PermitLedger } from "../limiter/permits.ts";
import type { ServerInit } from "../upstream/peer.ts";
import type { SharedCells, SharedServers } from "../upstream/shared_servers.ts";
import type { MetricRegistry } from "../observe/metrics/registry.ts";
import { GuardedObserver, type Observer, silentObserver } from "../observe/observer.ts";

/** Options of {@linkcode serve} and {@linkcode createHandler}, in addition to the configuration. */
export interface ServeOptions {
  /**
   * The log: as `"text"` or `"json"`, with one line per request on `stdout` and everything else on `stderr`; or an observer
   * that receives events and access-log entries.
   *
   * @default {nowhere}
   */
  log?: "text" | "json" | Observer;
  /** Receives events and access-log entries, in addition to the log. @default {none} */
  observer?: Observer;
  /** Source of time. @default {the system clock} */
  clock?: Clock;
  /** Source of random numbers. @default {Math.random} */
  random?: () => number;
}

const OBSERVER = must(
  (value) => isRecord(value) && typeof value.event === "function",
  "an observer with a function event",
);

const SERVE_OPTIONS = object<ServeOptions>({
  log: choose((value) =>
    isRecord(value)
      ? OBSERVER
      : must((text) => text === "text" || text === "json", '"text", "json" or an observer')
  ),
  observer: OBSERVER,
  clock: must(isRecord, "a clock"),
  random: FUNCTION,
}, "an object with log and observer");

/** The file from which a configuration is read again. */
export interface ConfigSource {
  /** Its path or URL. */
  readonly name: string;
  /** SHA-256 of the configuration that was read first. */
  readonly hash: string;
  /** The texts of its modules. */
  readonly texts: ModuleTexts;
  /**
   * Reads the configuration again.
   *
   * @throws {ConfigError} when it cannot be used
   */
  load(): Promise<{
    config: ResolvedConfig;
    hash: string;
    texts: ModuleTexts;
    notReloaded: readonly string[];
  }>;
}

/** The options with all defaults: below this folder, time and randomness are arguments. */
export interface ProxyParts extends Required<Omit<ServeOptions, "log">> {
  /** The source of the configuration; `null` if a program has passed it. @default {null} */
  readonly source?: ConfigSource | null;
  /** The access log for a configuration without `accessLog`. @default {null} */
  readonly accessLog?: AccessLog | null;
  /** Where an access log `to: "stdout"` is written. @default {Deno.stdout} */
  readonly stdout?: ByteSink;
  /** Sets the log level; `null` if the program has its own observer. @default {null} */
  readonly logControl?: LogControl | null;
  /** Called after the last log line. */
  readonly closeLog?: () => Promise<void>;
  /** What several processes share; `null` if there is only one process. @default {null} */
  readonly shared?: SharedParts | null;
  /** How to start workers; `null` if this process serves alone, or is a worker. @default {null} */
  readonly workers?: WorkersSetup | null;
}

/** How the program starts its workers. */
export interface WorkersSetup {
  /** Starts a process of the program that becomes a worker. */
  readonly command: () => { spawn(): WorkerChild };
  /** The options of the program: workers load the same configuration. */
  readonly options: unknown;
  /** Receives lines of the access log if the configuration has no `accessLog`. */
  readonly accessLines?: ((text: string) => void) | undefined;
  /** Receives lines that the runtime of a worker writes. */
  readonly strayLine: (line: string) => void;
}

/** A worker as its supervisor sees it; a `Deno.ChildProcess` is one. */
export interface WorkerChild extends Pick<Deno.ChildProcess, "pid" | "stdin" | "status" | "kill"> {
  readonly stdout: ReadableStream<Uint8Array>;
  readonly stderr: ReadableStream<Uint8Array>;
}

/** What the processes of one proxy share. */
export type SharedParts = SupervisorParts | WorkerParts;

/** The shared parts of the supervisor, which accepts no requests. */
export interface SupervisorParts {
  readonly role: "supervisor";
  readonly servers: SharedServers;
  /** Identifies the proxy in `CDN-Loop`; see {@linkcode WorkerParts.instanceId}. */
  readonly instanceId: string;
  /** Counts the requests of all workers. */
  readonly overload: SharedCells;
  /** How often workers were requested to load another configuration. */
  reloads: number;
  /** Allocates memory for the counts of a limiter. */
  createTable(byteLength: number): ArrayBuffer;
  /** Keeps this memory until the result is disposed. */
  keepTable(memory: ArrayBufferLike): Disposable;
}

/** The shared parts of a worker. */
export interface WorkerParts {
  readonly role: "worker";
  readonly servers: SharedServers;
  /** Identifies the proxy in `CDN-Loop`; the same for all workers, as a forwarded request may return to any. */
  readonly instanceId: string;
  /** Counts the requests of all workers. */
  readonly overload: SharedCells;
  /** The counts of the limiter; `null` if nothing is limited. */
  table(): ArrayBuffer | null;
  /** Keeps this memory until the result is disposed. */
  keepTable(memory: ArrayBufferLike): Disposable;
  /** Number of the configuration that it serves or is loading; 0 is the first. */
  readonly reload: number;
  /** Records the permits that its requests hold, so that the supervisor can release them. */
  readonly ledger: PermitLedger;
  /** Slot and servers of a pool. */
  pool(name: string): PlacedPool;
  /** Slot of the retry budget of a route. */
  budget(route: number): number;
  /** Allocates memory for metrics, which the supervisor reads. */
  allocateMetrics(): Float64Array;
  /** Sends the list of series in that memory to the supervisor, now and after each change. */
  shareMetrics(registry: MetricRegistry): void;
  /** Waits for the supervisor to commit a configuration; rejects if it is cancelled. */
  confirm(): Promise<void>;
}

/** Slot and servers of a pool, as the supervisor sends them to workers. */
export interface PlacedPool {
  readonly slot: number;
  readonly servers: readonly PlacedServer[];
  /** Secret of its sticky sessions, which the supervisor may have generated; `null` without sticky sessions. */
  readonly secret: string | null;
}

/** A server, and the slot of its state in shared memory. */
export interface PlacedServer extends ServerInit {
  readonly slot: number;
}

/** How long writing the last log lines may take, in milliseconds. */
const FLUSH_MS = 1000;

/**
 * Adds the defaults to the options of a program. Its observers are guarded: an error that they throw ends no request.
 *
 * @throws {TypeError} when options are invalid, listing all problems
 */
export function completeOptions(options: ServeOptions): ProxyParts {
  checkOptions("serve", SERVE_OPTIONS, options);
  const { log, observer, clock = systemClock, random = systemRandom } = options;
  const observers = [log, observer].filter((each) => typeof each === "object")
    .map((each) => new GuardedObserver(each));
  if (typeof log !== "string") return { observer: combineObservers(observers), clock, random };
  const opened = createLog({ format: log, access: false, clock });
  return {
    observer: combineObservers([opened.observer, ...observers]),
    accessLog: opened.accessLog,
    logControl: opened,
    clock,
    random,
    async closeLog(): Promise<void> {
      const { promise, resolve } = Promise.withResolvers<void>();
      using _timer = clock.setTimer(resolve, FLUSH_MS);
      await Promise.race([opened.flush(), promise]);
      opened[Symbol.dispose]();
    },
  };
}

/** Combines several observers into one. */
function combineObservers(observers: readonly Observer[]): Observer {
  if (observers.length < 2) return observers[0] ?? silentObserver;
  return {
    get wantsAccess() {
      return observers.some(({ wantsAccess }) => wantsAccess);
    },
    event(event) {
      for (const each of observers) each.event(event);
    },
    access(entry) {
      for (const each of observers) if (each.wantsAccess) each.access(entry);
    },
  };
}
