/** Remembers how much of their limits displaced keys had used. */

import type { Rule, State } from "./algorithm.ts";
import type { Fingerprint } from "./fingerprint.ts";
import type { AlgorithmName } from "./policy.ts";
import { DISPLACED_ROWS, FULL_USE, HEADER, TICK_US } from "./table_layout.ts";

/** Maximum share in a cell (8 bits): the whole limit. */
const WHOLE = 255;
const TICK_BITS = 24;
const TICK_MASK = 2 ** TICK_BITS - 1;
/** Furthest expiry that a cell can distinguish from the past: 6 days. */
const MAX_TICKS = 2 ** (TICK_BITS - 1) - 1;

const GENERATIONS = 2;

/**
 * Remembers which share of its limit a displaced key had used, and until when that share counts. The share is never too
 * low until it is forgotten. Its resolution is 1/255 of the limit; expiries reach up to six days ahead.
 *
 * A key has one cell in each of four rows. A cell holds the largest share and the latest expiry of all keys that map to
 * it; the share of a key is the lowest of its four cells. (This is a count-min sketch that keeps the maximum instead of
 * the sum, so many keys with one request each leave at most one request in a cell.)
 *
 * Cells are kept in two generations. When an eighth of the younger generation is used, the older one is cleared and
 * becomes the younger one. So the probability that a new key finds all four cells used is at most 0.03 % per
 * generation.
 */
export class DisplacedKeys {
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #cells: number;

  /**
   * @param base first word of the cells
   * @param cells cells per row of one generation
   */
  constructor(words: Int32Array, base: number, cells: number) {
    this.#words = words;
    this.#base = base;
    this.#cells = cells;
  }

  /** Whether any share may be remembered at this tick. Saves reading eight cells when no key was displaced. */
  isActive(nowTick: number): boolean {
    return ((this.#words[HEADER.displacedUntil]! - nowTick) | 0) > 0;
  }

  /**
   * Remembers the used share of a key.
   *
   * @param use used share of its limit, in units of `FULL_USE`
   * @param tick when the share may be forgotten
   */
  remember(low: number, high: number, use: number, tick: number, nowTick: number): void {
    const words = this.#words;
    const ahead = Math.min((tick - nowTick) | 0, MAX_TICKS);
    // Rounded up. For limits up to 255, a whole number of requests is restored exactly.
    const share = Math.min(WHOLE, Math.ceil(use * WHOLE / FULL_USE));
    if (ahead <= 0 || share === 0) return;
    const until = (nowTick + ahead) | 0;
    if (((words[HEADER.displacedUntil]! - until) | 0) < 0 || !this.isActive(nowTick)) {
      Atomics.store(words, HEADER.displacedUntil, until);
    }
    const generation = Atomics.load(words, HEADER.displacedGeneration) & 1;
    let taken = false;
    for (let row = 0; row < DISPLACED_ROWS; row++) {
      if (this.#raise(this.#cellOf(low, high, row, generation), share, ahead, nowTick)) taken ||= row === 0;
    }
    if (taken) this.#countTaken(generation);
  }

  /**
   * Sets the state of a key that gets an entry to the remembered share, unless the state already has more.
   *
   * The share may be too high: by at most the use of the keys that share its cells, and by rounding (0.4 % of a limit
   * above 255).
   */
  seed(key: Fingerprint & State, algorithm: AlgorithmName, now: number, rule: Readonly<Rule>): void {
    // Permits are never displaced, so nothing is remembered for them.
    if (algorithm === "concurrency") return;
    const nowTick = Math.floor(now / TICK_US);
    let share = 0;
    let ahead = 0;
    for (let generation = 0; generation < GENERATIONS; generation++) {
      let least = WHOLE;
      let soonest = MAX_TICKS;
      for (let row = 0; row < DISPLACED_ROWS; row++) {
        const cell = Atomics.load(this.#words, this.#cellOf(key.low, key.high, row, generation));
        least = Math.min(least, shareIn(cell, nowTick));
        if (least === 0) break;
        soonest = Math.min(soonest, aheadIn(cell, nowTick));
      }
      if (least === 0) continue;
      share = Math.max(share, least);
      ahead = Math.max(ahead, soonest);
    }
    if (share === 0) return;
    // Just before the tick: otherwise each further displacement would extend the expiry.
    seedState(key, algorithm, now, share / WHOLE, (nowTick + ahead) * TICK_US - 1, rule);
  }

  /** Raises a cell to a share and an expiry; returns whether the cell was unused. */
  #raise(cell: number, share: number, ahead: number, nowTick: number): boolean {
    const words = this.#words;
    for (;;) {
      const found = Atomics.load(words, cell);
      const before = shareIn(found, nowTick);
      const until = before === 0 ? ahead : Math.max(ahead, aheadIn(found, nowTick));
      const value = (Math.max(share, before) << TICK_BITS) | ((nowTick + until) & TICK_MASK);
      if (value === found || Atomics.compareExchange(words, cell, found, value) === found) {
        return before === 0;
      }
    }
  }

  #countTaken(generation: number): void {
    const words = this.#words;
    const taken = Atomics.add(words, HEADER.displacedTaken, 1) + 1;
    if (taken * 8 < this.#cells) return;
    // Only the worker that resets the counter clears cells; meanwhile other workers still write to the full generation.
    if (Atomics.compareExchange(words, HEADER.displacedTaken, taken, 0) !== taken) return;
    const next = 1 - generation;
    const size = DISPLACED_ROWS * this.#cells;
    words.fill(0, this.#base + next * size, this.#base + (next + 1) * size);
    Atomics.store(words, HEADER.displacedGeneration, next);
  }

  #cellOf(low: number, high: number, row: number, generation: number): number {
    // Mixed again: keys of one bucket share those bits of their fingerprints.
    let mixed = Math.imul(low ^ (high + Math.imul(row + 1, 0x9e3779b1)), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13) ^ high, 0xc2b2ae35);
    mixed ^= mixed >>> 16;
    const at = Math.floor((mixed >>> 0) * this.#cells / 2 ** 32);
    return this.#base + (generation * DISPLACED_ROWS + row) * this.#cells + at;
  }
}

function shareIn(cell: number, nowTick: number): number {
  return aheadIn(cell, nowTick) > 0 ? cell >>> TICK_BITS : 0;
}

/** Ticks until the cell expires; 0 or negative when it has expired. */
function aheadIn(cell: number, nowTick: number): number {
  return ((cell - nowTick) << (32 - TICK_BITS)) >> (32 - TICK_BITS);
}

function seedState(
  state: State,
  algorithm: AlgorithmName,
  now: number,
  share: number,
  until: number,
  rule: Readonly<Rule>,
): void {
  const { limit, burst, windowUs } = rule;
  const used = Math.floor(share * (algorithm === "token-bucket" ? burst : limit) + 1e-9);
  switch (algorithm) {
    case "fixed-window":
      if (used <= state.b) return;
      state.a = Math.min(until, now + windowUs);
      state.b = used;
      return;
    case "sliding-window":
      if (used <= state.b + state.c) return;
      // The windows are known, but not the window of the requests. The later window counts for more.
      state.a = Math.min(until, now + 2 * windowUs);
      state.b = 0;
      state.c = used;
      return;
    case "token-bucket": {
      // For a bucket, the expiry is the time when it is full again.
      const left = Math.min(used * windowUs, (until - now) * limit);
      if (left <= state.b) return;
      state.b = left;
      state.c = now;
      state.a = now + Math.ceil(left / limit);
      return;
    }
    case "concurrency":
      return;
  }
}
