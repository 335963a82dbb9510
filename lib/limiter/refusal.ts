/** What a client that is refused gets. */

import { HeaderFields } from "../http/header_fields.ts";
import { problemBody, withHead } from "../http/make_response.ts";
import { type LimitHeaders, limitProblem } from "./limit_headers.ts";
import type { LimitedDecision } from "./policy.ts";

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

// Problem documents of refusals, made once where they are always the same.

/**
 * Keeps the documents of refusals by one policy's limit, which say nothing but its name.
 *
 * Making one costs a fifth of what a refused request costs altogether; whoever is refused may come very often.
 */
export class RefusalBodies {
  readonly #byPolicy = new Map<string, Uint8Array<ArrayBuffer>>();

  /** The same as {@linkcode refusalBody}; not to be written to. */
  get(decision: LimitedDecision): Uint8Array<ArrayBuffer> {
    const { reason, violated } = decision;
    if (reason !== "limit" || violated.length !== 1) return refusalBody(decision);
    const name = violated[0]!;
    let body = this.#byPolicy.get(name);
    if (body === undefined) {
      body = refusalBody(decision);
      this.#byPolicy.set(name, body);
    }
    return body;
  }
}
