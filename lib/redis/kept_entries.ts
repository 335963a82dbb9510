/** Local decisions of a Redis store: from prefetched tokens, and for keys known to be refused. */

import type { Charge } from "../limiter/charge.ts";

/** Maximum number of stored grants; the oldest is dropped first, with its remaining tokens. */
const MAX_GRANTS = 10_000;

/** A grant and its unused tokens. */
interface TokenGrant {
  left: number;
  /** Clock time in microseconds. */
  readonly untilUs: number;
  /** For each charge the remainder in addition to the grant, and when the whole limit is available again. */
  readonly remaining: readonly number[];
  readonly resetAtUs: readonly number[];
}

/**
 * Grants by everything that a request is counted by.
 *
 * A grant ends with the first of its windows, counted from its request: so a fixed window never admits more than its
 * limit. Unused tokens are lost then. A sliding window or a bucket may admit up to `size - 1` more per instance within
 * an interval, which were taken before it.
 */
export class PrefetchedTokens {
  readonly #size: number;
  readonly #grants: Map<string, TokenGrant> = new Map();

  /** @param size tokens taken at a time; 1 for no prefetching */
  constructor(size: number) {
    this.#size = size;
  }

  /** How often the store has to count the request: more than once to prefetch tokens. */
  timesFor(charges: readonly Charge[], count: number): number {
    if (this.#size === 1) return 1;
    for (let i = 0; i < count; i++) {
      const { policy: { algorithm, penalize, dryRun, charge } } = charges[i]!;
      // Each of these needs every single request.
      if (algorithm === "concurrency" || penalize || dryRun || charge !== null) return 1;
    }
    return this.#size;
  }

  /** Admits the request from a grant, if there is one, and sets the verdicts. */
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

  /** Stores the grant beyond one request; the verdicts count it as remaining. */
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

  /** Drops all grants: the count of a key has changed. */
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

// Keys that a store has refused until a known time, so that a flood of such requests costs it nothing.

/** Maximum number of stored refusals; the oldest is dropped first. */
const MAX_REFUSALS = 10_000;

/** The numbers of a refused request, and the end of the refusal. */
interface Refusal {
  readonly cost: number;
  readonly limit: number;
  readonly burst: number;
  /** Clock time in microseconds. */
  readonly untilUs: number;
  readonly resetAtUs: number;
}

/**
 * Stores refusals by the key in the store.
 *
 * Later requests can only extend the wait of a key, so a refusal is valid until its end, for the same or a higher cost
 * and the same or a lower limit. A `reset` by another instance takes effect here after that time.
 */
export class RefusedKeys {
  readonly #refusals: Map<string, Refusal> = new Map();

  /** Whether any of the keys is known to be refused; sets the verdicts if so. */
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
   * Stores the refusals of a request.
   *
   * @param askedUs time of the request to the store, before its decision: so no refusal lasts longer than the store
   * said
   */
  add(charges: readonly Charge[], count: number, keys: readonly string[], askedUs: number): void {
    if (penalizes(charges, count)) return;
    for (let i = 0; i < count; i++) {
      const { policy, verdict, cost, rule } = charges[i]!;
      if (verdict.admitted || policy.dryRun || policy.algorithm === "concurrency") continue;
      // A later refund, by any instance, may admit requests before the end of the refusal.
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

  /** Deletes the refusal of a key. */
  delete(key: string): void {
    this.#refusals.delete(key);
  }
}

/** Refused requests count for such a policy, so each must reach the store. */
function penalizes(charges: readonly Charge[], count: number): boolean {
  for (let i = 0; i < count; i++) if (charges[i]!.policy.penalize) return true;
  return false;
}
