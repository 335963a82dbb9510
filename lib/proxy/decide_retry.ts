/** Whether a request that failed may be sent once more; everybody who would repeat one asks here. */

import {
  IDEMPOTENT_METHODS,
  type RetryFailure,
  type RetryPolicy,
  type RetryReason,
} from "../config/retry_options.ts";
import { TLS_HANDSHAKE_TIMEOUT, type UpstreamError } from "../core/errors.ts";

/** What {@linkcode decideRetry} looks at beside the failure. */
interface RetryQuestion {
  readonly method: string;
  /** Whether the request has an `Idempotency-Key`. */
  readonly hasIdempotencyKey: boolean;
  /** Whether the content can be sent from its beginning again. */
  readonly bodyRepeatable: boolean;
  /** How many attempts were made, the failed one included. */
  readonly attempts: number;
  /** Whether an attempt before this one has run out of time. */
  readonly timedOut: boolean;
}

/** What has become of an attempt. */
export interface FailedAttempt extends RetryFailure {
  /** Whether no byte of the request had left. */
  readonly unsent: boolean;
  /** Whether it took as long as it may, with a server or on the way there. */
  readonly late: boolean;
}

/** Reads an error as what has become of an attempt; `null` when nothing can be sent again: the response had begun. */
export function failedAttempt({ code, phase, message }: UpstreamError): FailedAttempt | null {
  if (phase === "answered" || code === "http_request_error") return null;
  const unsent = phase === "unsent";
  const late = code === "http_response_timeout" || code === "connection_timeout" || code === "dns_timeout" ||
    code === TLS_HANDSHAKE_TIMEOUT;
  const reason: RetryReason = unsent ? "connect" : late ? "timeout" : "reset";
  return { reason, status: null, message, unsent, late };
}

/**
 * Decides whether a failed request is sent again; pure.
 *
 * - Nothing of it had left the proxy: whatever its method.
 * - A server may have seen it: only where doing it twice does no harm (RFC 9110 section 9.2.2), or the policy says so.
 * - After an attempt that ran out of time there is one more at most, or a client would wait for all servers in turn.
 * - The whole content cannot be sent again: never.
 */
export function decideRetry(failure: FailedAttempt, question: RetryQuestion, policy: RetryPolicy): boolean {
  const { method, hasIdempotencyKey, bodyRepeatable, attempts, timedOut } = question;
  const { reason, status, unsent } = failure;
  if (!bodyRepeatable || timedOut) return false;
  if (attempts >= (unsent ? policy.unsentAttempts : policy.sentAttempts)) return false;
  if (policy.decide !== null) return true;
  const worth = reason === "status" ? policy.statuses?.has(status!) === true : policy.reasons.has(reason);
  if (!worth) return false;
  return unsent || policy.methods.has(method) || (policy.idempotencyKey && hasIdempotencyKey);
}

/**
 * Whether a request whose kept connection turned out to be closed is sent once more, to the same server on a new one.
 *
 * A server may close a connection at any moment (RFC 9112 section 9.3.1): that is no failure, and no policy of retries counts.
 */
export function mayRepeatOnNewConnection(
  { phase }: UpstreamError,
  method: string,
  bodyRepeatable: boolean,
): boolean {
  if (!bodyRepeatable || phase === "answered") return false;
  return phase === "unsent" || IDEMPOTENT.has(method);
}

const IDEMPOTENT: ReadonlySet<string> = new Set(IDEMPOTENT_METHODS);
