/** Whose turn it is. */

/** A queue of small whole numbers that are served and go to the end; made once for all its turns. */
export class TurnQueue {
  /** Twice as long as the queue, so that its content is moved to the front rarely. */
  readonly #items: Int32Array;
  #first = 0;
  #end: number;

  constructor(order: readonly number[]) {
    this.#items = new Int32Array(order.length * 2 + 1);
    this.#items.set(order);
    this.#end = order.length;
  }

  get length(): number {
    return this.#end - this.#first;
  }

  /** What is at a position; 0 is the next one. */
  at(position: number): number {
    return this.#items[this.#first + position]!;
  }

  /** Moves what is at a position to the end, and returns it. */
  rotate(position: number): number {
    const items = this.#items;
    const taken = items[this.#first + position]!;
    if (position > 0) items.copyWithin(this.#first + 1, this.#first, this.#first + position);
    this.#first++;
    if (this.#end === items.length) {
      items.copyWithin(0, this.#first, this.#end);
      this.#end -= this.#first;
      this.#first = 0;
    }
    items[this.#end++] = taken;
    return taken;
  }
}
