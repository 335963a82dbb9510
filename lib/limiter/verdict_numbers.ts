/** Numbers of a verdict as clients are told them. */

import type { Charge } from "./charge.ts";

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
