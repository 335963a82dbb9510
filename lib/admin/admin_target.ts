/** What the admin listener watches and steers. */

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

/** A running proxy, as far as it is watched and steered; everything is read when it is needed, since it may change. */
export interface AdminTarget {
  readonly clock: Clock;
  /** Version of the program. */
  readonly version: string;
  /** When it was started, in milliseconds since 1970. */
  readonly startedAt: number;
  readonly events: EventLog;
  /** Where clients reach it. */
  readonly addresses: readonly string[];
  /** Whether it finishes what runs and takes nothing new. */
  readonly stopping: boolean;
  readonly configuration: ConfigurationInfo;
  /** Path or URL of the configuration; `null` when a program gave it. */
  readonly source: string | null;
  readonly config: ResolvedConfig;
  /** What requests run by from now on. */
  readonly runtime: ExchangeRuntime;
  readonly pools: readonly PoolRuntime[];
  readonly limits: LimitSources;
  /** Requests that have arrived. */
  readonly arrived: number;
  /** Requests that are not over. */
  readonly running: number;
  /** What was counted of the traffic; `null` where that is off. */
  readonly traffic: TrafficSource | null;
  /** The processes that serve requests; `null` where this one does. */
  readonly workers: readonly WorkerInfo[] | null;
  /** Has these tell the names of keys that have used much of their limits; takes a quarter of a second at most. */
  askKeys(): Promise<void>;
  /** All metrics as text. */
  metrics(format: MetricsFormat): string;
  /**
   * Loads the configuration anew; `null` where there is no file to load it from.
   *
   * Rejects when the configuration cannot be used; nothing has changed then.
   */
  readonly reload: (() => Promise<void>) | null;
  /** What is logged; `null` where the log is somebody else's. */
  readonly logLevel: LogLevel | null;
  /** Changes what is logged. */
  setLogLevel(level: LogLevel): void;
}

/** A process that serves requests. */
export interface WorkerInfo {
  /** 1 for the first. */
  readonly id: number;
  readonly pid: number;
  readonly state: "starting" | "serving" | "stopping";
  readonly uptimeMs: number;
  /** How often another one has ended in its place. */
  readonly restarts: number;
  /** Requests that are not over. */
  readonly inFlight: number;
  /** `null` where nothing is counted. */
  readonly counted: WorkerCounts | null;
}

/** What a worker has counted since it was started. */
export interface WorkerCounts {
  readonly rssBytes: number;
  readonly cpuSeconds: number;
  /** Requests that are over. */
  readonly requests: number;
  /** By how much its timers were late. */
  readonly loopDelay: Distribution;
}

/** The configuration that runs. */
export interface ConfigurationInfo {
  /** 1 for the one that the proxy was started with; one more with each reload. */
  readonly generation: number;
  /** When it began to take requests, in milliseconds since 1970. */
  readonly loadedAt: number;
  /** SHA-256 of its sources in hexadecimal; of its description where it was not loaded from files. */
  readonly hash: string;
}

/** The traffic of a proxy. */
interface TrafficSource {
  /** Everything since the start. */
  total(): Traffic;
  /** Makes a function that gives what has come since it was called before. */
  reader(): () => Traffic;
}

/** The limits at work. */
interface LimitSources {
  /** The proxy's own limiter first, then those of routes. */
  readonly limiters: readonly RateLimiter[];
  /** How full the table is in which all count; `null` without limits. */
  readonly table: MemoryUse | null;
  /** For each policy, in how many windows keys did not fit the table. */
  readonly overflows: ReadonlyMap<string, number>;
}
