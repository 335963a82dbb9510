/** Admission of a request: by the overload limit of the proxy, and by the limiter. */

import { FilterError } from "../core/errors.ts";
import type { PolicyMeters } from "../observe/metrics/meters.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import type { Decision, LimitedDecision } from "../limiter/policy.ts";
import { completeRefusal, refusalFields, refusalStatus } from "../limiter/limit_headers.ts";
import type { Exchange } from "./exchange.ts";
import { bytesReply, checkResponse, filterReply, replyLocally } from "./local_reply.ts";
import type { Admission } from "./proxy_runtime.ts";
import { runFilter } from "./run_filter.ts";

/**
 * Admits a request when the proxy has capacity for it; returns a promise only when it has to wait.
 *
 * @throws {OverloadError} 503 when it is refused
 */
export function limitOverload(exchange: Exchange): void | Promise<void> {
  const { runtime: { overload }, cancellation } = exchange;
  if (overload === null) return;
  const entered = overload.enter(cancellation);
  if (!(entered instanceof Promise)) {
    exchange.entered = true;
    return;
  }
  return entered.then(() => {
    exchange.entered = true;
  });
}

/**
 * Checks all policies and charges them when all allow the request; replies with the refusal when one does not.
 *
 * A refused request costs servers nothing. Returns a promise only where counts are stored elsewhere, or where a
 * `response` of the configuration is async.
 *
 * @throws {FilterError} when a function of a policy throws
 */
export function admitRequest(exchange: Exchange): void | Promise<void> {
  const { admission } = exchange;
  if (admission === null) return;
  const decision = decide(exchange, admission);
  return decision instanceof Promise
    ? decision.then((late) => applyDecision(exchange, admission, late))
    : applyDecision(exchange, admission, decision);
}

function decide(exchange: Exchange, { limiter }: Admission): Decision | Promise<Decision> {
  try {
    return limiter.decide(exchange, exchange.startedAt);
  } catch (error) {
    throw error instanceof FilterError ? error : new FilterError("limiter", error);
  }
}

function applyDecision(exchange: Exchange, admission: Admission, decision: Decision): void | Promise<void> {
  exchange.decision = decision;
  const { policyMeters } = exchange.runtime;
  if (policyMeters !== null) countDecision(policyMeters, decision);
  if (decision.kind === "allowed") exchange.admissionLease = decision.lease;
  else if (decision.kind === "limited") return refuse(exchange, admission, decision);
}

function countDecision(meters: PolicyMeters, decision: Decision): void {
  if (decision.kind === "unlimited") return;
  const reason = decision.kind === "allowed"
    ? decision.wouldRefuse.length > 0 ? "would_refuse" : "allowed"
    : REASONS[decision.reason];
  const { each, policy } = decision;
  if (each === null) return meters.decided(policy.name, reason);
  for (let i = 0; i < each.length; i++) {
    const { policy: { name }, outcome } = each[i]!;
    meters.decided(
      name,
      outcome === "allowed" ? "allowed" : outcome === "would-refuse" ? "would_refuse" : reason,
    );
  }
}

const REASONS = {
  "limit": "refused",
  "banned": "banned",
  "missing-key": "missing_key",
  "store-error": "store_error",
} as const;

/** Replies with a 429, or with the result of the policy's `response`. */
function refuse(exchange: Exchange, admission: Admission, decision: LimitedDecision): void | Promise<void> {
  const { policy } = decision;
  if (policy.response !== null) return refuseByConfig(exchange, admission, decision);
  const fields = refusalFields(decision, admission.headers);
  if (!policy.keepAlive) fields.list.push("connection", "close");
  replyLocally(exchange, bytesReply(refusalStatus(decision), fields, admission.bodies.get(decision)));
}

async function refuseByConfig(
  exchange: Exchange,
  { headers }: Admission,
  decision: LimitedDecision,
): Promise<void> {
  const { policy } = decision;
  const phase = `response of the limiter policy ${JSON.stringify(policy.name)}`;
  const own = await runFilter(phase, policy.response!, decision, exchange);
  exchange.throwIfCancelled();
  checkResponse(own, phase);
  replyLocally(exchange, filterReply(exchange, completeRefusal(own, decision, headers), phase));
}

/** Adds the remaining limits of an admitted request to its response. */
export function announceLimits(exchange: Exchange, headers: HeaderFields): void {
  const { decision, admission } = exchange;
  if (admission !== null && decision !== null) admission.headers.apply(decision, headers);
}
