/** Timers that are cheap where there are very many. */

import type { Clock, Timers } from "./clock.ts";
import { DeadlineWheel } from "./deadline_wheel.ts";

/** Timers that share one: never early, and late by less than two ticks. */
export class CoarseTimers implements Timers, Disposable {
  readonly #wheel: DeadlineWheel;

  constructor(clock: Clock, tickMs: number) {
    this.#wheel = new DeadlineWheel({ clock, tickMs });
  }

  setTimer(callback: () => void, delayMs: number): Disposable {
    const deadline = this.#wheel.deadline(callback);
    deadline.set(delayMs);
    return deadline;
  }

  /** Ends all of them. */
  [Symbol.dispose](): void {
    this.#wheel[Symbol.dispose]();
  }
}
