/** Buffers that connections read into and write from, kept for those who come after. */

import type { Bytes } from "../http/message.ts";

/** Holds a head and a small body. */
export const SMALL_BUFFER: number = 16 * 1024;
/** Holds a piece of content. */
export const LARGE_BUFFER: number = 64 * 1024;
/** Holds a piece of content that comes fast: fewer turns of the loop. */
export const HUGE_BUFFER: number = 256 * 1024;

/** How many of each are kept; more are only needed when as many messages are under way at one turn of the loop. */
const MAX_KEPT: ReadonlyMap<number, number> = new Map([[SMALL_BUFFER, 128], [LARGE_BUFFER, 128], [
  HUGE_BUFFER,
  8,
]]);

/**
 * Keeps buffers that nobody uses.
 *
 * An `ArrayBuffer` a message is what makes the collector of old objects run (measured: 8 times a second at 10 KiB).
 */
export class BufferShelf {
  readonly #small: Bytes[] = [];
  readonly #large: Bytes[] = [];
  readonly #huge: Bytes[] = [];

  /** How many are kept now. */
  get size(): number {
    return this.#small.length + this.#large.length + this.#huge.length;
  }

  /** A buffer of one of the three sizes; what is in it is of no meaning. */
  take(size: number): Bytes {
    return this.#shelfOf(size)?.pop() ?? new Uint8Array(size);
  }

  /** Takes a buffer back that nobody looks at any more; others than ours are dropped. */
  give(buffer: Bytes): void {
    const size = buffer.length;
    // A piece of a larger one would be lent to two at once.
    if (buffer.buffer.byteLength !== size) return;
    const shelf = this.#shelfOf(size);
    if (shelf !== null && shelf.length < MAX_KEPT.get(size)!) shelf.push(buffer);
  }

  #shelfOf(size: number): Bytes[] | null {
    if (size === SMALL_BUFFER) return this.#small;
    if (size === LARGE_BUFFER) return this.#large;
    return size === HUGE_BUFFER ? this.#huge : null;
  }
}
