/** The requests that are not over, and how they come to an end when the proxy stops. */

import type { Entrance, Exchange } from "./exchange.ts";

/** Somebody who waits until nothing that clients still send would be broken off. */
interface ContentWatcher {
  /** Only requests that came this way; `null` for all. */
  readonly entrance: Entrance | null;
  readonly resolve: () => void;
}

/** Every request of a proxy from its arrival until it is settled. */
export class RunningRequests {
  // Not a Set: the tables that a busy one leaves behind hold on to one another and to all requests that were in them,
  // which the collector of young objects then takes for alive (measured: 2 KB a request).
  readonly #running: Exchange[] = [];
  #stopping = false;
  readonly #watchers = new Set<ContentWatcher>();
  #empty: PromiseWithResolvers<void> | null = null;

  /** How many there are. */
  get size(): number {
    return this.#running.length;
  }

  /** Whether the proxy stops: what arrives now and would have to be waited for is refused. */
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
    if (running.length === 0) this.#tellEmpty();
    this.progressed();
  }

  /** Calls back with every request; the callback may end the one that it is given. */
  visit(callback: (exchange: Exchange) => void): void {
    // From the end: the one that takes the place of one that has gone was visited before.
    for (let i = this.#running.length - 1; i >= 0; i--) callback(this.#running[i]!);
  }

  /** The content of a request has been read. */
  progressed(): void {
    if (this.#watchers.size === 0) return;
    for (const watcher of this.#watchers) this.#look(watcher);
  }

  /** Ends WebSockets, which may last for hours, and has new ones and new uploads refused from now on. */
  stop(): void {
    this.#stopping = true;
    this.visit((exchange) => {
      if (exchange.webSocket !== null) exchange.abandon();
    });
  }

  /** Resolves as soon as there are none. */
  untilEmpty(): Promise<void> {
    if (this.#running.length === 0) return Promise.resolve();
    this.#empty ??= Promise.withResolvers<void>();
    return this.#empty.promise;
  }

  #tellEmpty(): void {
    this.#empty?.resolve();
    this.#empty = null;
  }

  /**
   * Resolves once no content is on its way, by one entrance or by any (`null`).
   *
   * The runtime breaks off content that is still on its way as soon as a server is told to finish (Deno 2.9.6): so it
   * must not be told before.
   */
  contentRead(entrance: Entrance | null): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const watcher = { entrance, resolve };
    this.#watchers.add(watcher);
    this.#look(watcher);
    return promise;
  }

  #look(watcher: ContentWatcher): void {
    const { entrance, resolve } = watcher;
    for (const exchange of this.#running) {
      if ((entrance === null || exchange.entrance === entrance) && exchange.awaitsContent) return;
    }
    this.#watchers.delete(watcher);
    resolve();
  }

  /** Calls off all that are not over. */
  abandon(): void {
    this.visit((exchange) => exchange.abandon());
    this.progressed();
  }
}
