/** Counts any number of keys in fixed memory, never too low; and decides by these counts when the table is full. */

import { RETRY_AFTER_US, type Rule, type State, type Verdict } from "./algorithm.ts";
import type { Fingerprint } from "./fingerprint.ts";
import type { AlgorithmName } from "./policy.ts";
import { ROWS, tickOf } from "./table_layout.ts";

const COUNT_BITS = 24;
/** Largest count of a cell, at which it stays: a saturated cell refuses. */
const MAX_COUNT = 2 ** COUNT_BITS - 1;

/**
 * A count-min sketch over numbered windows, in shared memory.
 *
 * Each key has one cell in each of four rows, and shares them with whatever keys fall on the same; its count is the
 * lowest of the four. (Cormode and Muthukrishnan, 2005; Pingora's limiter consists of it.) A count is too high when other
 * keys share all four cells, and too low never.
 *
 * A cell is one word: the window's number modulo 256 above a count of 24 bits. So a window begins without anybody
 * clearing anything, each cell changes by one swap that a dying worker cannot leave half done, and a cell that nobody
 * touched for exactly 256 windows counts too much, which is the side to err on. Odd and even windows have cells of their
 * own, so that the window before can still be read.
 */
export class CountMinSketch {
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #cells: number;
  readonly #activeUntil: number;

  /**
   * @param base first word of the cells
   * @param cells of a row; a power of two
   * @param activeUntil word that tells until when anything is counted
   */
  constructor(words: Int32Array, base: number, cells: number, activeUntil: number) {
    this.#words = words;
    this.#base = base;
    this.#cells = cells;
    this.#activeUntil = activeUntil;
  }

  /** Whether anything may be counted at this tick; spares the look at four cells when nothing overflows. */
  isActive(nowTick: number): boolean {
    return ((this.#words[this.#activeUntil]! - nowTick) | 0) > 0;
  }

  /** Says that counts of now matter until a tick. */
  keepActive(untilTick: number): void {
    const words = this.#words;
    const until = Atomics.load(words, this.#activeUntil);
    if (((until - untilTick) | 0) < 0) Atomics.store(words, this.#activeUntil, untilTick);
  }

  /** What was counted for the key in a window: that or less. */
  estimate(key: Fingerprint, window: number): number {
    let least = MAX_COUNT;
    for (let row = 0; row < ROWS; row++) {
      least = Math.min(least, countIn(Atomics.load(this.#words, this.#cellOf(key, row, window)), window));
    }
    return least;
  }

  /** Counts, and returns what is counted for the key with it; `count` may be negative to take something back. */
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
      // What saturated has lost count: taking something back would make it too low. And a cell that has nothing of this
      // window may belong to a later one by now, whose count must stay.
      if (count < 0 && (before === MAX_COUNT || before === 0)) return before;
      const after = Math.max(0, Math.min(before + count, MAX_COUNT));
      const value = ((window & 0xff) << COUNT_BITS) | after;
      if (Atomics.compareExchange(words, cell, found, value) === found) return after;
    }
  }

  #cellOf(key: Fingerprint, row: number, window: number): number {
    // Mixed anew: keys that overflow the same bucket have those bits of their fingerprints in common.
    let mixed = Math.imul(key.low ^ (key.high + Math.imul(row + 1, 0x9e3779b1)), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13) ^ key.high, 0xc2b2ae35);
    mixed ^= mixed >>> 16;
    return this.#base + (row * 2 + (window & 1)) * this.#cells + (mixed & (this.#cells - 1));
  }
}

function countIn(value: number, window: number): number {
  return (value >>> COUNT_BITS) === (window & 0xff) ? value & MAX_COUNT : 0;
}

// Decides about keys that the table has no room for, by estimate.

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
  const unit = unitOf(limitOf(algorithm, rule));
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

/** The limit of a window: a bucket is one that fills once, and one that never fills has nothing. */
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
