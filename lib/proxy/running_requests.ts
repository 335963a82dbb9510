/** The requests that are not over, and how they come to an end when the proxy stops. */

import type { Exchange } from "./exchange.ts";

/** Every request of a proxy from its arrival until it is settled. */
export class RunningRequests {
  readonly #running = new Set<Exchange>();
  #stopping = false;
  #contentRead: (() => void) | null = null;

  /** How many there are. */
  get size(): number {
    return this.#running.size;
  }

  /** Whether requests that arrive now are refused. */
  get stopping(): boolean {
    return this.#stopping;
  }

  add(exchange: Exchange): void {
    this.#running.add(exchange);
  }

  /** The request is over. */
  delete(exchange: Exchange): void {
    this.#running.delete(exchange);
    this.progressed();
  }

  /** The content of a request has been read. */
  progressed(): void {
    if (this.#contentRead !== null) this.#look(this.#contentRead);
  }

  /**
   * Has requests that arrive from now on refused, and resolves when the content of all others has been read.
   *
   * The runtime breaks off content that is still on its way as soon as a server is told to finish (Deno 2.9.6): so it
   * must not be told before.
   */
  stop(): Promise<void> {
    this.#stopping = true;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#contentRead = resolve;
    this.#look(resolve);
    return promise;
  }

  #look(contentRead: () => void): void {
    for (const exchange of this.#running) {
      if (exchange.awaitsContent) return;
    }
    this.#contentRead = null;
    contentRead();
  }

  /** Calls off all that are not over. */
  abandon(): void {
    for (const exchange of this.#running) exchange.abandon();
  }
}
