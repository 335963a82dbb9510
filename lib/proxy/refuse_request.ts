/** The answer to a request that its limits do not allow. */

import { FilterError } from "../core/errors.ts";
import { HeaderFields } from "../http/header_fields.ts";
import { problemBody } from "../http/problem_response.ts";
import type { LimitedDecision } from "../limiter/decision.ts";
import { limitProblem } from "../limiter/limit_headers.ts";
import type { Exchange } from "./exchange.ts";
import { handOver } from "./hand_over.ts";
import type { Admission } from "./proxy_runtime.ts";
import { settleExchange } from "./settle_exchange.ts";

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
  const fields = new HeaderFields();
  fields.list.push(
    "content-type",
    "application/problem+json",
    "cache-control",
    "no-store",
    "connection",
    "close",
  );
  admission.headers.apply(decision, fields);
  const body = problemBody(429, limitProblem(decision));
  const response = new Response(body, { status: 429, headers: [...fields] });
  exchange.status = 429;
  exchange.bytesSent = body.byteLength;
  settleExchange(exchange, null);
  return response;
}

async function refuseByConfig(
  exchange: Exchange,
  { headers }: Admission,
  decision: LimitedDecision,
): Promise<Response> {
  const { policy } = decision;
  const phase = `response of the limiter policy ${JSON.stringify(policy.name)}`;
  let own: Response;
  try {
    own = await policy.response!(decision, exchange);
  } catch (error) {
    throw new FilterError(phase, error);
  }
  if (!(own instanceof Response) || own.bodyUsed) return handOver(exchange, own, phase);
  const { body, status, statusText } = own;
  const fields = new HeaderFields(own.headers);
  // A refusal that a cache keeps is one for everybody (RFC 6585 section 4).
  if (!fields.has("cache-control")) fields.set("cache-control", "no-store");
  const chosen = fields.get("retry-after");
  headers.apply(decision, fields);
  if (chosen !== null) fields.set("retry-after", chosen);
  return handOver(exchange, new Response(body, { status, statusText, headers: [...fields] }), phase);
}
