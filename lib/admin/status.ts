/** The status of a running proxy, as the admin listener sends it. */

import type { AlgorithmName } from "../limiter/policy.ts";
import type { LogLevel } from "../observe/events.ts";

/** The whole state of a proxy at one moment. Times are RFC 3339, rates are of the last second. */
export interface Status {
  /** Time of the status. */
  readonly time: string;
  readonly version: string;
  /** `"starting"` until it listens; `"stopping"` when it finishes running requests and accepts no new ones. */
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

/** The running configuration. */
export interface ConfigurationStatus {
  readonly source: string | null;
  readonly hash: string;
  readonly generation: number;
  readonly loadedAt: string;
  /** The last reload; `null` if there was none. */
  readonly lastReload: { readonly at: string; readonly applied: boolean; readonly message: string } | null;
}

/** The requests of all clients. */
export interface RequestStatus {
  readonly arrived: number;
  readonly inFlight: number;
  readonly perSecond: number;
  /** Responses per second by class of status, such as `"2xx"`, in the last second. */
  readonly codes: Readonly<Record<string, number>>;
  /** Requests per second that the limits refused, in the last second. */
  readonly refused: number;
  /** Latency of the last second; `null` if metrics are off. */
  readonly latency: LatencyStatus | null;
  /** Responses by status since the start. */
  readonly total: Readonly<Record<string, number>>;
}

/** Quantiles in milliseconds; `null` without requests. */
interface LatencyStatus {
  readonly p50Ms: number | null;
  readonly p95Ms: number | null;
  readonly p99Ms: number | null;
}

/** One pool. */
export interface PoolStatus {
  readonly name: string;
  /** Whether so few servers are up that all are used (panic). */
  readonly panic: boolean;
  /** Number of servers that are eligible if they are not full. */
  readonly available: number;
  readonly waiting: number;
  readonly inFlight: number;
  readonly perSecond: number;
  readonly servers: readonly ServerStatus[];
}

/** One server. */
export interface ServerStatus {
  readonly address: string;
  /** State of the server: `"recovering"` after an ejection, `"checking"` before the first check, `"leaving"` after removal. */
  readonly state: ServerStateName;
  /** When the state began. */
  readonly since: string;
  /** The reason of the state; `null` if there is none. */
  readonly reason: string | null;
  readonly weight: number;
  /** Weight now: smaller during slow start. */
  readonly effectiveWeight: number;
  readonly backup: boolean;
  readonly tags: readonly string[];
  readonly inFlight: number;
  /** `null` without a limit. */
  readonly maxInFlight: number | null;
  readonly requests: number;
  readonly failures: number;
  readonly consecutiveFailures: number;
  readonly perSecond: number;
  readonly failuresPerSecond: number;
  /** Time until the head of a response, in the last second; `null` if metrics are off. */
  readonly latency: LatencyStatus | null;
  /** Responses by class of status since the start. */
  readonly codes: Readonly<Record<string, number>>;
  /** Requests without a response by reason since the start. */
  readonly errors: Readonly<Record<string, number>>;
  readonly lastCheck: CheckStatus | null;
}

/** Names of the states of a server. */
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

/** The state of a server. */
export type ServerStateName = typeof SERVER_STATE_NAMES[number];

/** The last active check of a server. */
export interface CheckStatus {
  readonly at: string;
  readonly passed: boolean;
  readonly durationMs: number;
  /** Why the check failed; `""` if it passed. */
  readonly text: string;
}

/** One policy. */
export interface LimitStatus {
  readonly name: string;
  /** The route of the policy; `""` for the whole proxy. */
  readonly scope: string;
  readonly algorithm: AlgorithmName;
  /** Description of the key. */
  readonly key: string;
  /** The limit; `null` if a function returns it. */
  readonly limit: number | null;
  readonly windowMs: number;
  readonly dryRun: boolean;
  /** Decisions since the start, by kind: `allowed`, `refused`, `would_refuse`, `banned`, ... */
  readonly decisions: Readonly<Record<string, number>>;
  /** Decisions per second by kind, in the last second. */
  readonly perSecond: Readonly<Record<string, number>>;
  /** Number of windows in which keys did not fit the table. */
  readonly overflows: number;
  /** The keys that have used most of their limits, at most 10. */
  readonly hottest: readonly KeyStatus[];
}

/** One key of a policy. */
export interface KeyStatus {
  readonly key: string;
  readonly used: number;
  readonly limit: number;
  /** `used / limit`. */
  readonly share: number;
  /** Milliseconds until the key has its whole limit again; `null` if unknown. */
  readonly resetMs: number | null;
  /** Milliseconds until the ban ends; 0 without a ban. */
  readonly bannedMs: number;
}

/** The table of counts. */
export interface TableStatus {
  readonly keys: number;
  readonly capacity: number;
}

/** One process. */
export interface WorkerStatus {
  /** 0 for the first process, which is the supervisor if there are workers. */
  readonly id: number;
  readonly role: "proxy" | "supervisor" | "worker";
  readonly pid: number;
  readonly state: "starting" | "serving" | "stopping";
  /** Number of the configuration that it serves. */
  readonly generation: number;
  readonly uptimeMs: number;
  /** How often the worker was replaced. */
  readonly restarts: number;
  /** Number of requests that were served; `null` if metrics are off. */
  readonly requests: number | null;
  readonly inFlight: number;
  /** Memory of the process; `null` if metrics are off. */
  readonly rssBytes: number | null;
  /** `null` for workers. */
  readonly heapBytes: number | null;
  /** Share of one processor in the last second. */
  readonly cpu: number;
  /** Largest delay of its timers in the last second. */
  readonly loopDelayMs: number;
}
