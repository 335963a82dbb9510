/** Retries of failed requests. */

import {
  ANYTHING,
  byteSize,
  choose,
  DURATION,
  FLAG,
  isWhole,
  list,
  must,
  number,
  object,
  orFalse,
  type Rule,
  text,
  whole,
} from "../core/options.ts";
import { type ByteSize, type Duration, parseByteSize, parseDuration } from "../core/units.ts";
import type { RequestContext } from "../filter/request_context.ts";
import { isToken } from "../http/header_fields.ts";

/**
 * Kind of failure: no connection; a lost connection or an invalid response; no response in time.
 */
export type RetryReason = Exclude<NonNullable<RetryOptions["on"]>[number], number>;

/** The failure, for functions that decide about retries. */
export interface RetryFailure {
  /** `"status"` for a received response. */
  readonly reason: "connect" | "reset" | "timeout" | "status";
  /** The status of the response; `null` without one. */
  readonly status: number | null;
  /** The failure in words. */
  readonly message: string;
}

/**
 * Decides whether a request is sent again, instead of `on` and `methods`; must not be async.
 *
 * It is not called if the response has begun, or if the content cannot be sent again from its beginning.
 *
 * @param attempt number of attempts so far
 */
export type RetryFunction = (attempt: number, failure: {
  /** `"status"` for a received response. */
  readonly reason: "connect" | "reset" | "timeout" | "status";
  /** The status of the response; `null` without one. */
  readonly status: number | null;
  /** The failure in words. */
  readonly message: string;
}, ctx: RequestContext) => boolean;

/** Limits retries to a share of the requests. */
type RetryBudgetOptions = Exclude<NonNullable<RetryOptions["budget"]>, false>;

/** Wait before a retry: random between zero and a bound that doubles each time ("full jitter"). */
type BackoffOptions = Exclude<NonNullable<RetryOptions["backoff"]>, false>;

/**
 * When a request that failed is sent again.
 *
 * @example Two more tries, and only after failed connections
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: { servers: ["127.0.0.1:9001", "127.0.0.1:9002"], retries: { attempts: 2, on: ["connect"] } },
 * });
 * ```
 */
export interface RetryOptions {
  /**
   * Maximum number of retries of a request. If it is set, a request may also be sent to the same server again if no
   * other is available.
   *
   * @default {2, and 7 as long as no connection could be made; each server once}
   */
  attempts?: number;
  /** Failures that are retried: reasons, and statuses from 400 to 599. @default {["connect", "reset", "timeout"]} */
  on?: readonly ("connect" | "reset" | "timeout" | number)[];
  /**
   * Methods that may be sent again after a server may have seen the request; after a failed `connect` all may.
   *
   * @default {["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "QUERY"]}
   */
  methods?: readonly string[];
  /** Whether requests with an `Idempotency-Key` field may also be sent again. @default {false} */
  idempotencyKey?: boolean;
  /** Limit of retries among all requests; `false` for no limit. Failed connections do not count. @default {{}} */
  budget?: false | {
    /** Retries for every hundred requests of the last ten seconds. @default {20} */
    percent?: number;
    /** Retries per second that are always allowed. @default {3} */
    min?: number;
  };
  /**
   * Wait before a retry; `false` for none. After a failed connection the retry does not wait while there are other
   * servers.
   *
   * @default {{}}
   */
  backoff?: false | {
    /** The longest wait before the first retry; it doubles with each further one. @default {"25ms"} */
    base?: Duration;
    /** The longest wait. @default {"250ms"} */
    max?: Duration;
  };
  /** Requests with more content are not sent again. @default {"64KiB"} */
  bodyLimit?: ByteSize;
}

/** {@linkcode RetryOptions} with every default filled in. */
export interface RetryPolicy {
  /**
   * Maximum number of attempts while no connection could be made; `sentAttempts` applies once a server may have seen
   * the request.
   */
  readonly unsentAttempts: number;
  readonly sentAttempts: number;
  /** Whether a server that failed may get the request again if there is no other. */
  readonly sameServer: boolean;
  readonly reasons: ReadonlySet<RetryReason>;
  /** `null` if no status is retried. */
  readonly statuses: ReadonlySet<number> | null;
  readonly methods: ReadonlySet<string>;
  readonly idempotencyKey: boolean;
  readonly budget: Readonly<Required<RetryBudgetOptions>> | null;
  readonly backoffBaseMs: number;
  readonly backoffMaxMs: number;
  readonly bodyLimitBytes: number;
  readonly decide: RetryFunction | null;
}

/** Idempotent methods (RFC 9110 section 9.2.2; QUERY: RFC 10008 section 2). */
export const IDEMPOTENT_METHODS: readonly string[] = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "QUERY"];

/** Fills in the defaults of validated options; `null` for no retries. */
export function resolveRetries(options: false | RetryOptions | RetryFunction = {}): RetryPolicy | null {
  if (options === false) return null;
  const decide = typeof options === "function" ? options : null;
  const {
    attempts,
    on = ["connect", "reset", "timeout"],
    methods = IDEMPOTENT_METHODS,
    idempotencyKey = false,
    budget = {},
    backoff = {},
    bodyLimit = "64KiB",
  } = typeof options === "function" ? {} : options;
  if (attempts === 0) return null;
  const { percent = 20, min = 3 } = budget === false ? {} : budget;
  const { base = "25ms", max = "250ms" } = backoff === false ? { base: 0, max: 0 } : backoff;
  const statuses = on.filter((each) => typeof each === "number");
  return Object.freeze({
    unsentAttempts: (attempts ?? 7) + 1,
    sentAttempts: (attempts ?? 2) + 1,
    sameServer: attempts !== undefined,
    reasons: new Set(on.filter((each) => typeof each === "string")),
    statuses: statuses.length === 0 && decide === null ? null : new Set(statuses),
    methods: new Set(methods),
    idempotencyKey,
    budget: budget === false ? null : Object.freeze({ percent, min }),
    backoffBaseMs: parseDuration(base)!,
    backoffMaxMs: parseDuration(max)!,
    bodyLimitBytes: parseByteSize(bodyLimit)!,
    decide,
  });
}

/** Describes retries for people. */
export function describeRetries(policy: RetryPolicy | null): string {
  if (policy === null) return "none";
  const { sentAttempts, unsentAttempts, reasons, statuses, budget, decide } = policy;
  const often = sentAttempts === unsentAttempts
    ? `up to ${sentAttempts - 1}`
    : `up to ${sentAttempts - 1}, ${unsentAttempts - 1} while no connection can be made`;
  const when = decide === null ? [...reasons, ...(statuses ?? [])].join(", ") : "as a function says";
  const bound = budget === null
    ? ""
    : `; at most ${budget.percent} % of the requests, or ${budget.min} a second`;
  return `${often}; ${when}${bound}`;
}

const REASONS: readonly unknown[] = ["connect", "reset", "timeout"];
const REASON = must(
  (value) => REASONS.includes(value) || isWhole(value, 400, 599),
  '"connect", "reset", "timeout" or a status from 400 to 599',
);
const NOT_NEGATIVE = number("a number of at least 0", (value) => value >= 0 && value !== Infinity);

const OPTIONS = object<RetryOptions>({
  attempts: whole(0, 100),
  on: list(REASON, "an array of reasons and statuses"),
  methods: list(text("a method", isToken), "an array of methods"),
  idempotencyKey: FLAG,
  budget: orFalse(object<RetryBudgetOptions>(
    { percent: NOT_NEGATIVE, min: NOT_NEGATIVE },
    "false or an object with percent and min",
  )),
  backoff: orFalse(object<BackoffOptions>(
    { base: DURATION, max: DURATION },
    "false or an object with base and max",
  )),
  bodyLimit: byteSize(),
}, "false, a function, or an object such as { attempts: 2 }");

/** `false`, a function that decides, or the options. */
export const RETRIES: Rule = orFalse(choose((value) => typeof value === "function" ? ANYTHING : OPTIONS));
