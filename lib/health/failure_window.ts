/** Counts the requests and failures of the last while. */

const BUCKETS = 10;

/** What a window keeps of each of its tenths: which it is, requests, failures, and the highest rank of a failure. */
const BUCKET_SIZE = 4;
const WHICH = 0;
const REQUESTS = 1;
const FAILURES = 2;
const RANK = 3;

/** Counts requests and failures in a window of time, which moves on in tenths; time is an argument. */
export class FailureWindow {
  readonly #bucketMs: number;
  readonly #numbers: Float64Array;
  #latest = 0;

  /** @param numbers where it counts: 40 of them, which other processes may use as well */
  constructor(windowMs: number, numbers: Float64Array = new Float64Array(BUCKETS * BUCKET_SIZE)) {
    this.#bucketMs = windowMs / BUCKETS;
    this.#numbers = numbers;
  }

  /** Requests in the window. */
  get requests(): number {
    return this.#sum(REQUESTS);
  }

  /** How many of them failed. */
  get failures(): number {
    return this.#sum(FAILURES);
  }

  /** The highest rank of the failures in the window. */
  get highestRank(): number {
    let highest = 0;
    for (let at = 0; at < BUCKETS * BUCKET_SIZE; at += BUCKET_SIZE) {
      if (this.#isIn(at)) highest = Math.max(highest, this.#numbers[at + RANK]!);
    }
    return highest;
  }

  /**
   * Counts a request.
   *
   * @param rank rank of the failure, 1 to 255; 0 is no failure
   */
  record(rank: number, now: number): void {
    // From 1 on: an empty bucket is none of the window's.
    const which = this.#latest = Math.floor(now / this.#bucketMs) + 1;
    const numbers = this.#numbers;
    const at = (which % BUCKETS) * BUCKET_SIZE;
    if (numbers[at + WHICH] !== which) {
      numbers[at + WHICH] = which;
      numbers[at + REQUESTS] = numbers[at + FAILURES] = numbers[at + RANK] = 0;
    }
    numbers[at + REQUESTS]!++;
    if (rank === 0) return;
    numbers[at + FAILURES]!++;
    numbers[at + RANK] = Math.max(rank, numbers[at + RANK]!);
  }

  /** Forgets everything. */
  clear(): void {
    this.#numbers.fill(0, 0, BUCKETS * BUCKET_SIZE);
  }

  #sum(what: number): number {
    let sum = 0;
    for (let at = 0; at < BUCKETS * BUCKET_SIZE; at += BUCKET_SIZE) {
      if (this.#isIn(at)) sum += this.#numbers[at + what]!;
    }
    return sum;
  }

  #isIn(at: number): boolean {
    return this.#numbers[at + WHICH]! > this.#latest - BUCKETS;
  }
}
