/** Numbers of a verdict as clients are told them, and as the table keeps them. */

import type { Charge } from "./charge.ts";
import { FULL_USE, PINNED } from "./table_layout.ts";

/** The limit for a key; the capacity, for a token bucket. */
export function limitOf({ policy, rule }: Charge): number {
  return policy.algorithm === "token-bucket" ? rule.burst : rule.limit;
}

/** Milliseconds in which a policy allows its limit once; 0 for a concurrency policy. */
export function windowOf({ policy, rule }: Charge): number {
  if (policy.algorithm === "concurrency") return 0;
  if (policy.algorithm !== "token-bucket" || rule.limit === 0) return policy.windowMs;
  return rule.burst * policy.windowMs / rule.limit;
}

/** How much of its limit a key has used with the verdict, as its entry says. */
export function useOf(charge: Charge): number {
  const { policy: { algorithm, charge: later }, verdict: { remaining }, rule } = charge;
  // What is given or taken back later has to find its entry.
  if (later !== null || algorithm === "concurrency") return PINNED;
  const limit = algorithm === "token-bucket" ? rule.burst : rule.limit;
  if (remaining === 0) return FULL_USE;
  // A division for each request would cost more than all else that is done for it here.
  if (limit !== charge.sharedLimit) {
    charge.sharedLimit = limit;
    charge.shareOfOne = FULL_USE / limit;
  }
  return ((limit - remaining) * charge.shareOfOne) | 0;
}

/** A share of a limit, of `FULL_USE`. */
export function shareOf(used: number, limit: number): number {
  return used >= limit ? FULL_USE : Math.floor(used / limit * FULL_USE);
}
