/** Requests that wait for a connection. */

import type { Clock } from "../../core/clock.ts";
import type { Deadline, DeadlineWheel } from "../../core/deadline_wheel.ts";
import { type ProxyError, UpstreamError } from "../../core/errors.ts";
import { cancelledError, type RoundTrip } from "./round_trip.ts";

/** What a {@linkcode WaitQueue} is made of. */
export interface WaitQueueInit {
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
  /** How long a request waits. */
  readonly timeoutMs: number;
}

/** First come, first served; whoever waits too long or is called off drops out. */
export class WaitQueue {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #deadline: Deadline;
  // A Set keeps the order and lets one in the middle leave at no cost.
  readonly #trips = new Set<RoundTrip>();

  constructor({ clock, wheel, timeoutMs }: WaitQueueInit) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#deadline = wheel.deadline(() => this.#dropLate());
  }

  /** How many wait. */
  get length(): number {
    return this.#trips.size;
  }

  /** Puts one at the end. */
  add(trip: RoundTrip): void {
    trip.queuedAt = this.#clock.now();
    this.#trips.add(trip);
    if (this.#trips.size === 1) this.#deadline.set(this.#timeoutMs);
    trip.options.cancellation.listen((reason) => {
      if (this.#trips.delete(trip)) trip.reject(cancelledError(reason));
    });
  }

  /** Takes the one that has waited longest. */
  take(): RoundTrip | undefined {
    for (const trip of this.#trips) {
      this.#trips.delete(trip);
      trip.options.cancellation.listen(null);
      return trip;
    }
    return undefined;
  }

  /** Sends everybody away. */
  rejectAll(error: ProxyError): void {
    this.#deadline.clear();
    for (let trip = this.take(); trip !== undefined; trip = this.take()) trip.reject(error);
  }

  // All wait equally long, so the first ones are the only ones to look at.
  #dropLate(): void {
    const now = this.#clock.now();
    for (const trip of this.#trips) {
      const left = trip.queuedAt + this.#timeoutMs - now;
      if (left > 0) return this.#deadline.set(left);
      this.#trips.delete(trip);
      trip.options.cancellation.listen(null);
      trip.reject(
        new UpstreamError(`Cannot send the request: no connection was free within ${this.#timeoutMs} ms`, {
          code: "connection_limit_reached",
          phase: "unsent",
        }),
      );
    }
  }
}
