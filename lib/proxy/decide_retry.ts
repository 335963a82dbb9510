/** Whether a request that failed may be sent once more; everybody who would repeat one asks here. */

import type { UpstreamError } from "../core/errors.ts";

/** What {@linkcode decideRetry} looks at beside the failure. */
interface RetryQuestion {
  readonly method: string;
  /** Whether the content can be sent from its beginning again. */
  readonly bodyRepeatable: boolean;
  /** How many attempts were made, the failed one included. */
  readonly attempts: number;
}

/** How often a request is sent at most when no byte of it had left the proxy. */
export const MAX_UNSENT_ATTEMPTS = 8;
/** How often a request is sent at most when a server may have seen it. */
export const MAX_SENT_ATTEMPTS = 3;

/** Whether a second request has the effect of one (RFC 9110 section 9.2.2; QUERY: RFC 10008 section 2). */
export function isIdempotent(method: string): boolean {
  switch (method) {
    case "GET":
    case "HEAD":
    case "OPTIONS":
    case "PUT":
    case "DELETE":
    case "QUERY":
      return true;
    default:
      return false;
  }
}

/**
 * Decides whether a failed request is sent again; pure.
 *
 * - Nothing of it had left the proxy: whatever its method, as often as there are servers, within bounds.
 * - A server may have seen it: only where doing it twice does no harm (RFC 9110 section 9.2.2).
 * - The response had begun, or the whole content cannot be sent again: never.
 */
export function decideRetry(failure: UpstreamError, question: RetryQuestion): boolean {
  const { method, bodyRepeatable, attempts } = question;
  if (!bodyRepeatable) return false;
  switch (failure.phase) {
    case "unsent":
      return attempts < MAX_UNSENT_ATTEMPTS;
    case "sent":
      return isIdempotent(method) && attempts < MAX_SENT_ATTEMPTS;
    case "answered":
      return false;
  }
}
