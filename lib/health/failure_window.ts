/** How many of the last requests failed. */

const BUCKETS = 10;

/** Counts requests of the last while, in ten parts of it that are forgotten one by one; time is an argument. */
export class FailureWindow {
  readonly #bucketMs: number;
  readonly #requests = new Uint32Array(BUCKETS);
  readonly #failures = new Uint32Array(BUCKETS);
  #bucket = 0;

  constructor(windowMs: number) {
    this.#bucketMs = windowMs / BUCKETS;
  }

  /** Requests in the window. */
  requests = 0;
  /** How many of them failed. */
  failures = 0;

  /** Counts a request. */
  record(failed: boolean, now: number): void {
    this.#moveTo(Math.floor(now / this.#bucketMs));
    const index = this.#bucket % BUCKETS;
    this.#requests[index]!++;
    this.requests++;
    if (!failed) return;
    this.#failures[index]!++;
    this.failures++;
  }

  /** Forgets everything. */
  clear(): void {
    this.#requests.fill(0);
    this.#failures.fill(0);
    this.requests = this.failures = 0;
  }

  #moveTo(bucket: number): void {
    const steps = Math.min(BUCKETS, bucket - this.#bucket);
    for (let step = 1; step <= steps; step++) {
      const index = (bucket - steps + step) % BUCKETS;
      this.requests -= this.#requests[index]!;
      this.failures -= this.#failures[index]!;
      this.#requests[index] = this.#failures[index] = 0;
    }
    if (steps > 0) this.#bucket = bucket;
  }
}
