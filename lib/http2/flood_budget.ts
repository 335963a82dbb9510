/** What the other side may do that costs something and serves nobody. */

/**
 * A bucket of tokens: what is normal never empties it, and what does is an attack (CVE-2019-9512 and its kin, CVE-2023-44487,
 * CVE-2025-8671).
 */
export class FloodBudget {
  readonly #burst: number;
  readonly #perSecond: number;
  #left: number;
  #since: number;

  /** @param now in milliseconds */
  constructor(burst: number, perSecond: number, now: number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#left = burst;
    this.#since = now;
  }

  /** Takes one; tells whether there was one. */
  spend(now: number): boolean {
    if (this.#left < 1) {
      this.#left = Math.min(this.#burst, this.#left + (now - this.#since) * this.#perSecond / 1000);
      this.#since = now;
    }
    return --this.#left >= 0;
  }

  /** Something of use was done, which such frames belong to. */
  earn(count: number): void {
    if (this.#left < this.#burst) this.#left += count;
  }
}
