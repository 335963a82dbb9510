/** Counts of any number of keys in fixed memory, never too low. */

import type { Fingerprint } from "./fingerprint.ts";
import { ROWS } from "./table_layout.ts";

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
