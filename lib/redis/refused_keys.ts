/** Keys that a store has refused until a known time, so that a flood of them costs it nothing. */

import type { Charge } from "../limiter/charge.ts";

/** How many are remembered at most; the oldest go first. */
const CAPACITY = 10_000;

/** What a refusal was about. */
interface Refusal {
  readonly cost: number;
  readonly limit: number;
  readonly burst: number;
  /** Clock time in microseconds. */
  readonly untilUs: number;
  readonly resetAtUs: number;
}

/**
 * Remembers refusals by the key in the store.
 *
 * What counts against a key only makes it wait longer, so a refusal holds until its time, for the same or a higher cost
 * and the same or a lower limit. A `reset` in another instance is noticed when that time has come.
 */
export class RefusedKeys {
  readonly #refusals: Map<string, Refusal> = new Map();

  /** Whether any of the keys is known to be refused; the verdicts then say so. */
  find(charges: readonly Charge[], count: number, keys: readonly string[], nowUs: number): boolean {
    if (this.#refusals.size === 0 || penalizes(charges, count)) return false;
    let found = false;
    for (let i = 0; i < count; i++) {
      const { verdict, cost, rule } = charges[i]!;
      const refusal = this.#refusals.get(keys[i]!);
      verdict.admitted = true;
      if (refusal === undefined) continue;
      if (refusal.untilUs <= nowUs) {
        this.#refusals.delete(keys[i]!);
      } else if (cost >= refusal.cost && rule.limit <= refusal.limit && rule.burst <= refusal.burst) {
        verdict.admitted = false;
        verdict.remaining = 0;
        verdict.retryAfterUs = cost > rule.burst ? Infinity : refusal.untilUs - nowUs;
        verdict.resetUs = refusal.resetAtUs - nowUs;
        found = true;
      }
    }
    return found;
  }

  /**
   * Takes note of what refused a request.
   *
   * @param askedUs when the store was asked: it decided later, so nobody is kept out for longer than it said
   */
  add(charges: readonly Charge[], count: number, keys: readonly string[], askedUs: number): void {
    if (penalizes(charges, count)) return;
    for (let i = 0; i < count; i++) {
      const { policy, verdict, cost, rule } = charges[i]!;
      if (verdict.admitted || policy.dryRun || policy.algorithm === "concurrency") continue;
      // What is taken back afterwards, by whichever instance, lets others in before the time that was said.
      if (verdict.retryAfterUs === Infinity || policy.charge !== null) continue;
      const key = keys[i]!;
      this.#refusals.delete(key);
      this.#refusals.set(key, {
        cost,
        limit: rule.limit,
        burst: rule.burst,
        untilUs: askedUs + verdict.retryAfterUs,
        resetAtUs: askedUs + verdict.resetUs,
      });
      if (this.#refusals.size > CAPACITY) this.#refusals.delete(this.#refusals.keys().next().value!);
    }
  }

  /** Forgets a key. */
  delete(key: string): void {
    this.#refusals.delete(key);
  }
}

/** Refused requests count for such a policy, so each of them has to reach the store. */
function penalizes(charges: readonly Charge[], count: number): boolean {
  for (let i = 0; i < count; i++) if (charges[i]!.policy.penalize) return true;
  return false;
}
