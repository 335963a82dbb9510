/** Options of ejection. */

import { DURATION_ABOVE_0, number, object, type Rule, whole, wholeOrInfinity } from "../core/options.ts";
import { type Duration, parseDuration } from "../core/units.ts";

/**
 * When a server is ejected because requests to it fail, and for how long.
 *
 * After an ejection it gets one request at a time until one gets a response. An active check ends an ejection early if it
 * tests what failed: any check if connections failed, an HTTP check or a function if responses were late or invalid.
 *
 * @example Eject a server for ten seconds after three failures in a row
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: {
 *     servers: ["127.0.0.1:9001", "127.0.0.1:9002"],
 *     ejection: { consecutiveFailures: 3, baseTime: "10s" },
 *   },
 * });
 * ```
 */
export interface EjectionOptions {
  /** Failures in a row that eject a server; `Infinity` never does. @default {5} */
  consecutiveFailures?: number;
  /** Share of failed requests in {@linkcode window} that ejects a server, 0 to 1; above 1 never does. @default {0.5} */
  failureRate?: number;
  /** Fewest requests in the window before the rate counts. @default {20} */
  minRequests?: number;
  /** Time over which the rate is counted. @default {"10s"} */
  window?: Duration;
  /** Duration of the first ejection; each further one is longer by the same time. @default {"30s"} */
  baseTime?: Duration;
  /** Longest duration of an ejection. @default {"5m"} */
  maxTime?: Duration;
  /** Most servers of the pool that may be ejected at the same time, in percent; one always may. @default {50} */
  maxEjectedPercent?: number;
}

/** {@linkcode EjectionOptions} with all defaults. */
export interface ResolvedEjection {
  readonly consecutiveFailures: number;
  readonly failureRate: number;
  readonly minRequests: number;
  readonly windowMs: number;
  readonly baseMs: number;
  readonly maxMs: number;
  readonly maxEjectedPercent: number;
}

/** Validates {@linkcode EjectionOptions}. */
export const EJECTION: Rule = object<EjectionOptions>({
  consecutiveFailures: wholeOrInfinity(1),
  failureRate: number("a number above 0; above 1 never counts the rate", (value) => value > 0),
  minRequests: whole(1),
  window: DURATION_ABOVE_0,
  baseTime: DURATION_ABOVE_0,
  maxTime: DURATION_ABOVE_0,
  maxEjectedPercent: number("a number from 0 to 100", (value) => value >= 0 && value <= 100),
}, "false or an object with options of ejection");

/** Adds the defaults to valid options. */
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
    windowMs: parseDuration(window)!,
    baseMs: parseDuration(baseTime)!,
    maxMs: parseDuration(maxTime)!,
    maxEjectedPercent,
  });
}
