/** When a request that failed is sent again. */

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
 * What went wrong: no connection, a connection that was lost or a response that could not be read, no response in time.
 */
export type RetryReason = Exclude<NonNullable<RetryOptions["on"]>[number], number>;

/** What a function that decides about retries is told. */
export interface RetryFailure {
  /** `"status"` for a response that is there. */
  readonly reason: "connect" | "reset" | "timeout" | "status";
  /** The status of the response; `null` without one. */
  readonly status: number | null;
  /** What happened, in words. */
  readonly message: string;
}

/**
 * Decides whether a request is sent again, in the place of `on` and `methods`; must not be async.
 *
 * It is not called when the response has begun, or when the content cannot be sent from its beginning.
 *
 * @param attempt how many attempts were made
 */
export type RetryFunction = (attempt: number, failure: {
  /** `"status"` for a response that is there. */
  readonly reason: "connect" | "reset" | "timeout" | "status";
  /** The status of the response; `null` without one. */
  readonly status: number | null;
  /** What happened, in words. */
  readonly message: string;
}, ctx: RequestContext) => boolean;

/** Bounds retries to a share of the requests. */
type RetryBudgetOptions = Exclude<NonNullable<RetryOptions["budget"]>, false>;

/** How long a retry waits: a time by chance between nothing and a bound that doubles each time ("full jitter"). */
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
   * How often a request is sent again, at most. When it is set, a request may also go to the same server again if no
   * other can be used.
   *
   * @default {2, and 7 as long as no connection could be made; each server once}
   */
  attempts?: number;
  /** Which failures are retried: reasons, and statuses from 400 to 599. @default {["connect", "reset", "timeout"]} */
  on?: readonly ("connect" | "reset" | "timeout" | number)[];
  /**
   * Which methods may be sent again once a server may have seen the request; after a failed `connect` all may.
   *
   * @default {["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "QUERY"]}
   */
  methods?: readonly string[];
  /** Whether requests with the field `Idempotency-Key` may be sent again as well. @default {false} */
  idempotencyKey?: boolean;
  /** How many retries there may be among all requests; `false` for any number. Failed connections do not count. @default {{}} */
  budget?: false | {
    /** Retries for every hundred requests of the last ten seconds. @default {20} */
    percent?: number;
    /** Retries a second that are allowed in any case. @default {3} */
    min?: number;
  };
  /**
   * How long to wait before a retry; `false` for no time. After a failed connection the retry does not wait while
   * there are other servers.
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

/** The same, complete. */
export interface RetryPolicy {
  /** Most attempts while no connection could be made, and once a server may have seen the request. */
  readonly unsentAttempts: number;
  readonly sentAttempts: number;
  /** Whether a server that has failed the request may be asked again where there is no other. */
  readonly sameServer: boolean;
  readonly reasons: ReadonlySet<RetryReason>;
  /** `null` when no status is worth a retry. */
  readonly statuses: ReadonlySet<number> | null;
  readonly methods: ReadonlySet<string>;
  readonly idempotencyKey: boolean;
  readonly budget: Readonly<Required<RetryBudgetOptions>> | null;
  readonly backoffBaseMs: number;
  readonly backoffMaxMs: number;
  readonly bodyLimitBytes: number;
  readonly decide: RetryFunction | null;
}

/** Methods whose second request has the effect of one (RFC 9110 section 9.2.2; QUERY: RFC 10008 section 2). */
export const IDEMPOTENT_METHODS: readonly string[] = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "QUERY"];

/** Completes what is known to be good; `null` for no retries. */
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

/** Says it in words. */
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
