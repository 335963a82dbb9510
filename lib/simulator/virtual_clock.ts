/** Time that passes only when it is told to. */

import type { Clock } from "../core/clock.ts";

/** A clock for replays: it shows what it was set to, and nobody waits for it. */
export class VirtualClock implements Clock {
  #now = 0;

  /** Goes on to a moment; earlier ones are passed already. */
  advanceTo(ms: number): void {
    if (ms > this.#now) this.#now = ms;
  }

  /** Milliseconds since the replay began. */
  now(): number {
    return this.#now;
  }

  /** The same as {@linkcode now}. */
  wallTime(): number {
    return this.#now;
  }

  /** Decisions of a limiter wait for nothing, so timers are not kept. */
  setTimer(): Disposable {
    return { [Symbol.dispose]: () => {} };
  }
}
