/** Asks the limiter whether the request may go on. */

import { FilterError } from "../core/errors.ts";
import { HeaderFields } from "../http/header_fields.ts";
import { problemBody } from "../http/problem_response.ts";
import type { Decision, LimitedDecision } from "../limiter/decision.ts";
import { limitProblem } from "../limiter/limit_headers.ts";
import type { UpstreamResponse } from "../transport/transport.ts";
import type { Exchange } from "./exchange.ts";
import type { Admission } from "./proxy_runtime.ts";
import { settleExchange } from "./settle_exchange.ts";

/**
 * Checks all policies and charges them when all agree; the refusal to give when one does not, otherwise `null`.
 *
 * A refused request costs no server anything.
 *
 * @throws {FilterError} when a function of a policy throws
 */
export function admitRequest(exchange: Exchange): Response | null {
  const { admission } = exchange.runtime;
  if (admission === null) return null;
  const decision = check(exchange, admission);
  exchange.limit = decision;
  switch (decision.kind) {
    case "unlimited":
      return null;
    case "allowed":
      exchange.admissionLease = decision.lease;
      return null;
    case "limited":
      return refuse(exchange, admission, decision);
  }
}

function check(exchange: Exchange, { limiter }: Admission): Decision {
  try {
    return limiter.check(exchange, exchange.startedAt);
  } catch (error) {
    throw error instanceof FilterError ? error : new FilterError("limiter", error);
  }
}

function refuse(exchange: Exchange, { headers }: Admission, decision: LimitedDecision): Response {
  const fields = new HeaderFields();
  fields.list.push(
    "content-type",
    "application/problem+json",
    "cache-control",
    "no-store",
    "connection",
    "close",
  );
  headers.apply(decision, fields);
  const body = problemBody(429, limitProblem(decision));
  const response = new Response(body, { status: 429, headers: [...fields] });
  exchange.status = 429;
  exchange.bytesSent = body.byteLength;
  settleExchange(exchange, null);
  return response;
}

/** Tells the client of a request that was admitted what is left of its limits. */
export function announceLimits(exchange: Exchange, response: UpstreamResponse): void {
  const { limit, runtime: { admission } } = exchange;
  if (admission !== null && limit !== null) admission.headers.apply(limit, response.headers);
}
