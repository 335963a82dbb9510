/** Options of the whole proxy: overload, tracing, rollback, workers. */

import { QUEUE, type QueueOptions, type ResolvedQueue, resolveQueue } from "../balancer/waiting_line.ts";
import {
  DURATION_ABOVE_0,
  must,
  number,
  object,
  orFlag,
  required,
  type Rule,
  SHARE,
  whole,
  wholeOrInfinity,
  word,
} from "../core/options.ts";
import { type Duration, parseDuration } from "../core/units.ts";

/**
 * Limits the concurrent work of the whole proxy, before its memory grows.
 *
 * @example At most 1000 requests at once, 200 more wait for two seconds
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   overload: { maxInFlight: 1000, queue: { size: 200, timeout: "2s" } },
 * });
 * ```
 */
export interface OverloadOptions {
  /** How many requests and WebSockets may run at once. @default {Infinity} */
  maxInFlight?: number;
  /** Queue for further requests. Without it they are refused at once. @default {none} */
  queue?: QueueOptions;
  /**
   * Refuses requests while the timers of the proxy are late by more than this, a sign of overload.
   *
   * @default {none}
   */
  maxLoopDelay?: Duration;
}

/** {@linkcode OverloadOptions} with every default filled in. */
export interface ResolvedOverload {
  readonly maxInFlight: number;
  readonly queue: ResolvedQueue;
  readonly maxLoopDelayMs: number;
}

const NO_QUEUE: ResolvedQueue = Object.freeze({ size: 0, timeoutMs: 0 });

/** Fills in the defaults of validated options; `null` if nothing is limited. */
export function resolveOverload(options: OverloadOptions = {}): ResolvedOverload | null {
  const { maxInFlight = Infinity, queue, maxLoopDelay } = options;
  if (maxInFlight === Infinity && maxLoopDelay === undefined) return null;
  return Object.freeze({
    maxInFlight,
    queue: queue === undefined ? NO_QUEUE : resolveQueue(queue),
    maxLoopDelayMs: maxLoopDelay === undefined ? Infinity : parseDuration(maxLoopDelay)!,
  });
}

/** Values of `continue`. */
const TRACE_TRUST: readonly TraceTrust[] = ["anyone", "trusted", "nobody"];
/** Clients whose traces are continued. */
type TraceTrust = NonNullable<TracingOptions["continue"]>;

/**
 * Which requests are traced.
 *
 * @example A hundredth of the requests begin a trace
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   tracing: { sample: 0.01 },
 * });
 * ```
 */
export interface TracingOptions {
  /** Share of the requests without a trace for which the proxy begins one. @default {0.01} */
  sample?: number;
  /**
   * Clients whose `traceparent` is continued: `"anyone"`, `"trusted"` proxies only, or `"nobody"`. Other `traceparent`
   * and `tracestate` fields are removed. Spans cost time: do not let every client request them.
   *
   * @default {"anyone"}
   */
  continue?: "anyone" | "trusted" | "nobody";
}

/** {@linkcode TracingOptions} with every default filled in. */
export type ResolvedTracing = Readonly<Required<TracingOptions>>;

/** Fills in the defaults of validated options; `null` if nothing is traced. */
export function resolveTracing(options: boolean | TracingOptions = false): ResolvedTracing | null {
  if (options === false) return null;
  const { sample = 0.01, continue: trust = "anyone" } = options === true ? {} : options;
  return Object.freeze({ sample, continue: trust });
}

/**
 * Condition for a new configuration. If it fails, the proxy returns to the previous configuration.
 *
 * @example Back to the configuration before when a tenth of the requests fail
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   rollback: { errorRate: 0.1, within: "1m" },
 * });
 * ```
 */
export interface RollbackOptions {
  /** Largest share of requests that may fail (status 500 or above), 0 to 1. */
  errorRate: number;
  /** Period after the reload in which requests count. */
  within: Duration;
  /** Minimum number of requests before the share counts. @default {20} */
  minRequests?: number;
}

/** {@linkcode RollbackOptions} with every default filled in. */
export interface ResolvedRollback {
  readonly errorRate: number;
  readonly withinMs: number;
  readonly minRequests: number;
}

/** Fills in the defaults of validated options. */
export function resolveRollback(options: RollbackOptions | undefined): ResolvedRollback | null {
  if (options === undefined) return null;
  const { errorRate, within, minRequests = 20 } = options;
  return Object.freeze({ errorRate, withinMs: parseDuration(within)!, minRequests });
}

/** Maximum number of workers; each is a process. */
export const MAX_WORKERS = 32;

/** Description of the accepted values. */
export const WORKERS_EXPECTED: string = `a whole number from 1 to ${MAX_WORKERS}, or "auto"`;

/** Whether a value is a valid number of workers. */
export function isWorkers(value: unknown): value is number | "auto" {
  return value === "auto" || (Number.isInteger(value) && Number(value) >= 1 && Number(value) <= MAX_WORKERS);
}

/** The number of workers. */
export const WORKERS: Rule = must(isWorkers, WORKERS_EXPECTED);

/** The limits of the whole proxy. */
export const OVERLOAD: Rule = object<OverloadOptions>({
  maxInFlight: wholeOrInfinity(1),
  queue: QUEUE,
  maxLoopDelay: DURATION_ABOVE_0,
}, "an object with maxInFlight, queue and maxLoopDelay");

/** The condition for a rollback. */
export const ROLLBACK: Rule = object<RollbackOptions>({
  errorRate: required(SHARE),
  within: required(DURATION_ABOVE_0),
  minRequests: whole(1),
}, "an object with errorRate and within");

/** Which requests are traced. */
export const TRACING: Rule = orFlag(object<TracingOptions>({
  sample: number("a share from 0 to 1", (sample) => sample >= 0 && sample <= 1),
  continue: word(TRACE_TRUST),
}, "true, false, or an object with sample and continue"));
