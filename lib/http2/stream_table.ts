/** The streams of a connection that are not over, and the numbers of some that are. */

import type { Http2Stream } from "./stream.ts";

const SLOTS = 64;
/** How many streams are remembered that are over. */
const REMEMBERED = 128;

/** Finds streams by their numbers, without an entry of a `Map` for each; they are chained in a few slots. */
export class StreamTable {
  /** How many there are. */
  size = 0;
  readonly #slots: (Http2Stream | null)[] = new Array(SLOTS).fill(null);
  /** Streams that are over, and those that this side has reset: what was on its way to them is skipped. */
  readonly #over = new Int32Array(REMEMBERED);
  readonly #reset = new Int32Array(REMEMBERED);
  #overCount = 0;
  #resetCount = 0;

  find(id: number): Http2Stream | null {
    let stream = this.#slots[(id >> 1) % SLOTS]!;
    while (stream !== null && stream.id !== id) stream = stream.chained!;
    return stream;
  }

  add(stream: Http2Stream): void {
    const slot = (stream.id >> 1) % SLOTS;
    stream.chained = this.#slots[slot]!;
    this.#slots[slot] = stream;
    this.size++;
  }

  /** Takes out one that is over. */
  remove(stream: Http2Stream): void {
    const slot = (stream.id >> 1) % SLOTS;
    if (this.#slots[slot] === stream) this.#slots[slot] = stream.chained;
    else {
      let before = this.#slots[slot]!;
      while (before.chained !== stream) before = before.chained!;
      before.chained = stream.chained;
    }
    stream.chained = null;
    this.size--;
    this.#over[this.#overCount++ % REMEMBERED] = stream.id;
  }

  /** This side has reset a stream. */
  rememberReset(id: number): void {
    this.#reset[this.#resetCount++ % REMEMBERED] = id;
  }

  /** Whether this side has reset it, not long ago. */
  wasReset(id: number): boolean {
    return this.#reset.includes(id);
  }

  /** Whether it ended, not long ago. */
  wasThere(id: number): boolean {
    return this.#over.includes(id);
  }

  /** All of them. */
  all(): Http2Stream[] {
    const all: Http2Stream[] = [];
    for (let stream of this.#slots) {
      for (; stream !== null; stream = stream.chained) all.push(stream);
    }
    return all;
  }
}
