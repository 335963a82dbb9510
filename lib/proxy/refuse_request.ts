/** The answer to a request that its limits do not allow. */

import { makeResponse } from "../http/make_response.ts";
import type { LimitedDecision } from "../limiter/decision.ts";
import { completeRefusal, refusalFields, refusalStatus } from "../limiter/refusal.ts";
import { editOwnResponse } from "./edit_own_response.ts";
import type { Exchange } from "./exchange.ts";
import { handOver, handOverMeasured } from "./hand_over.ts";
import type { Admission } from "./proxy_runtime.ts";
import { runFilter } from "./run_filter.ts";

/**
 * Settles the exchange with a 429, or with what the policy's own `response` makes.
 *
 * @throws {FilterError} when `response` throws or returns something else
 */
export function refuseRequest(
  exchange: Exchange,
  admission: Admission,
  decision: LimitedDecision,
): Response | Promise<Response> {
  if (decision.policy.response !== null) return refuseByConfig(exchange, admission, decision);
  const fields = refusalFields(decision, admission.headers);
  if (!decision.policy.keepAlive) fields.list.push("connection", "close");
  const status = refusalStatus(decision);
  const body = admission.bodies.get(decision);
  return handOverMeasured(exchange, { response: makeResponse(status, fields.list, body), body });
}

async function refuseByConfig(
  exchange: Exchange,
  { headers }: Admission,
  decision: LimitedDecision,
): Promise<Response> {
  const { policy } = decision;
  const phase = `response of the limiter policy ${JSON.stringify(policy.name)}`;
  const own = await runFilter(phase, policy.response!, decision, exchange);
  if (!(own instanceof Response) || own.bodyUsed) return handOver(exchange, own, phase);
  return handOver(exchange, editOwnResponse(exchange, completeRefusal(own, decision, headers)), phase);
}
