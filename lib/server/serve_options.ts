/** What a proxy takes in addition to its configuration. */

import type { ModuleTexts } from "../config/module_graph.ts";
import type { ResolvedConfig } from "../config/proxy_config.ts";
import { checkOptions, choose, FUNCTION, isRecord, must, object } from "../core/options.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { systemRandom } from "../core/random.ts";
import type { AccessLog } from "../observe/access_log.ts";
import { createLog, type LogControl } from "../observe/create_log.ts";
import type { PermitLedger } from "../limiter/permits.ts";
import type { ServerInit } from "../upstream/peer.ts";
import type { SharedCells, SharedServers } from "../upstream/shared_servers.ts";
import type { MetricRegistry } from "../observe/metrics/registry.ts";
import { GuardedObserver, type Observer, silentObserver } from "../observe/observer.ts";

/** What {@linkcode serve} and {@linkcode createHandler} take in addition to the configuration. */
export interface ServeOptions {
  /**
   * Where the proxy logs: a line a request on `stdout`, everything else on `stderr`, as `"text"` or `"json"`; or an observer,
   * which receives events and access-log entries.
   *
   * @default {nowhere}
   */
  log?: "text" | "json" | Observer;
  /** Receives events and access-log entries, in addition to the log. @default {none} */
  observer?: Observer;
  /** Time. @default {the machine's} */
  clock?: Clock;
  /** Randomness. @default {Math.random} */
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

/** Where the configuration of a program is read again. */
export interface ConfigSource {
  /** Its path or URL. */
  readonly name: string;
  /** SHA-256 of what was read first. */
  readonly hash: string;
  /** What its modules were. */
  readonly texts: ModuleTexts;
  /**
   * Reads it again.
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

/** The same, complete: below this folder time and randomness are arguments. */
export interface ProxyParts extends Required<Omit<ServeOptions, "log">> {
  /** `null` where the configuration was given by a program. @default {null} */
  readonly source?: ConfigSource | null;
  /** The log of requests where the configuration says nothing of one. @default {null} */
  readonly accessLog?: AccessLog | null;
  /** How much is logged; `null` where the log is somebody else's. @default {null} */
  readonly logControl?: LogControl | null;
  /** Called when nothing is logged any more. */
  readonly closeLog?: () => Promise<void>;
  /** What several processes have in common; `null` where there is one. @default {null} */
  readonly shared?: SharedParts | null;
  /** How workers are run; `null` where this process serves alone, or is one. @default {null} */
  readonly workers?: WorkersSetup | null;
}

/** How the program has its workers run. */
export interface WorkersSetup {
  /** Starts a process of the program that becomes a worker. */
  readonly command: () => Deno.Command;
  /** What the program was run with: workers load the same configuration. */
  readonly options: unknown;
  /** Takes lines of the access log where the configuration has none of its own. */
  readonly accessLines?: ((text: string) => void) | undefined;
  /** Takes what the runtime of a worker writes. */
  readonly strayLine: (line: string) => void;
}

/** What the processes of one proxy have in common. */
export type SharedParts = SupervisorParts | WorkerParts;

/** What the process has that looks after the workers, and takes no requests. */
export interface SupervisorParts {
  readonly role: "supervisor";
  readonly servers: SharedServers;
  /** By what requests are known that come back. */
  readonly instanceId: string;
  /** Counts the requests of all workers. */
  readonly overload: SharedCells;
  /** How often workers were told to load another configuration. */
  reloads: number;
  /** Makes memory for the counts of a limiter. */
  createTable(byteLength: number): ArrayBuffer;
  /** Keeps it until the result is disposed. */
  keepTable(memory: ArrayBufferLike): Disposable;
}

/** What a process has that takes requests. */
export interface WorkerParts {
  readonly role: "worker";
  readonly servers: SharedServers;
  /** By what requests are known that come back, to whatever worker. */
  readonly instanceId: string;
  /** Counts the requests of all workers. */
  readonly overload: SharedCells;
  /** The counts of the limiter; `null` when nothing is limited. */
  table(): ArrayBuffer | null;
  /** Keeps them until the result is disposed. */
  keepTable(memory: ArrayBufferLike): Disposable;
  /** Which configuration it serves, or is about to: 0 is the first one. */
  readonly reload: number;
  /** Where it is written down what its requests hold. */
  readonly ledger: PermitLedger;
  /** A pool as the supervisor has it. */
  pool(name: string): PlacedPool;
  /** Where a route has the budget for its retries. */
  budget(route: number): number;
  /** Gives memory for metrics, which the supervisor reads. */
  allocateMetrics(): Float64Array;
  /** Tells the supervisor what stands there, now and after each change. */
  shareMetrics(registry: MetricRegistry): void;
  /** Waits until the supervisor says that a configuration is to be used; rejects when it is not. */
  confirm(): Promise<void>;
}

/** A pool as the supervisor has it. */
export interface PlacedPool {
  readonly slot: number;
  readonly servers: readonly PlacedServer[];
  /** Secret of its sticky sessions, which a configuration may make up; `null` without them. */
  readonly secret: string | null;
}

/** A server, and where its state is. */
export interface PlacedServer extends ServerInit {
  readonly slot: number;
}

/** How long the last lines of a log may take when nobody reads them. */
const LAST_LINES_MS = 1000;

/**
 * Completes the options of a program; what its observers throw ends no request.
 *
 * @throws {TypeError} when anything is wrong with them, listing all of it
 */
export function completeOptions(options: ServeOptions): ProxyParts {
  checkOptions("serve", SERVE_OPTIONS, options);
  const { log, observer, clock = systemClock, random = systemRandom } = options;
  const observers = [log, observer].filter((each) => typeof each === "object")
    .map((each) => new GuardedObserver(each));
  if (typeof log !== "string") return { observer: together(observers), clock, random };
  const opened = createLog({ format: log, access: false, clock });
  return {
    observer: together([opened.observer, ...observers]),
    accessLog: opened.accessLog,
    logControl: opened,
    clock,
    random,
    async closeLog(): Promise<void> {
      const { promise, resolve } = Promise.withResolvers<void>();
      using _patience = clock.setTimer(resolve, LAST_LINES_MS);
      await Promise.race([opened.flush(), promise]);
      opened[Symbol.dispose]();
    },
  };
}

/** Several observers as one. */
function together(observers: readonly Observer[]): Observer {
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
