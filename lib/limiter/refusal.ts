/** What a client that is refused gets. */

import { HeaderFields } from "../http/header_fields.ts";
import { withHead } from "../http/make_response.ts";
import { problemBody } from "../http/problem_response.ts";
import type { LimitedDecision } from "./policy.ts";
import { type LimitHeaders, limitProblem } from "./limit_headers.ts";

/** The status of a refusal: whoever cannot be counted has not asked too often. */
export function refusalStatus({ reason }: LimitedDecision): 429 | 503 {
  return reason === "store-error" ? 503 : 429;
}

/** The problem document (RFC 9457) of a refusal. */
export function refusalBody(decision: LimitedDecision): Uint8Array<ArrayBuffer> {
  return problemBody(refusalStatus(decision), limitProblem(decision));
}

/** The fields that go with it. */
export function refusalFields(decision: LimitedDecision, headers: LimitHeaders): HeaderFields {
  const fields = new HeaderFields();
  // A refusal that a cache keeps is one for everybody (RFC 6585 section 4).
  fields.list.push("content-type", "application/problem+json", "cache-control", "no-store");
  headers.apply(decision, fields);
  return fields;
}

/**
 * A response of the configuration's own as a refusal: fields that it lacks are added, those that it has are kept.
 *
 * @param own not read yet
 */
export function completeRefusal(own: Response, decision: LimitedDecision, headers: LimitHeaders): Response {
  const fields = new HeaderFields(own.headers);
  if (!fields.has("cache-control")) fields.set("cache-control", "no-store");
  const retryAfter = fields.get("retry-after");
  headers.apply(decision, fields);
  if (retryAfter !== null) fields.set("retry-after", retryAfter);
  return withHead(own, { status: own.status, headers: fields });
}
