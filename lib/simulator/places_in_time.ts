/** Places of concurrency policies, given back when the requests that hold them are over. */

/** A place and when it comes free. */
interface Held {
  readonly lease: Disposable;
  readonly endMs: number;
}

/** Places that are held, the one that ends first at the top of a heap. */
export class PlacesInTime implements Disposable {
  readonly #heap: Held[] = [];

  /** Keeps a place until a moment. */
  hold(lease: Disposable, endMs: number): void {
    const heap = this.#heap;
    let at = heap.push({ lease, endMs }) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]!.endMs <= heap[at]!.endMs) break;
      [heap[parent], heap[at]] = [heap[at]!, heap[parent]!];
      at = parent;
    }
  }

  /** Gives back, one after the other, what has ended by a moment; each at its own. */
  releaseUntil(ms: number, onEnd: (endMs: number) => void): void {
    while (this.#heap.length > 0 && this.#heap[0]!.endMs <= ms) {
      const { lease, endMs } = this.#takeFirst();
      onEnd(endMs);
      lease[Symbol.dispose]();
    }
  }

  #takeFirst(): Held {
    const heap = this.#heap;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    heap[0] = last;
    for (let at = 0;;) {
      const left = 2 * at + 1;
      if (left >= heap.length) return first;
      const right = left + 1;
      const least = right < heap.length && heap[right]!.endMs < heap[left]!.endMs ? right : left;
      if (heap[at]!.endMs <= heap[least]!.endMs) return first;
      [heap[at], heap[least]] = [heap[least]!, heap[at]!];
      at = least;
    }
  }

  [Symbol.dispose](): void {
    for (const { lease } of this.#heap.splice(0)) lease[Symbol.dispose]();
  }
}
