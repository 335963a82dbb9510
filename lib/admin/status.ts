/** What the admin listener says of a running proxy. */

import type { AlgorithmName } from "../limiter/policy.ts";
import type { LogLevel } from "../observe/events.ts";

/** The whole state of a proxy at one moment. Times are RFC 3339, rates are of the last second. */
export interface Status {
  /** When it was written. */
  readonly time: string;
  readonly version: string;
  /** `"starting"` until it listens, `"stopping"` once it finishes what runs and takes nothing new. */
  readonly state: "starting" | "serving" | "stopping";
  readonly ready: boolean;
  readonly startedAt: string;
  readonly uptimeMs: number;
  readonly addresses: readonly string[];
  readonly configuration: ConfigurationStatus;
  readonly logLevel: LogLevel | null;
  readonly requests: RequestStatus;
  readonly pools: readonly PoolStatus[];
  readonly limits: readonly LimitStatus[];
  /** `null` without limits. */
  readonly table: TableStatus | null;
  readonly workers: readonly WorkerStatus[];
}

/** Which configuration is at work. */
export interface ConfigurationStatus {
  readonly source: string | null;
  readonly hash: string;
  readonly generation: number;
  readonly loadedAt: string;
  /** The last try to load another one; `null` when there was none. */
  readonly lastReload: { readonly at: string; readonly applied: boolean; readonly message: string } | null;
}

/** The requests of all clients. */
export interface RequestStatus {
  readonly arrived: number;
  readonly inFlight: number;
  readonly perSecond: number;
  /** Responses by the class of their status, such as `"2xx"`, of the last second. */
  readonly codes: Readonly<Record<string, number>>;
  /** Requests that the limits have refused in the last second. */
  readonly refused: number;
  /** Of the last second; `null` where nothing is counted. */
  readonly latency: LatencyStatus | null;
  /** Responses by their status since the start. */
  readonly total: Readonly<Record<string, number>>;
}

/** Quantiles in milliseconds; `null` where there was no request. */
interface LatencyStatus {
  readonly p50Ms: number | null;
  readonly p95Ms: number | null;
  readonly p99Ms: number | null;
}

/** One pool. */
export interface PoolStatus {
  readonly name: string;
  /** Whether so few servers are up that all are used. */
  readonly panic: boolean;
  /** Servers that may be sent requests if they are not full. */
  readonly available: number;
  readonly waiting: number;
  readonly inFlight: number;
  readonly perSecond: number;
  readonly servers: readonly ServerStatus[];
}

/** One server. */
export interface ServerStatus {
  readonly address: string;
  /** What it is: `"recovering"` after an ejection, `"checking"` before the first check, `"leaving"` when it was removed. */
  readonly state: ServerStateName;
  /** Since when. */
  readonly since: string;
  /** Why; `null` when there is nothing to say. */
  readonly reason: string | null;
  readonly weight: number;
  /** Smaller during a slow start. */
  readonly effectiveWeight: number;
  readonly backup: boolean;
  readonly tags: readonly string[];
  readonly inFlight: number;
  /** `null` for no bound. */
  readonly maxInFlight: number | null;
  readonly requests: number;
  readonly failures: number;
  readonly consecutiveFailures: number;
  readonly perSecond: number;
  readonly failuresPerSecond: number;
  /** Until the head of a response, in the last second; `null` where nothing is counted. */
  readonly latency: LatencyStatus | null;
  /** Responses by the class of their status since the start. */
  readonly codes: Readonly<Record<string, number>>;
  /** Requests without a response by reason since the start. */
  readonly errors: Readonly<Record<string, number>>;
  readonly lastCheck: CheckStatus | null;
}

/** What a server can be. */
export const SERVER_STATE_NAMES = [
  "up",
  "full",
  "recovering",
  "checking",
  "unhealthy",
  "ejected",
  "draining",
  "disabled",
  "leaving",
] as const;

/** What a server is. */
export type ServerStateName = typeof SERVER_STATE_NAMES[number];

/** The last active check of a server. */
export interface CheckStatus {
  readonly at: string;
  readonly passed: boolean;
  readonly durationMs: number;
  /** Why it failed; `""` when it passed. */
  readonly text: string;
}

/** One policy. */
export interface LimitStatus {
  readonly name: string;
  /** The route that it is for; `""` for the whole proxy. */
  readonly scope: string;
  readonly algorithm: AlgorithmName;
  /** What is counted separately, in words. */
  readonly key: string;
  /** The limit; `null` where a function gives it. */
  readonly limit: number | null;
  readonly windowMs: number;
  readonly dryRun: boolean;
  /** Decisions since the start, by what they were: `allowed`, `refused`, `would_refuse`, `banned`, ... */
  readonly decisions: Readonly<Record<string, number>>;
  /** The same of the last second. */
  readonly perSecond: Readonly<Record<string, number>>;
  /** Windows in which keys did not fit the table. */
  readonly overflows: number;
  /** Those that have used most of their limits, at most 10. */
  readonly hottest: readonly KeyStatus[];
}

/** One key of a policy. */
export interface KeyStatus {
  readonly key: string;
  readonly used: number;
  readonly limit: number;
  /** `used / limit`. */
  readonly share: number;
  /** When it has its whole limit again, in milliseconds from now; `null` when that is not known. */
  readonly resetMs: number | null;
  /** For how long it is banned; 0 when it is not. */
  readonly bannedMs: number;
}

/** The table of counts. */
export interface TableStatus {
  readonly keys: number;
  readonly capacity: number;
}

/** One process. */
export interface WorkerStatus {
  /** 0 for the process that was started, which looks after the others where there are others. */
  readonly id: number;
  readonly role: "proxy" | "supervisor" | "worker";
  readonly pid: number;
  readonly state: "starting" | "serving" | "stopping";
  /** Which configuration it serves. */
  readonly generation: number;
  readonly uptimeMs: number;
  /** How often another process has ended in its place. */
  readonly restarts: number;
  /** Requests that were served; `null` where nothing is counted. */
  readonly requests: number | null;
  readonly inFlight: number;
  /** Memory of the process; `null` where nothing is counted. */
  readonly rssBytes: number | null;
  /** `null` for a process other than the first. */
  readonly heapBytes: number | null;
  /** Share of one processor in the last second. */
  readonly cpu: number;
  /** How late its timers were in the last second. */
  readonly loopDelayMs: number;
}
