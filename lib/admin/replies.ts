/** Responses of the admin listener. */

import { problemBody } from "../http/problem_response.ts";

/** Fields of every response: nothing is kept, framed, guessed at or read by other sites. */
const COMMON: Readonly<Record<string, string>> = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin",
};

/** Makes a response with the fields that all have. */
export function reply(
  body: BodyInit | null,
  status: number,
  fields: Readonly<Record<string, string>>,
): Response {
  return new Response(body, { status, headers: { ...COMMON, ...fields } });
}

/** A JSON document. */
export function json(value: unknown, status = 200): Response {
  return reply(JSON.stringify(value), status, { "content-type": "application/json" });
}

/** A problem document (RFC 9457). */
export function problem(
  status: number,
  detail: string,
  fields: Readonly<Record<string, string>> = {},
): Response {
  return reply(problemBody(status, { detail }), status, {
    "content-type": "application/problem+json",
    ...fields,
  });
}
