/** The interface of a proxy for the admin listener. */

import type { ResolvedConfig } from "../config/proxy_config.ts";
import type { Clock } from "../core/clock.ts";
import type { RateLimiter } from "../limiter/limiter.ts";
import type { MemoryUse } from "../limiter/shared_table.ts";
import type { LogLevel } from "../observe/events.ts";
import type { Distribution } from "../observe/metrics/series.ts";
import type { MetricsFormat } from "../observe/metrics/registry.ts";
import type { Traffic } from "../observe/metrics/traffic.ts";
import type { EventLog } from "../observe/event_message.ts";
import type { ExchangeRuntime } from "../proxy/exchange.ts";
import type { PoolRuntime } from "../proxy/proxy_runtime.ts";

/** A running proxy, as the admin listener uses it. Members are read at each use, because a reload may change them. */
export interface AdminTarget {
  readonly clock: Clock;
  /** Version of the program. */
  readonly version: string;
  /** When the proxy was started, in milliseconds since 1970. */
  readonly startedAt: number;
  readonly events: EventLog;
  /** Addresses of the listeners for clients. */
  readonly addresses: readonly string[];
  /** Whether the proxy finishes running requests and accepts no new ones. */
  readonly stopping: boolean;
  readonly configuration: ConfigurationInfo;
  /** Path or URL of the configuration; `null` if a program has passed it. */
  readonly source: string | null;
  readonly config: ResolvedConfig;
  /** The runtime of new requests. */
  readonly runtime: ExchangeRuntime;
  readonly pools: readonly PoolRuntime[];
  readonly limits: LimitSources;
  /** Number of requests that have arrived. */
  readonly arrived: number;
  /** Number of running requests. */
  readonly running: number;
  /** Counted traffic; `null` if metrics are off. */
  readonly traffic: TrafficSource | null;
  /** The workers; `null` if this process serves requests itself. */
  readonly workers: readonly WorkerInfo[] | null;
  /** Requests the names of the busiest keys from workers; takes at most a quarter of a second. */
  askKeys(): Promise<void>;
  /** All metrics as text. */
  metrics(format: MetricsFormat): string;
  /**
   * Loads the configuration again; `null` if it is not from a file.
   *
   * Rejects if the configuration cannot be used; nothing is changed then.
   */
  readonly reload: (() => Promise<void>) | null;
  /** The log level; `null` if the program has its own observer. */
  readonly logLevel: LogLevel | null;
  /** Sets the log level. */
  setLogLevel(level: LogLevel): void;
}

/** A worker. */
export interface WorkerInfo {
  /** 1 for the first. */
  readonly id: number;
  readonly pid: number;
  readonly state: "starting" | "serving" | "stopping";
  readonly uptimeMs: number;
  /** How often the worker was replaced. */
  readonly restarts: number;
  /** Number of running requests. */
  readonly inFlight: number;
  /** `null` if metrics are off. */
  readonly counted: WorkerCounts | null;
}

/** The counts of a worker since its start. */
export interface WorkerCounts {
  readonly rssBytes: number;
  readonly cpuSeconds: number;
  /** Number of requests that have ended. */
  readonly requests: number;
  /** Delay of its timers. */
  readonly loopDelay: Distribution;
}

/** The running configuration. */
export interface ConfigurationInfo {
  /** Number of the configuration: 1 for the first, plus 1 with each reload. */
  readonly generation: number;
  /** When it began to serve requests, in milliseconds since 1970. */
  readonly loadedAt: number;
  /** SHA-256 of its sources in hexadecimal; if it is not from files, of its description. */
  readonly hash: string;
}

/** The traffic of a proxy. */
interface TrafficSource {
  /** Traffic since the start. */
  total(): Traffic;
  /** Makes a function that returns the traffic since its previous call. */
  reader(): () => Traffic;
}

/** The limits of the running configuration. */
interface LimitSources {
  /** The proxy's own limiter first, then those of routes. */
  readonly limiters: readonly RateLimiter[];
  /** How full the shared table of counts is; `null` without limits. */
  readonly table: MemoryUse | null;
  /** Per policy, the number of windows in which keys did not fit the table. */
  readonly overflows: ReadonlyMap<string, number>;
}
