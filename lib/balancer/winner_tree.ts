/** The smallest of many numbers that change one at a time. */

/**
 * A tournament of numbered entrants: the winner is known at any time, and a change replays only the games of the
 * entrant that changed (Knuth, The Art of Computer Programming 3, 5.4.1).
 */
export class WinnerTree {
  readonly #beats: (a: number, b: number) => boolean;
  /** The root is at 1, the entrants begin at {@linkcode #leaves}; what has no entrant is -1. */
  readonly #winners: Int32Array;
  readonly #leaves: number;

  /** @param beats whether entrant `a` is before entrant `b`; must not say so both ways */
  constructor(count: number, beats: (a: number, b: number) => boolean) {
    this.#beats = beats;
    this.#leaves = 1;
    while (this.#leaves < count) this.#leaves *= 2;
    this.#winners = new Int32Array(this.#leaves * 2).fill(-1);
    for (let i = 0; i < count; i++) this.#winners[this.#leaves + i] = i;
    for (let node = this.#leaves - 1; node > 0; node--) this.#play(node);
  }

  /** Who is before all others; -1 when nobody takes part. */
  get winner(): number {
    return this.#winners[1]!;
  }

  /** Replays after something about an entrant has changed. */
  update(entrant: number): void {
    for (let node = (this.#leaves + entrant) >> 1; node > 0; node >>= 1) this.#play(node);
  }

  #play(node: number): void {
    const left = this.#winners[node * 2]!;
    const right = this.#winners[node * 2 + 1]!;
    this.#winners[node] = right === -1 || (left !== -1 && !this.#beats(right, left)) ? left : right;
  }
}
