/** The requests that are not over, and how they come to an end when the proxy stops. */

import type { Exchange } from "./exchange.ts";

/** Every request of a proxy from its arrival until it is settled. */
export class RunningRequests {
  // Not a Set: the tables that a busy one leaves behind hold on to one another and to all requests that were in them,
  // which the collector of young objects then takes for alive (measured: 2 KB a request).
  readonly #running: Exchange[] = [];
  #stopping = false;

  /** How many there are. */
  get size(): number {
    return this.#running.length;
  }

  /** Whether requests that arrive now are refused. */
  get stopping(): boolean {
    return this.#stopping;
  }

  add(exchange: Exchange): void {
    exchange.runningIndex = this.#running.length;
    this.#running.push(exchange);
  }

  /** The request is over. */
  delete(exchange: Exchange): void {
    const running = this.#running;
    const index = exchange.runningIndex;
    if (running[index] !== exchange) return;
    const last = running.pop()!;
    if (last !== exchange) {
      running[index] = last;
      last.runningIndex = index;
    }
    exchange.runningIndex = -1;
  }

  /** Has requests that arrive from now on refused. */
  stop(): void {
    this.#stopping = true;
  }

  /** Calls off all that are not over. */
  abandon(): void {
    // From the end: the one that takes the place of one that has gone was visited before.
    for (let i = this.#running.length - 1; i >= 0; i--) this.#running[i]!.abandon();
  }
}
