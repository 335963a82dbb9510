/** What a limiter says about one request. */

import type { Lease } from "../core/lease.ts";
import type { Charge } from "./charge.ts";
import { eachDecision, type PolicyDecision } from "./policy_decision.ts";
import type { ResolvedPolicy } from "./policy.ts";
import { limitOf, windowOf } from "./verdict_numbers.ts";

/** No policy applies to the request. */
export interface UnlimitedDecision {
  /** Which kind of decision this is. */
  readonly kind: "unlimited";
}

/** A policy that charges once the request is over. */
export interface DueCharge {
  /** Which policy. */
  readonly policy: ResolvedPolicy;
  /** What it counts the request by. */
  readonly key: string;
  /** What it has charged so far. */
  readonly cost: number;
}

/** The request may go on, and has been counted. */
export interface AllowedDecision {
  /** Which kind of decision this is. */
  readonly kind: "allowed";
  /** Of the policies that apply, the one with the smallest part of its limit left. */
  readonly policy: ResolvedPolicy;
  /** What it counts the request by. */
  readonly key: string;
  /** Its limit for this key; the capacity, for a token bucket. */
  readonly limit: number;
  /** How much more it allows now. */
  readonly remaining: number;
  /** Milliseconds until it allows the whole limit again; 0 for a concurrency policy, which does not know. */
  readonly resetMs: number;
  /** Milliseconds until it would allow the same request once more; 0 when it would now. */
  readonly retryAfterMs: number;
  /** Milliseconds in which it allows the limit once; 0 for a concurrency policy. */
  readonly windowMs: number;
  /** Names of the policies that would have refused, were they not on a dry run. */
  readonly wouldRefuse: readonly string[];
  /** The places taken of concurrency policies, to be given back when the request is over; `null` when there are none. */
  readonly lease: Lease | null;
  /** The policies that charge once the request is over, until they have; `null` when none does. */
  readonly due: DueCharge[] | null;
  /** The policies that apply: bit `i` for the one at position `i`. */
  readonly applied: number;
  /** What each policy says when there are several; see {@linkcode policyDecisions}. @internal */
  readonly each: readonly PolicyDecision[] | null;
}

/** The request is refused; nothing has been counted, except by policies that penalize. */
export interface LimitedDecision {
  /** Which kind of decision this is. */
  readonly kind: "limited";
  /** Why: too many, the key is banned, the request has no key and needs one, or the store of the counts does not answer. */
  readonly reason: "limit" | "banned" | "missing-key" | "store-error";
  /** Of the policies that refuse, the one that does so for longest. */
  readonly policy: ResolvedPolicy;
  /** What it counts the request by; `""` without a key. */
  readonly key: string;
  /** Its limit for this key; the capacity, for a token bucket. */
  readonly limit: number;
  /** How much more it allows now. */
  readonly remaining: 0;
  /**
   * Milliseconds until the same request would be allowed if nobody else asked with its key; `Infinity` when waiting
   * does not help (no key, or a cost above the limit).
   */
  readonly retryAfterMs: number;
  /** Milliseconds until the policy allows its whole limit again. */
  readonly resetMs: number;
  /** Milliseconds in which it allows the limit once; 0 for a concurrency policy. */
  readonly windowMs: number;
  /** Names of all policies that refuse. */
  readonly violated: readonly string[];
  /** The policies that apply: bit `i` for the one at position `i`. */
  readonly applied: number;
  /** What each policy says when there are several; see {@linkcode policyDecisions}. @internal */
  readonly each: readonly PolicyDecision[] | null;
}

/** The answer of {@linkcode RateLimiter.check}. */
export type Decision = UnlimitedDecision | AllowedDecision | LimitedDecision;

/** The only one of its kind: nothing is allocated for a request without limits. */
export const UNLIMITED: UnlimitedDecision = Object.freeze({ kind: "unlimited" });

const NONE: readonly string[] = Object.freeze([]);

/** The answer for a request that has no key and needs one; waiting does not help it. */
export function missingKeyDecision(policy: ResolvedPolicy): LimitedDecision {
  return {
    kind: "limited",
    reason: "missing-key",
    policy,
    key: "",
    limit: 0,
    remaining: 0,
    retryAfterMs: Infinity,
    resetMs: 0,
    windowMs: policy.windowMs,
    violated: [policy.name],
    applied: 0,
    each: null,
  };
}

/** Makes the answer for a request that was admitted from the verdicts of its charges. */
export function allowedDecision(
  charges: readonly Charge[],
  count: number,
  lease: Lease | null,
  due: DueCharge[] | null,
): AllowedDecision {
  let tightest = charges[0]!;
  let least = Infinity;
  let applied = 0;
  let wouldRefuse = NONE;
  for (let i = 0; i < count; i++) {
    const charge = charges[i]!;
    const { policy, verdict } = charge;
    if (policy.dryRun) {
      if (!verdict.admitted) wouldRefuse = [...wouldRefuse, policy.name];
      continue;
    }
    applied |= 1 << charge.index;
    const part = verdict.remaining / limitOf(charge);
    if (part < least) {
      least = part;
      tightest = charge;
    }
  }
  return {
    kind: "allowed",
    policy: tightest.policy,
    key: tightest.key,
    limit: limitOf(tightest),
    remaining: tightest.verdict.remaining,
    resetMs: tightest.verdict.resetUs / 1000,
    retryAfterMs: tightest.verdict.retryAfterUs / 1000,
    windowMs: windowOf(tightest),
    wouldRefuse,
    lease,
    due,
    applied,
    each: count > 1 ? eachDecision(charges, count, true) : null,
  };
}

/** Makes the answer for a request that was refused from the verdicts of its charges. */
export function limitedDecision(
  charges: readonly Charge[],
  count: number,
  reason: "limit" | "banned" | "store-error",
): LimitedDecision {
  let longest: Charge | null = null;
  let violated = NONE;
  let applied = 0;
  for (let i = 0; i < count; i++) {
    const charge = charges[i]!;
    const { policy, verdict } = charge;
    if (policy.dryRun) continue;
    applied |= 1 << charge.index;
    if (verdict.admitted) continue;
    violated = longest === null ? charge.nameList : [...violated, policy.name];
    if (longest === null || verdict.retryAfterUs > longest.verdict.retryAfterUs) longest = charge;
  }
  const { policy, verdict } = longest!;
  return {
    kind: "limited",
    reason,
    policy,
    key: longest!.key,
    limit: limitOf(longest!),
    remaining: 0,
    retryAfterMs: verdict.retryAfterUs / 1000,
    resetMs: verdict.resetUs / 1000,
    windowMs: windowOf(longest!),
    violated,
    applied,
    each: count > 1 ? eachDecision(charges, count, false) : null,
  };
}
