/** Asks the limiter whether the request may go on. */

import { FilterError } from "../core/errors.ts";
import type { Decision } from "../limiter/decision.ts";
import type { UpstreamResponse } from "../transport/transport.ts";
import type { Exchange } from "./exchange.ts";
import type { Admission } from "./proxy_runtime.ts";
import { refuseRequest } from "./refuse_request.ts";

/**
 * Checks all policies and charges them when all agree; the refusal to give when one does not, otherwise `null`.
 *
 * A refused request costs no server anything. A promise only where the counts are kept elsewhere, or an answer of the
 * configuration's own takes its time.
 *
 * @throws {FilterError} when a function of a policy throws
 */
export function admitRequest(exchange: Exchange): Response | null | Promise<Response | null> {
  const { admission } = exchange;
  if (admission === null) return null;
  const decision = decide(exchange, admission);
  return decision instanceof Promise
    ? admitLater(exchange, admission, decision)
    : obey(exchange, admission, decision);
}

function decide(exchange: Exchange, { limiter }: Admission): Decision | Promise<Decision> {
  try {
    return limiter.decide(exchange, exchange.startedAt);
  } catch (error) {
    throw error instanceof FilterError ? error : new FilterError("limiter", error);
  }
}

async function admitLater(
  exchange: Exchange,
  admission: Admission,
  decision: Promise<Decision>,
): Promise<Response | null> {
  const response = obey(exchange, admission, await decision);
  // What the request holds by now is given back with the exchange.
  exchange.throwIfCancelled();
  return await response;
}

function obey(
  exchange: Exchange,
  admission: Admission,
  decision: Decision,
): Response | null | Promise<Response> {
  exchange.decision = decision;
  switch (decision.kind) {
    case "unlimited":
      return null;
    case "allowed":
      exchange.admissionLease = decision.lease;
      return null;
    case "limited":
      return refuseRequest(exchange, admission, decision);
  }
}

/** Tells the client of a request that was admitted what is left of its limits. */
export function announceLimits(exchange: Exchange, response: Pick<UpstreamResponse, "headers">): void {
  const { decision, admission } = exchange;
  if (admission !== null && decision !== null) admission.headers.apply(decision, response.headers);
}
