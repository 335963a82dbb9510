/** Decides whether a failed request may be sent again; every retry is decided here. */

import {
  IDEMPOTENT_METHODS,
  type RetryFailure,
  type RetryPolicy,
  type RetryReason,
} from "../config/retry_options.ts";
import { TLS_HANDSHAKE_TIMEOUT, type UpstreamError } from "../core/errors.ts";

/** The facts for {@linkcode decideRetry} besides the failure. */
interface RetryQuestion {
  readonly method: string;
  /** Whether the request has an `Idempotency-Key`. */
  readonly hasIdempotencyKey: boolean;
  /** Whether the content can be sent again from its beginning. */
  readonly bodyRepeatable: boolean;
  /** How many attempts were made, including the failed one. */
  readonly attempts: number;
  /** Whether an earlier attempt has timed out. */
  readonly timedOut: boolean;
}

/** The outcome of a failed attempt. */
export interface FailedAttempt extends RetryFailure {
  /** Whether no byte of the request was sent. */
  readonly unsent: boolean;
  /** Whether it has timed out, at a server or while connecting. */
  readonly late: boolean;
}

/** The outcome of an attempt with this error; `null` when no retry is possible because the response had begun. */
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
 * - Nothing of it was sent: yes, with any method.
 * - A server may have received it: only if repeating is safe (RFC 9110 section 9.2.2), or the policy allows it.
 * - After an attempt that timed out: at most one more, since otherwise a client would wait for all servers in turn.
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
 * Whether a request whose kept connection was already closed is sent once more, to the same server on a new
 * connection.
 *
 * A server may close a connection at any moment (RFC 9112 section 9.3.1): that is no failure, so no retry policy
 * applies.
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
