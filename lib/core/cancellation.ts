/** A request's one way of being called off; what an `AbortController` does, at a tenth of its cost. */

/**
 * Tells one listener at a time, at once and synchronously, that the work is not wanted any more.
 *
 * One slot and not a list: a request waits for one thing at a time (a connection, a response head, a body).
 */
export class Cancellation {
  #reason: unknown = undefined;
  #cancelled = false;
  #listener: ((reason: unknown) => void) | null = null;

  /** Whether {@linkcode cancel} has been called. */
  get cancelled(): boolean {
    return this.#cancelled;
  }

  /** What {@linkcode cancel} was called with. */
  get reason(): unknown {
    return this.#reason;
  }

  /** Sets who is told; `null` when nobody has to be. Called at once when it is too late. */
  listen(listener: ((reason: unknown) => void) | null): void {
    this.#listener = listener;
    if (this.#cancelled && listener !== null) {
      this.#listener = null;
      listener(this.#reason);
    }
  }

  /** Calls the work off; only the first call counts. */
  cancel(reason: unknown): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.#reason = reason;
    const listener = this.#listener;
    this.#listener = null;
    listener?.(reason);
  }
}
