/** When a server counts as up and when as down, by what its checks say. */

import type { Health } from "../upstream/server.ts";

/** How many checks in a row it takes. */
export interface HealthThresholds {
  /** Passes in a row that take a server from down to up. */
  readonly rise: number;
  /** Failures in a row that take a server from up to down. */
  readonly fall: number;
}

/**
 * Counts the results of checks that contradict what is believed, in a row.
 *
 * A result that agrees starts the count anew: a server that fails once a day never adds up to being down. The
 * first result of a server that was never checked decides alone.
 */
export class HealthState {
  readonly #thresholds: HealthThresholds;
  #health: Health;
  #against = 0;

  constructor(thresholds: HealthThresholds, initial: Health = "checking") {
    this.#thresholds = thresholds;
    this.#health = initial;
  }

  /** What is believed. */
  get health(): Health {
    return this.#health;
  }

  /** Takes a result in; tells whether what is believed has changed by it. */
  observe(passed: boolean): boolean {
    const seen = passed ? "up" : "down";
    if (seen === this.#health) {
      this.#against = 0;
      return false;
    }
    this.#against++;
    const { rise, fall } = this.#thresholds;
    if (this.#health !== "checking" && this.#against < (passed ? rise : fall)) return false;
    this.#health = seen;
    this.#against = 0;
    return true;
  }
}
