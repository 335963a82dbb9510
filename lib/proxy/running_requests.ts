/** The requests that are not over, and how they come to an end when the proxy stops. */

/** What is known here of a request. */
interface RunningRequest {
  readonly status: number;
  /** What the client wants of another protocol; `null` when nothing. */
  readonly upgrade: { readonly webSocket: unknown } | null;
  /** Its place among the others; -1 once it is over. */
  runningIndex: number;
  /** Calls it off because the proxy has to stop. */
  abandon(): void;
}

/** Every request of a proxy from its arrival until it is settled. */
export class RunningRequests {
  // Not a Set: the tables that a busy one leaves behind hold on to one another and to all requests that were in them,
  // which the collector of young objects then takes for alive (measured: 2 KB a request).
  readonly #running: RunningRequest[] = [];
  #empty: PromiseWithResolvers<void> | null = null;

  /** How many there are. */
  get size(): number {
    return this.#running.length;
  }

  add(exchange: RunningRequest): void {
    exchange.runningIndex = this.#running.length;
    this.#running.push(exchange);
  }

  /** The request is over. */
  delete(exchange: RunningRequest): void {
    const running = this.#running;
    const index = exchange.runningIndex;
    if (running[index] !== exchange) return;
    const last = running.pop()!;
    if (last !== exchange) {
      running[index] = last;
      last.runningIndex = index;
    }
    exchange.runningIndex = -1;
    if (running.length === 0 && this.#empty !== null) {
      this.#empty.resolve();
      this.#empty = null;
    }
  }

  /**
   * Ends WebSockets and other tunnels, which may last for hours.
   *
   * @param opening whether WebSockets too that a server has not agreed to yet
   */
  endTunnels(opening = true): void {
    this.#visit((exchange) => {
      const opens = opening && (exchange.upgrade?.webSocket ?? null) !== null;
      if (exchange.status === 101 || opens) exchange.abandon();
    });
  }

  /** Resolves as soon as there are none. */
  untilEmpty(): Promise<void> {
    if (this.#running.length === 0) return Promise.resolve();
    this.#empty ??= Promise.withResolvers<void>();
    return this.#empty.promise;
  }

  /** Calls off all that are not over. */
  abandon(): void {
    this.#visit((exchange) => exchange.abandon());
  }

  #visit(callback: (exchange: RunningRequest) => void): void {
    // From the end: the one that takes the place of one that has gone was visited before.
    for (let i = this.#running.length - 1; i >= 0; i--) callback(this.#running[i]!);
  }
}
