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

// Bounds retries to a share of the requests: without it, servers that fail for having too much to do get more of it.

/** The window that requests and retries are counted over, and the parts that it moves by. */
const PARTS = 10;
const PART_MS = 1000;

/** Where a budget has which part is the current one, and one; the requests and the retries of each part follow. */
const PART = 0;
const REQUESTS = 1;
const RETRIES = REQUESTS + PARTS;

/** Counts the requests and the retries of the last ten seconds. */
export class RetryBudget {
  readonly #percent: number;
  readonly #least: number;
  readonly #counts: Int32Array;
  /** Whether other processes count there too. */
  readonly #shared: boolean;
  readonly #aheadMs: number;

  /**
   * @param counts what processes count in together; `null` where there is one
   * @param aheadMs what makes time the same in all of them
   */
  constructor(
    { percent, min }: NonNullable<RetryPolicy["budget"]>,
    counts: Int32Array | null = null,
    aheadMs = 0,
  ) {
    this.#percent = percent;
    this.#least = min * PARTS * PART_MS / 1000;
    this.#counts = counts ?? new Int32Array(RETRIES + PARTS);
    this.#shared = counts !== null;
    this.#aheadMs = aheadMs;
  }

  /** Counts a request; `now` in milliseconds. */
  request(now: number): void {
    this.#add(REQUESTS + this.#turnTo(now), 1);
  }

  /** Takes a retry out of the budget, also when it has to wait; tells whether there was one left. */
  take(now: number): boolean {
    const part = this.#turnTo(now);
    let requests = 0;
    let retries = 0;
    // First, because other processes may take one at the same time.
    this.#add(RETRIES + part, 1);
    for (let i = 0; i < PARTS; i++) {
      requests += this.#counts[REQUESTS + i]!;
      retries += this.#counts[RETRIES + i]!;
    }
    if (retries - 1 < Math.max(this.#least, requests * this.#percent / 100)) return true;
    this.#add(RETRIES + part, -1);
    return false;
  }

  #add(at: number, count: 1 | -1): void {
    if (this.#shared) Atomics.add(this.#counts, at, count);
    else this.#counts[at]! += count;
  }

  /** Forgets what is older than the window. */
  #turnTo(now: number): number {
    // A request that was read a moment ago may come after one that arrived since.
    const counts = this.#counts;
    const last = counts[PART]! - 1;
    const part = Math.max(Math.floor((now + this.#aheadMs) / PART_MS), last);
    if (part !== last && Atomics.compareExchange(counts, PART, last + 1, part + 1) === last + 1) {
      const passed = last === -1 ? PARTS : Math.min(part - last, PARTS);
      for (let i = 0; i < passed; i++) {
        const passedPart = (part + PARTS - i) % PARTS;
        counts[REQUESTS + passedPart] = counts[RETRIES + passedPart] = 0;
      }
    }
    return part % PARTS;
  }
}
