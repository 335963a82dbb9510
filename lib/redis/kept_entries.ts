/** What a Redis store decides without asking Redis: from tokens taken in advance, and for keys known to be refused. */

import type { Charge } from "../limiter/charge.ts";

/** How many grants are kept at most; the oldest go first, and with them what is left of them. */
const MAX_GRANTS = 10_000;

/** What was granted and has not been used. */
interface TokenGrant {
  left: number;
  /** Clock time in microseconds. */
  readonly untilUs: number;
  /** For each charge what remains beside the grant, and when all is there again. */
  readonly remaining: readonly number[];
  readonly resetAtUs: readonly number[];
}

/**
 * Grants by all that a request is counted by.
 *
 * A grant ends with the first of its windows, counted from when it was asked for: so a fixed window never admits more than
 * its limit. What is not used until then is lost. A sliding window or a bucket may admit up to `size - 1` more for each
 * instance within an interval, which were taken before it.
 */
export class PrefetchedTokens {
  readonly #size: number;
  readonly #grants: Map<string, TokenGrant> = new Map();

  /** @param size how much is taken at a time; 1 for no prefetching */
  constructor(size: number) {
    this.#size = size;
  }

  /** How often to count the request at the store: more than once when the rest is to be kept. */
  timesFor(charges: readonly Charge[], count: number): number {
    if (this.#size === 1) return 1;
    for (let i = 0; i < count; i++) {
      const { policy: { algorithm, penalize, dryRun, charge } } = charges[i]!;
      // Each of them needs to know of every single request.
      if (algorithm === "concurrency" || penalize || dryRun || charge !== null) return 1;
    }
    return this.#size;
  }

  /** Admits the request from a grant, when there is one; the verdicts then say so. */
  take(charges: readonly Charge[], count: number, keys: readonly string[], nowUs: number): boolean {
    if (this.#grants.size === 0) return false;
    const id = idOf(charges, count, keys);
    const grant = this.#grants.get(id);
    if (grant === undefined) return false;
    if (grant.untilUs <= nowUs) {
      this.#grants.delete(id);
      return false;
    }
    if (--grant.left === 0) this.#grants.delete(id);
    for (let i = 0; i < count; i++) {
      const { verdict, cost } = charges[i]!;
      charges[i]!.place = "store";
      verdict.admitted = true;
      verdict.remaining = grant.remaining[i]! + Math.floor(grant.left * cost);
      verdict.retryAfterUs = 0;
      verdict.resetUs = Math.max(0, grant.resetAtUs[i]! - nowUs);
    }
    return true;
  }

  /** Keeps what was granted beyond one request; the verdicts count it as remaining. */
  keep(
    charges: readonly Charge[],
    count: number,
    keys: readonly string[],
    granted: number,
    askedUs: number,
  ): void {
    if (granted <= 1) return;
    const list = charges.slice(0, count);
    const id = idOf(charges, count, keys);
    this.#grants.delete(id);
    this.#grants.set(id, {
      left: granted - 1,
      untilUs: askedUs +
        Math.min(...list.map(({ verdict, rule }) => Math.min(verdict.resetUs, rule.windowUs))),
      remaining: list.map(({ verdict }) => verdict.remaining),
      resetAtUs: list.map(({ verdict }) => askedUs + verdict.resetUs),
    });
    for (const { verdict, cost } of list) verdict.remaining += Math.floor((granted - 1) * cost);
    if (this.#grants.size > MAX_GRANTS) this.#grants.delete(this.#grants.keys().next().value!);
  }

  /** Forgets all grants: some key's count is not what it was. */
  clear(): void {
    this.#grants.clear();
  }
}

function idOf(charges: readonly Charge[], count: number, keys: readonly string[]): string {
  let id = "";
  for (let i = 0; i < count; i++) {
    const { cost, rule } = charges[i]!;
    id += `${cost} ${rule.limit} ${rule.burst} ${keys[i]!}\n`;
  }
  return id;
}

// Keys that a store has refused until a known time, so that a flood of them costs it nothing.

/** How many are remembered at most; the oldest go first. */
const MAX_REFUSALS = 10_000;

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
      if (this.#refusals.size > MAX_REFUSALS) this.#refusals.delete(this.#refusals.keys().next().value!);
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
