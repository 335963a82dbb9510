/** Makes the decision about a request from the verdicts of its charges. */

import type { Lease } from "../core/cancellation.ts";
import { type Charge, limitOf, windowOf } from "./charge.ts";
import type {
  AllowedDecision,
  Decision,
  DueCharge,
  LimitedDecision,
  PolicyDecision,
  ResolvedPolicy,
} from "./policy.ts";

/** A single object: nothing is allocated for a request without limits. */
export const UNLIMITED: Decision = Object.freeze({ kind: "unlimited" });

const NO_NAMES: readonly string[] = Object.freeze([]);

/** The decision for a request without the required key; waiting does not help. */
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

/** Makes the decision for an admitted request from the verdicts of its charges. */
export function allowedDecision(
  charges: readonly Charge[],
  count: number,
  lease: Lease | null,
  due: DueCharge[] | null,
): AllowedDecision {
  let tightest = charges[0]!;
  let least = Infinity;
  let applied = 0;
  let wouldRefuse = NO_NAMES;
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

/** Makes the decision for a refused request from the verdicts of its charges. */
export function limitedDecision(
  charges: readonly Charge[],
  count: number,
  reason: "limit" | "banned" | "store-error",
): LimitedDecision {
  let longest: Charge | null = null;
  let violated = NO_NAMES;
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

const NO_DECISIONS: readonly PolicyDecision[] = Object.freeze([]);

/** The decision of each policy that applied to a request, in the order of the policies. */
export function policyDecisions(decision: Decision): readonly PolicyDecision[] {
  if (decision.kind === "unlimited") return NO_DECISIONS;
  if (decision.each !== null) return decision.each;
  const { policy, key, limit, remaining, resetMs, retryAfterMs } = decision;
  const refused = decision.kind === "limited";
  const dry = !refused && decision.wouldRefuse.length > 0;
  const outcome = refused ? "refused" : dry ? "would-refuse" : "allowed";
  return [{ policy, key, outcome, limit, remaining, resetMs, retryAfterMs }];
}

/** Names of the policies on a dry run that would have refused a request. */
export function wouldRefuse(decision: Decision): readonly string[] {
  if (decision.kind === "allowed") return decision.wouldRefuse;
  if (decision.kind === "unlimited" || decision.each === null) return NO_NAMES;
  return decision.each.filter(({ outcome }) => outcome === "would-refuse").map(({ policy }) => policy.name);
}

/** Copies the verdicts of several charges before these are reused for the next request. */
function eachDecision(charges: readonly Charge[], count: number, charged: boolean): PolicyDecision[] {
  const each: PolicyDecision[] = [];
  for (let i = 0; i < count; i++) {
    const charge = charges[i]!;
    const { policy, key, cost, verdict } = charge;
    const { admitted, remaining, resetUs, retryAfterUs } = verdict;
    // A verdict has the remainder after the request. If another policy refused the request, it has used nothing.
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
