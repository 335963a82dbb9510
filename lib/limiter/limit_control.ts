/** What may be done with limits while they are at work. */

import type { Duration } from "../core/units.ts";
import { type Charge, limitOf } from "./charge.ts";
import type { MemoryStore } from "./memory_store.ts";
import type { ResolvedPolicy } from "./policy.ts";

/** The limits of a running proxy, for programs. */
export interface LimitControl {
  /** The policies, complete. */
  readonly policies: readonly ResolvedPolicy[];

  /**
   * What policies have counted for a key; those whose limit is a function are left out. Of a `store` that machines share
   * this is only what the instance has counted by itself while the store did not answer.
   *
   * @param policyName of the policy that is meant; all when left out
   * @throws {RangeError} when there is no such policy
   */
  statusOf(key: string, policyName?: string): PolicyStatus[];

  /**
   * Forgets what was counted for a key, and lifts its ban.
   *
   * @param policyName of the policy whose count is meant; all when left out
   * @throws {RangeError} when there is no such policy
   */
  reset(key: string, policyName?: string): void;

  /**
   * Refuses everything that has the key for some time.
   *
   * @param duration `"10m"`, or milliseconds
   * @param policyName of the policy whose keys are meant; all when left out
   * @returns `false` when there was no room to write it down for all of these policies
   * @throws {RangeError} when there is no such policy
   * @throws {TypeError} when the duration is none
   */
  ban(key: string, duration: Duration, policyName?: string): boolean;
}

// What policies would say, asked without counting.

/** What one policy says about a request, without counting it. */
export interface PolicyStatus {
  /** Whose status it is. */
  readonly policy: ResolvedPolicy;
  /** What it counts the request by. */
  readonly key: string;
  /** Its limit for this key; the capacity, for a token bucket. */
  readonly limit: number;
  /** How much it allows now. */
  readonly remaining: number;
  /** Milliseconds until it allows the whole limit again. */
  readonly resetMs: number;
  /** 0 when the request would be admitted. */
  readonly retryAfterMs: number;
}

/** Prepares a charge without a request; `false` when its numbers depend on one. */
export function setConstants(charge: Charge): boolean {
  const { policy: { limit, burst, cost }, rule } = charge;
  if (typeof limit === "function" || typeof burst === "function") return false;
  rule.limit = limit;
  rule.burst = burst ?? limit;
  charge.cost = typeof cost === "number" ? cost : 1;
  return true;
}

/** Asks for the status of each charge. */
export function statusOf(store: MemoryStore, charges: readonly Charge[]): PolicyStatus[] {
  store.peek(charges, charges.length);
  const waits = charges.map(({ verdict }) => verdict.admitted ? 0 : verdict.retryAfterUs / 1000);
  // A second look at no cost: what is left before the request and not after it.
  for (const charge of charges) charge.cost = 0;
  store.peek(charges, charges.length);
  return charges.map((charge, i) => ({
    policy: charge.policy,
    key: charge.key,
    limit: limitOf(charge),
    remaining: charge.verdict.remaining,
    resetMs: charge.verdict.resetUs / 1000,
    retryAfterMs: waits[i]!,
  }));
}
