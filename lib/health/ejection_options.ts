/** What an operator says about servers whose requests fail. */

import { type Duration, DURATION_EXPECTED, parseDuration } from "../core/duration.ts";

/**
 * When a server is taken out because requests to it fail, and for how long.
 *
 * Afterwards it gets one request at a time until one gets a response. An active check ends an ejection early when it
 * tries what failed: any check where connections failed, an HTTP check or a function where responses were late or bad.
 */
export interface EjectionOptions {
  /** Failures in a row; `Infinity` never counts them. @default {5} */
  consecutiveFailures?: number;
  /** Share of the requests in {@linkcode window} that fail, 0 to 1; above 1 is never reached. @default {0.5} */
  failureRate?: number;
  /** How many requests the window must hold before the rate says anything. @default {20} */
  minRequests?: number;
  /** How far back the rate looks. @default {"10s"} */
  window?: Duration;
  /** How long the first time; each further time takes this much longer. @default {"30s"} */
  baseTime?: Duration;
  /** How long at most. @default {"5m"} */
  maxTime?: Duration;
  /** How much of the pool may be out at the same time, in percent; one server always may. @default {50} */
  maxEjectedPercent?: number;
}

/** Ejection, complete. */
export interface ResolvedEjection {
  readonly consecutiveFailures: number;
  readonly failureRate: number;
  readonly minRequests: number;
  readonly windowMs: number;
  readonly baseMs: number;
  readonly maxMs: number;
  readonly maxEjectedPercent: number;
}

/**
 * Completes the options of ejection.
 *
 * @throws {TypeError} when a duration cannot be read
 */
export function resolveEjection(options: EjectionOptions = {}): ResolvedEjection {
  const {
    consecutiveFailures = 5,
    failureRate = 0.5,
    minRequests = 20,
    window = "10s",
    baseTime = "30s",
    maxTime = "5m",
    maxEjectedPercent = 50,
  } = options;
  return Object.freeze({
    consecutiveFailures,
    failureRate,
    minRequests,
    windowMs: milliseconds("window", window),
    baseMs: milliseconds("baseTime", baseTime),
    maxMs: milliseconds("maxTime", maxTime),
    maxEjectedPercent,
  });
}

function milliseconds(option: string, value: Duration): number {
  const ms = parseDuration(value);
  if (ms !== undefined && ms > 0) return ms;
  throw new TypeError(
    `Cannot resolve ejection: "${option}" must be ${DURATION_EXPECTED}, received ${JSON.stringify(value)}`,
  );
}
