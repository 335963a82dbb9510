/** Counts the requests and failures of the last while. */

const BUCKETS = 10;

/** Counts requests and failures in a window of time, which moves on in tenths; time is an argument. */
export class FailureWindow {
  readonly #bucketMs: number;
  readonly #requests = new Uint32Array(BUCKETS);
  readonly #failures = new Uint32Array(BUCKETS);
  /** The highest rank of the failures in each tenth. */
  readonly #ranks = new Uint8Array(BUCKETS);
  #bucket = 0;

  constructor(windowMs: number) {
    this.#bucketMs = windowMs / BUCKETS;
  }

  /** Requests in the window. */
  requests = 0;
  /** How many of them failed. */
  failures = 0;

  /** The highest rank of the failures in the window. */
  get highestRank(): number {
    return Math.max(...this.#ranks);
  }

  /**
   * Counts a request.
   *
   * @param rank rank of the failure, 1 to 255; 0 is no failure
   */
  record(rank: number, now: number): void {
    this.#moveTo(Math.floor(now / this.#bucketMs));
    const index = this.#bucket % BUCKETS;
    this.#requests[index]!++;
    this.requests++;
    if (rank === 0) return;
    this.#ranks[index] = Math.max(rank, this.#ranks[index]!);
    this.#failures[index]!++;
    this.failures++;
  }

  /** Forgets everything. */
  clear(): void {
    this.#requests.fill(0);
    this.#failures.fill(0);
    this.#ranks.fill(0);
    this.requests = this.failures = 0;
  }

  #moveTo(bucket: number): void {
    const steps = Math.min(BUCKETS, bucket - this.#bucket);
    for (let step = 1; step <= steps; step++) {
      const index = (bucket - steps + step) % BUCKETS;
      this.requests -= this.#requests[index]!;
      this.failures -= this.#failures[index]!;
      this.#requests[index] = this.#failures[index] = this.#ranks[index] = 0;
    }
    if (steps > 0) this.#bucket = bucket;
  }
}
