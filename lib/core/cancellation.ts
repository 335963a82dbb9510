/** A request's one way of being called off; what an `AbortController` does, at a tenth of its cost. */

/** Somebody who waits for something that may be called off. */
export class CancellationListener implements Disposable {
  /** @internal */ cancellation: Cancellation | null = null;
  /** @internal */ previous: CancellationListener | null = null;
  /** @internal */ next: CancellationListener | null = null;
  /** @internal */ readonly callback: (reason: unknown) => void;

  /** @param callback told of the reason, at most once for each {@linkcode Cancellation.add} */
  constructor(callback: (reason: unknown) => void) {
    this.callback = callback;
  }

  /** Listens no longer; it may be added again. */
  [Symbol.dispose](): void {
    this.cancellation?.remove(this);
  }
}

/**
 * Tells everybody who waits, at once and synchronously, that the work is not wanted any more.
 *
 * Listeners are links of a list, so that whoever waits again and again (a connection) makes its listener once.
 *
 * @example
 * ```ts ignore
 * using _listener = cancellation.listen((reason) => reject(reason));
 * await promise;
 * ```
 */
export class Cancellation {
  #reason: unknown = undefined;
  #cancelled = false;
  #first: CancellationListener | null = null;

  /** Whether {@linkcode cancel} has been called. */
  get cancelled(): boolean {
    return this.#cancelled;
  }

  /** What {@linkcode cancel} was called with. */
  get reason(): unknown {
    return this.#reason;
  }

  /** Has the callback told, until the result is disposed; told at once when it is too late. */
  listen(callback: (reason: unknown) => void): Disposable {
    const listener = new CancellationListener(callback);
    this.add(listener);
    return listener;
  }

  /** @internal Has a listener told that listens to nothing else; told at once when it is too late. */
  add(listener: CancellationListener): void {
    if (this.#cancelled) return listener.callback(this.#reason);
    if (listener.cancellation !== null) {
      throw new Error("A listener can listen to one cancellation at a time");
    }
    listener.cancellation = this;
    listener.next = this.#first;
    if (this.#first !== null) this.#first.previous = listener;
    this.#first = listener;
  }

  /** @internal */
  remove(listener: CancellationListener): void {
    const { previous, next } = listener;
    if (previous === null) this.#first = next;
    else previous.next = next;
    if (next !== null) next.previous = previous;
    listener.cancellation = listener.previous = listener.next = null;
  }

  /** Calls the work off; only the first call counts. */
  cancel(reason: unknown): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.#reason = reason;
    // Whoever listened last waits for what is nearest to the network: it is told first.
    for (let listener = this.#first; listener !== null; listener = this.#first) {
      this.remove(listener);
      listener.callback(reason);
    }
  }
}

/** Something taken that must be given back exactly once. */

/**
 * A permit that is given back exactly once, however often it is disposed.
 *
 * A lease that could release twice would free somebody else's permit.
 *
 * @example
 * ```ts ignore
 * using lease = server.acquire();
 * ```
 */
export class Lease implements Disposable {
  #release: (() => void) | null;

  /**
   * Makes the permit for what has been taken.
   *
   * @param release gives back what the lease stands for; called once
   */
  constructor(release: () => void) {
    this.#release = release;
  }

  /** Whether the lease has been given back. */
  get released(): boolean {
    return this.#release === null;
  }

  /** Gives back what the lease stands for; does nothing the second time. */
  release(): void {
    const release = this.#release;
    this.#release = null;
    release?.();
  }

  /** The same as {@linkcode Lease.release}. */
  [Symbol.dispose](): void {
    this.release();
  }
}
