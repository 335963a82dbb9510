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
  #looksAt = Infinity;

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
    const now = this.#clock.now();
    trip.leavesQueueAt = Math.min(now + this.#timeoutMs, trip.dueAt);
    this.#trips.add(trip);
    trip.options.cancellation.listen((reason) => {
      if (this.#trips.delete(trip)) trip.reject(cancelledError(reason));
    });
    if (this.#trips.size > 1 && trip.leavesQueueAt >= this.#looksAt) return;
    this.#looksAt = trip.leavesQueueAt;
    this.#deadline.set(this.#looksAt - now, now);
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

  // Exchanges may have less time than the queue gives, so all are looked at; they are few.
  #dropLate(): void {
    const now = this.#clock.now();
    this.#looksAt = Infinity;
    for (const trip of this.#trips) {
      if (trip.leavesQueueAt <= now) this.#drop(trip);
      else this.#looksAt = Math.min(this.#looksAt, trip.leavesQueueAt);
    }
    if (this.#trips.size > 0) this.#deadline.set(this.#looksAt - now, now);
  }

  #drop(trip: RoundTrip): void {
    this.#trips.delete(trip);
    trip.options.cancellation.listen(null);
    const late = trip.leavesQueueAt === trip.dueAt;
    const found = late
      ? "no connection was free as long as the exchange may take"
      : `no connection was free within ${this.#timeoutMs} ms`;
    trip.reject(
      new UpstreamError(`Cannot send the request: ${found}`, {
        code: late ? "http_response_timeout" : "connection_limit_reached",
        phase: "unsent",
      }),
    );
  }
}
