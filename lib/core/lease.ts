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
