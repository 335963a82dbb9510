/** Notices that a client has gone while its request still runs. */

import type { Clock } from "../core/clock.ts";
import type { Deadline, DeadlineWheel } from "../core/deadline_wheel.ts";
import type { RunningRequests } from "./running_requests.ts";

/** How long a request runs before its client is watched. */
const WATCH_AFTER_MS = 100;
/** How often it is looked which requests have run that long. */
const LOOK_EVERY_MS = 50;

/** What a {@linkcode ClientWatch} takes. */
export interface ClientWatchOptions {
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
  readonly running: RunningRequests;
}

/**
 * Calls exchanges off whose client has gone.
 *
 * Touching `request.signal` costs as much as the rest of a fast request (measured: 9 us of 8.5), so only requests
 * that take long do; which ones do is looked up now and then for all at once, so that fast ones pay nothing. A client
 * that has gone before that is noticed when the watch begins.
 */
export class ClientWatch {
  readonly #clock: Clock;
  readonly #running: RunningRequests;
  readonly #deadline: Deadline;
  #looking = false;

  constructor({ clock, wheel, running }: ClientWatchOptions) {
    this.#clock = clock;
    this.#running = running;
    this.#deadline = wheel.deadline(() => this.#look());
  }

  /** A request goes to a server, or a filter takes its time with it. */
  begin(now: number): void {
    if (!this.#looking) this.#lookLater(now);
  }

  #lookLater(now: number): void {
    this.#looking = true;
    this.#deadline.set(LOOK_EVERY_MS, now);
  }

  #look(): void {
    const now = this.#clock.now();
    let young = false;
    this.#running.visit((exchange) => {
      if (exchange.watched || !exchange.unanswered) return;
      if (now - exchange.startedAt >= WATCH_AFTER_MS) exchange.watchConnection();
      else young = true;
    });
    this.#looking = false;
    if (young) this.#lookLater(now);
  }
}
