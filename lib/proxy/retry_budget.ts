/** Bounds retries to a share of the requests: without it, servers that fail for having too much to do get more of it. */

import type { RetryPolicy } from "../config/retry_options.ts";

/** The window that requests and retries are counted over, and the parts that it moves by. */
const PARTS = 10;
const PART_MS = 1000;

/** Counts the requests and the retries of the last ten seconds. */
export class RetryBudget {
  readonly #percent: number;
  readonly #least: number;
  readonly #requests = new Float64Array(PARTS);
  readonly #retries = new Float64Array(PARTS);
  #part = -1;

  constructor({ percent, min }: NonNullable<RetryPolicy["budget"]>) {
    this.#percent = percent;
    this.#least = min * PARTS * PART_MS / 1000;
  }

  /** Counts a request; `now` in milliseconds. */
  request(now: number): void {
    this.#requests[this.#turnTo(now)]!++;
  }

  /** Takes a retry out of the budget, also when it has to wait; tells whether there was one left. */
  take(now: number): boolean {
    const part = this.#turnTo(now);
    let requests = 0;
    let retries = 0;
    for (let i = 0; i < PARTS; i++) {
      requests += this.#requests[i]!;
      retries += this.#retries[i]!;
    }
    if (retries >= Math.max(this.#least, requests * this.#percent / 100)) return false;
    this.#retries[part]!++;
    return true;
  }

  /** Forgets what is older than the window. */
  #turnTo(now: number): number {
    // A request that was read a moment ago may come after one that arrived since.
    const part = Math.max(Math.floor(now / PART_MS), this.#part);
    if (part !== this.#part) {
      const passed = this.#part === -1 ? PARTS : Math.min(part - this.#part, PARTS);
      for (let i = 0; i < passed; i++) {
        this.#requests[(part - i) % PARTS] = this.#retries[(part - i) % PARTS] = 0;
      }
      this.#part = part;
    }
    return part % PARTS;
  }
}
