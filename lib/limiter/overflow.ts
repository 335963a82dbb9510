/** Decides about keys that the table has no room for, by estimate. */

import type { Rule, State, Verdict } from "./algorithm.ts";
import { RETRY_AFTER_US } from "./concurrency.ts";
import type { CountMinSketch } from "./count_min_sketch.ts";
import type { Fingerprint } from "./fingerprint.ts";
import type { AlgorithmName } from "./policy.ts";
import { tickOf } from "./table_layout.ts";

/** Above this, what is counted is multiples of a unit, so that cells do not saturate before the limit is reached. */
const MAX_UNITS = 2 ** 22;

/**
 * Decides with a sketch what `into` tells, and counts nothing.
 *
 * Windows begin at multiples of their length, the same for all keys. A fixed window is one; a sliding window weighs
 * two; a token bucket becomes a sliding window of the time in which the bucket fills, with the bucket as its limit;
 * concurrency counts both windows in full. None admits more than its algorithm would in the same window, except that a
 * window need not begin with a key's first request; all may admit less, since cells are shared.
 */
export function estimateOverflow(
  sketch: CountMinSketch,
  key: Fingerprint,
  algorithm: AlgorithmName,
  now: number,
  cost: number,
  rule: Readonly<Rule>,
  into: Verdict,
): void {
  const windowUs = overflowWindow(algorithm, rule);
  const limit = algorithm === "token-bucket" && rule.limit > 0 ? rule.burst : rule.limit;
  const unit = unitOf(limit);
  const window = Math.floor(now / windowUs);
  const left = (window + 1) * windowUs - now;
  const current = sketch.estimate(key, window);
  const used = current + previousShare(sketch, key, algorithm, window, left / windowUs);
  const wanted = Math.ceil(cost / unit);
  const limitUnits = Math.floor(limit / unit);
  const admitted = used + wanted <= limitUnits;
  into.admitted = admitted;
  into.corrects = false;
  into.remaining = Math.max(0, Math.floor(limitUnits - used - (admitted ? wanted : 0)) * unit);
  into.resetUs = algorithm === "concurrency" ? 0 : algorithm === "fixed-window" ? left : left + windowUs;
  const fits = into.remaining >= cost;
  into.retryAfterUs = fits
    ? 0
    : cost > limit
    ? Infinity
    : algorithm === "concurrency"
    ? RETRY_AFTER_US
    : left;
}

/** Counts a request that {@linkcode estimateOverflow} admitted; `false`, and nothing is counted, when others were faster. */
export function chargeOverflow(
  sketch: CountMinSketch,
  key: Fingerprint,
  algorithm: AlgorithmName,
  now: number,
  cost: number,
  rule: Readonly<Rule>,
  force: boolean,
): boolean {
  const windowUs = overflowWindow(algorithm, rule);
  const limit = algorithm === "token-bucket" ? rule.burst : rule.limit;
  const unit = unitOf(limit);
  const window = Math.floor(now / windowUs);
  const wanted = Math.ceil(cost / unit);
  sketch.keepActive(tickOf((window + 2) * windowUs, now));
  const current = sketch.add(key, window, wanted);
  const left = ((window + 1) * windowUs - now) / windowUs;
  const used = current + previousShare(sketch, key, algorithm, window, left);
  if (force || used <= Math.floor(limit / unit)) return true;
  sketch.add(key, window, -wanted);
  return false;
}

/**
 * Takes back what {@linkcode chargeOverflow} counted at the same moment `now`.
 *
 * @param amount how much of the cost; all of it when left out
 */
export function refundOverflow(
  sketch: CountMinSketch,
  key: Fingerprint,
  algorithm: AlgorithmName,
  now: number,
  cost: number,
  rule: Readonly<Rule>,
  amount: number = cost,
): void {
  const unit = unitOf(algorithm === "token-bucket" ? rule.burst : rule.limit);
  // The difference of two that are rounded up: what remains of the cost must not be rounded down.
  const units = Math.ceil(cost / unit) - Math.ceil((cost - amount) / unit);
  sketch.add(key, Math.floor(now / overflowWindow(algorithm, rule)), -units);
}

/**
 * Gives a key that now gets a place in the table the state that its estimate amounts to, so that it does not begin with a
 * whole limit again; `false` when it has to stay in the sketch (its places are given back there).
 */
export function seedFromSketch(
  sketch: CountMinSketch,
  key: Fingerprint & State,
  algorithm: AlgorithmName,
  now: number,
  rule: Readonly<Rule>,
): boolean {
  const windowUs = overflowWindow(algorithm, rule);
  const unit = unitOf(algorithm === "token-bucket" ? rule.burst : rule.limit);
  const window = Math.floor(now / windowUs);
  const current = sketch.estimate(key, window) * unit;
  const previous = algorithm === "fixed-window" ? 0 : sketch.estimate(key, window - 1) * unit;
  if (current + previous === 0) return true;
  switch (algorithm) {
    case "fixed-window":
      key.a = (window + 1) * windowUs;
      key.b = current;
      return true;
    case "sliding-window":
      key.a = (window + 2) * windowUs;
      key.b = previous;
      key.c = current;
      return true;
    case "token-bucket":
      key.b = Math.min(current + previous, rule.burst) * rule.windowUs;
      key.c = now;
      key.a = now + Math.ceil(key.b / rule.limit);
      return true;
    case "concurrency":
      return false;
  }
}

function overflowWindow(algorithm: AlgorithmName, rule: Readonly<Rule>): number {
  if (algorithm !== "token-bucket" || rule.limit === 0) return rule.windowUs;
  return Math.max(1, Math.ceil(rule.burst * rule.windowUs / rule.limit));
}

function unitOf(limit: number): number {
  return limit <= MAX_UNITS ? 1 : Math.ceil(limit / MAX_UNITS);
}

function previousShare(
  sketch: CountMinSketch,
  key: Fingerprint,
  algorithm: AlgorithmName,
  window: number,
  left: number,
): number {
  if (algorithm === "fixed-window") return 0;
  const previous = sketch.estimate(key, window - 1);
  return algorithm === "concurrency" ? previous : previous * left;
}
