/** What each policy of a limiter says about one request. */

import type { Charge } from "./charge.ts";
import type { Decision } from "./decision.ts";
import type { ResolvedPolicy } from "./policy.ts";
import { limitOf } from "./verdict_numbers.ts";

/** What one policy says about one request. */
export interface PolicyDecision {
  /** Whose decision it is. */
  readonly policy: ResolvedPolicy;
  /** What it counts the request by; `""` when it has no key. */
  readonly key: string;
  /** `"would-refuse"` is a refusal on a dry run. One that allows has charged only if none refused. */
  readonly outcome: "allowed" | "refused" | "would-refuse";
  /** Its limit for this key; the capacity, for a token bucket. */
  readonly limit: number;
  /** How much more it allows now. */
  readonly remaining: number;
  /** Milliseconds until it allows the whole limit again; 0 for a concurrency policy, which does not know. */
  readonly resetMs: number;
  /** Milliseconds until it would allow the same request; `Infinity` when waiting does not help. */
  readonly retryAfterMs: number;
}

const NONE: readonly PolicyDecision[] = Object.freeze([]);
const NO_NAMES: readonly string[] = Object.freeze([]);

/** The decision of each policy that applied to a request, in the order of the policies. */
export function policyDecisions(decision: Decision): readonly PolicyDecision[] {
  if (decision.kind === "unlimited") return NONE;
  if (decision.each !== null) return decision.each;
  const { policy, key, limit, remaining, resetMs, retryAfterMs } = decision;
  const refused = decision.kind === "limited";
  const dry = !refused && decision.wouldRefuse.length > 0;
  const outcome = refused ? "refused" : dry ? "would-refuse" : "allowed";
  return [{ policy, key, outcome, limit, remaining, resetMs, retryAfterMs }];
}

/** Names of the policies that would have refused a request, were they not on a dry run. */
export function wouldRefuse(decision: Decision): readonly string[] {
  if (decision.kind === "allowed") return decision.wouldRefuse;
  if (decision.kind === "unlimited" || decision.each === null) return NO_NAMES;
  return decision.each.filter(({ outcome }) => outcome === "would-refuse").map(({ policy }) => policy.name);
}

/** Keeps the verdicts of several charges, before these are used for the next request. */
export function eachDecision(charges: readonly Charge[], count: number, charged: boolean): PolicyDecision[] {
  const each: PolicyDecision[] = [];
  for (let i = 0; i < count; i++) {
    const charge = charges[i]!;
    const { policy, key, cost, verdict } = charge;
    const { admitted, remaining, resetUs, retryAfterUs } = verdict;
    // A verdict tells what is left after the request; one that another policy refused has used nothing up.
    const unused = admitted && !charged ? cost : 0;
    each.push({
      policy,
      key,
      outcome: admitted ? "allowed" : policy.dryRun ? "would-refuse" : "refused",
      limit: limitOf(charge),
      remaining: remaining + unused,
      resetMs: resetUs / 1000,
      retryAfterMs: unused > 0 ? 0 : retryAfterUs / 1000,
    });
  }
  return each;
}
