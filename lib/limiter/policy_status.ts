/** What policies would say, asked without counting. */

import type { Charge } from "./charge.ts";
import type { MemoryStore } from "./memory_store.ts";
import type { ResolvedPolicy } from "./policy.ts";
import { limitOf } from "./verdict_numbers.ts";

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
