/** Counts any number of keys in fixed memory, never too low, and decides by these counts when the table is full. */

import { RETRY_AFTER_US, type Rule, type State, type Verdict } from "./algorithm.ts";
import type { Fingerprint } from "./fingerprint.ts";
import type { AlgorithmName } from "./policy.ts";
import { ROWS, tickOf } from "./table_layout.ts";

const COUNT_BITS = 24;
/** Maximum count of a cell. A cell stays there, and then refuses. */
const MAX_COUNT = 2 ** COUNT_BITS - 1;

/**
 * A count-min sketch over numbered windows, in shared memory.
 *
 * Each key has one cell in each of four rows and shares it with all keys that map to it. Its count is the lowest of the
 * four. (Cormode and Muthukrishnan, 2005; Pingora's limiter consists of it.) A count is too high if other keys share
 * all four cells; it is never too low.
 *
 * A cell is one word: the window's number modulo 256, above a count of 24 bits. So no cell has to be cleared when a
 * window begins, and each change is one swap that a dying worker cannot leave half done. A cell unused for exactly 256
 * windows counts too much, which is the safe side. Odd and even windows have separate cells, so that the previous
 * window can still be read.
 */
export class CountMinSketch {
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #cells: number;
  readonly #activeUntil: number;

  /**
   * @param base first word of the cells
   * @param cells cells per row; a power of two
   * @param activeUntil word with the tick until which counts matter
   */
  constructor(words: Int32Array, base: number, cells: number, activeUntil: number) {
    this.#words = words;
    this.#base = base;
    this.#cells = cells;
    this.#activeUntil = activeUntil;
  }

  /** Whether any count may matter at this tick. Saves reading four cells when the table has not overflowed. */
  isActive(nowTick: number): boolean {
    return ((this.#words[this.#activeUntil]! - nowTick) | 0) > 0;
  }

  /** Records that current counts matter until a tick. */
  keepActive(untilTick: number): void {
    const words = this.#words;
    const until = Atomics.load(words, this.#activeUntil);
    if (((until - untilTick) | 0) < 0) Atomics.store(words, this.#activeUntil, untilTick);
  }

  /** Upper bound of the count of a key in a window. */
  estimate(key: Fingerprint, window: number): number {
    let least = MAX_COUNT;
    for (let row = 0; row < ROWS; row++) {
      least = Math.min(least, countIn(Atomics.load(this.#words, this.#cellOf(key, row, window)), window));
    }
    return least;
  }

  /** Adds to the count of a key and returns the new count. `count` may be negative, to undo. */
  add(key: Fingerprint, window: number, count: number): number {
    let least = MAX_COUNT;
    for (let row = 0; row < ROWS; row++) {
      least = Math.min(least, this.#addTo(this.#cellOf(key, row, window), window, count));
    }
    return least;
  }

  #addTo(cell: number, window: number, count: number): number {
    const words = this.#words;
    for (;;) {
      const found = Atomics.load(words, cell);
      const before = countIn(found, window);
      // A saturated cell has lost count: subtracting would make it too low. A cell without counts of this window may
      // already belong to a later one, whose count must stay.
      if (count < 0 && (before === MAX_COUNT || before === 0)) return before;
      const after = Math.max(0, Math.min(before + count, MAX_COUNT));
      const value = ((window & 0xff) << COUNT_BITS) | after;
      if (Atomics.compareExchange(words, cell, found, value) === found) return after;
    }
  }

  #cellOf(key: Fingerprint, row: number, window: number): number {
    // Mixed again: keys that overflow the same bucket share those bits of their fingerprints.
    let mixed = Math.imul(key.low ^ (key.high + Math.imul(row + 1, 0x9e3779b1)), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13) ^ key.high, 0xc2b2ae35);
    mixed ^= mixed >>> 16;
    return this.#base + (row * 2 + (window & 1)) * this.#cells + (mixed & (this.#cells - 1));
  }
}

function countIn(value: number, window: number): number {
  return (value >>> COUNT_BITS) === (window & 0xff) ? value & MAX_COUNT : 0;
}

// Decisions by estimate, for keys that the table has no room for.

/** Above this limit, counts are multiples of a unit, so that cells do not saturate before the limit is reached. */
const MAX_UNITS = 2 ** 22;

/**
 * Decides by the counts of a sketch and writes the decision to `into`; counts nothing.
 *
 * Windows begin at multiples of their length, the same for all keys. A fixed window uses one of them; a sliding window
 * weighs two. A token bucket becomes a sliding window of the time in which the bucket fills, with its capacity as
 * limit. Concurrency counts both windows in full. None admits more than its algorithm would in the same window, except
 * that a window need not begin with a key's first request. All may admit less, since cells are shared.
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
  const limit = limitOf(algorithm, rule);
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

/**
 * Counts a request that {@linkcode estimateOverflow} admitted. Returns `false` and counts nothing if other workers were
 * faster.
 */
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
  const limit = limitOf(algorithm, rule);
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
 * Undoes what {@linkcode chargeOverflow} counted at the same time `now`.
 *
 * @param amount part of the cost to undo; all of it by default
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
  const unit = unitOf(limitOf(algorithm, rule));
  // The difference of two rounded-up numbers: the remaining cost must not be rounded down.
  const units = Math.ceil(cost / unit) - Math.ceil((cost - amount) / unit);
  sketch.add(key, Math.floor(now / overflowWindow(algorithm, rule)), -units);
}

/**
 * Sets the state of a key that now gets an entry to its estimate, so that it does not start with a full limit. Returns
 * `false` if the key has to stay in the sketch (its permits are released there).
 */
export function seedFromSketch(
  sketch: CountMinSketch,
  key: Fingerprint & State,
  algorithm: AlgorithmName,
  now: number,
  rule: Readonly<Rule>,
): boolean {
  const windowUs = overflowWindow(algorithm, rule);
  const unit = unitOf(limitOf(algorithm, rule));
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

/** The limit of a window: for a bucket its capacity, or 0 if it never refills. */
function limitOf(algorithm: AlgorithmName, { limit, burst }: Readonly<Rule>): number {
  return algorithm === "token-bucket" && limit > 0 ? burst : limit;
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
