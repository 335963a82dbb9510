/** Answers of filters that do not let a request through. */

import { problemBody } from "../http/problem_response.ts";

/** A problem document (RFC 9457) with more fields. */
export function refuse(
  status: number,
  detail: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return new Response(problemBody(status, { detail }), {
    status,
    headers: { "content-type": "application/problem+json", "cache-control": "no-store", ...headers },
  });
}
