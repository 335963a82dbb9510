/** When a configuration that was loaded while the proxy runs is given up again, as an operator writes it. */

import { type Duration, parseDuration } from "../core/duration.ts";

/** What a new configuration has to live up to; if it does not, the one before takes over again. */
export interface RollbackOptions {
  /** Which share of its requests may fail, that is end with a status from 500 on: 0 to 1. */
  errorRate: number;
  /** How long its requests are looked at. */
  within: Duration;
  /** How many requests there have to be before the share counts. @default {20} */
  minRequests?: number;
}

/** The same, complete. */
export interface ResolvedRollback {
  readonly errorRate: number;
  readonly withinMs: number;
  readonly minRequests: number;
}

/** Completes what is known to be good. */
export function resolveRollback(options: RollbackOptions | undefined): ResolvedRollback | null {
  if (options === undefined) return null;
  const { errorRate, within, minRequests = 20 } = options;
  return Object.freeze({ errorRate, withinMs: parseDuration(within)!, minRequests });
}
