/** One time for all workers that share a table. */

import type { Clock } from "../core/clock.ts";
import { HEADER } from "./table_layout.ts";

/** How far behind the latest time in the table has to be before a worker writes its own, in milliseconds. */
const BEACON_MS = 100;

/**
 * Microseconds since the table was made, the same for all workers within a millisecond.
 *
 * Workers' monotonic clocks begin at different moments. A worker that joins takes the table's time from the calendar,
 * and whoever finds that another one is ahead follows it: so a calendar that was set right between the starts of two
 * workers shifts the time once and does not split it.
 */
export class TableClock {
  readonly #words: Int32Array;
  readonly #clock: Clock;
  #offsetMs: number;

  /** @param offsetMs what the table's time is ahead of the clock's */
  constructor(words: Int32Array, clock: Clock, offsetMs: number) {
    this.#words = words;
    this.#clock = clock;
    this.#offsetMs = offsetMs;
  }

  /** What the table's time is ahead of the clock's. */
  get offsetMs(): number {
    return this.#offsetMs;
  }

  /**
   * Whole microseconds.
   *
   * @param clockMs what the clock said, when the caller has asked it already
   */
  now(clockMs?: number): number {
    const us = Math.floor(((clockMs ?? this.#clock.now()) + this.#offsetMs) * 1000);
    const ms = Math.floor(us / 1000);
    const words = this.#words;
    const ahead = (words[HEADER.latestMs]! - ms) | 0;
    if (ahead > 0) {
      // What the caller saw may be old by now, and only a clock that is behind is a reason to move on: whoever follows
      // for being late is ahead the next time, and the others follow it, so that time would run too fast for all.
      if (clockMs !== undefined) return this.now();
      // To the very millisecond that was written, which is never later than its writer's clock: rounded up, two
      // workers would push each other on for ever.
      const latest = (ms + ahead) * 1000;
      this.#offsetMs += (latest - us) / 1000;
      return latest;
    }
    if (ahead < -BEACON_MS) Atomics.store(words, HEADER.latestMs, ms | 0);
    return us;
  }
}
