/** A limit as configured, and as the limiter uses it. */

import type { Duration } from "../core/units.ts";
import type { Lease } from "../core/cancellation.ts";
import type { CompiledKey, KeySource, KeySpec } from "./key_spec.ts";
import type { RedisStoreOptions, ResolvedRedisStore } from "./redis_store_options.ts";

/** How requests are counted. */
export type AlgorithmName = "fixed-window" | "sliding-window" | "token-bucket" | "concurrency";

/** The fields that inform a client about its limits; `limit_headers.ts` describes each style. */
export type HeaderStyle = "x-rate-limit" | "draft-11" | "draft-7" | "draft-6" | "x-ratelimit";

/** The action for a request without a key. */
export type MissingKeyAction = "skip" | "reject" | "ip";

/**
 * A limit for each key.
 *
 * A function of the configuration that throws, or returns an invalid value, fails the request with a `FilterError`
 * (500) before anything is counted, because neither admitting nor refusing the request would be correct. Only
 * `response` may be async.
 *
 * @example Ten requests a second for each API key, and no more than 100 at once
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   limiter: [
 *     { name: "rate", key: "header:x-api-key", limit: 10, window: "1s", algorithm: "token-bucket", burst: 20 },
 *     { name: "at-once", key: "header:x-api-key", limit: 100, algorithm: "concurrency" },
 *   ],
 * });
 * ```
 */
export interface LimiterPolicy<Ctx extends KeySource = KeySource> {
  /**
   * Name of the policy in header fields, metrics and logs; printable ASCII, unique among the policies of a limiter.
   * Counts are kept across a reload while the name and the algorithm stay the same. No client waits longer than the new
   * window. With another window a token bucket starts full, and a concurrency policy empty.
   *
   * @default {"default"} then `"default-2"`, `"default-3"`, ... by position
   */
  name?: string;
  /** What is counted: each key has a separate count. */
  key: KeySpec<Ctx>;
  /**
   * How many requests in each window (for `"concurrency"`: at once); a whole number up to 1,000,000,000. 0 refuses
   * everything. A function may also return `Infinity` for a key without a limit.
   */
  limit: number | ((key: string, ctx: Ctx) => number);
  /**
   * Length of the window. For `"concurrency"`, the permits of a dead worker are free after this time, or at most twice
   * this time. In Redis, the permits of a dead instance are free after 10 seconds.
   *
   * @default {"1h"} for `"concurrency"`; required for the others
   */
  window?: Duration;
  /** How requests are counted. @default {"fixed-window"} */
  algorithm?: "fixed-window" | "sliding-window" | "token-bucket" | "concurrency";
  /**
   * For `"token-bucket"`: how many requests at once after a pause; the capacity of the bucket.
   *
   * @default {limit}
   */
  burst?: number | ((key: string, ctx: Ctx) => number);
  /**
   * How many requests one request counts as. Fractions are rounded up; the largest cost is 1,000,000,000. @default {1}
   */
  cost?: number | ((ctx: Ctx) => number);
  /**
   * How much a request counts when it ends, for example by its status, the bytes sent or its duration. Until then it
   * counts `cost`. It keeps that count if the function throws or returns no number of at least 0, which is logged. A
   * request that reached no server counts nothing.
   *
   * A smaller result gives the difference back, in the window of the request only. A token bucket gives back the part
   * that has not refilled since.
   *
   * @default {none}
   */
  charge?: (ctx: Ctx) => number;
  /**
   * Action for a request without the key: it is not limited by this policy (`"skip"`), refused with 429 without
   * `Retry-After` (`"reject"`), or counted by the address of its client (`"ip"`; not limited without an address).
   *
   * @default {"skip"}
   */
  onMissingKey?: "skip" | "reject" | "ip";
  /** Exempt requests: a function that selects them, or networks of exempt clients (`"10.0.0.0/8"`). @default {none} */
  exempt?: ((ctx: Ctx) => boolean) | readonly string[];
  /** Decides and counts, but refuses no request. @default {false} */
  dryRun?: boolean;
  /** Counts refused requests too: a client that does not slow down stays refused. @default {false} */
  penalize?: boolean;
  /**
   * Keeps the connection of a refused client open, which is cheaper if clients respect `Retry-After`. By default the
   * connection is closed. Does not apply to responses of `response`.
   *
   * @default {false}
   */
  keepAlive?: boolean;
  /**
   * Fields that inform a client about the limit; `false` for `Retry-After` only.
   *
   * @default {["x-rate-limit", "draft-11"]}
   */
  headers?: readonly ("x-rate-limit" | "draft-11" | "draft-7" | "draft-6" | "x-ratelimit")[] | false;
  /** Bits of an IPv6 address that count as one client. @default {64} */
  ipv6Prefix?: number;
  /**
   * How many keys are counted exactly, in memory of fixed size. Further keys replace those that have used the least of
   * their limits; only some thousands of the replaced keys are remembered.
   *
   * It does not limit the number of keys in Redis, which depends on its `maxmemory`; they expire there. With Redis it
   * applies to what this instance counts while Redis does not respond, and to bans.
   *
   * @default {100_000}
   */
  maxKeys?: number;
  /**
   * Where requests are counted: in the memory of this machine, or in a Redis or Valkey shared by several machines. It
   * must be the same for all policies of a limiter, which decide in one step. Limits of routes use the store of the
   * configuration. A `RateLimiter` in your own program counts in memory only.
   *
   * @default {"memory"}
   */
  store?: "memory" | RedisStoreOptions;
  /**
   * Makes the response to a refused request, instead of the problem document. Fields of the limiter are added if the
   * response does not have them.
   *
   * @default {a problem document}
   */
  response?: (decision: LimitedDecision, ctx: Ctx) => Response | Promise<Response>;
}

/** A policy with every default filled in. */
export interface ResolvedPolicy {
  /** See {@linkcode LimiterPolicy.name}. */
  readonly name: string;
  /**
   * Separates its counts from those of other policies with the same name: the name of its route, `""` for the whole
   * proxy.
   */
  readonly scope: string;
  /** The key as configured. */
  readonly keySpec: KeySpec;
  /** @internal The key as a function. */
  readonly key: CompiledKey;
  /** See {@linkcode LimiterPolicy.limit}. */
  readonly limit: number | ((key: string, ctx: KeySource) => number);
  /** Length of the window. */
  readonly windowMs: number;
  /** See {@linkcode LimiterPolicy.algorithm}. */
  readonly algorithm: "fixed-window" | "sliding-window" | "token-bucket" | "concurrency";
  /** See {@linkcode LimiterPolicy.burst}; `null` for the limit. */
  readonly burst: number | ((key: string, ctx: KeySource) => number) | null;
  /** See {@linkcode LimiterPolicy.cost}. */
  readonly cost: number | ((ctx: KeySource) => number);
  /** See {@linkcode LimiterPolicy.charge}; `null` if only the cost counts. */
  readonly charge: ((ctx: KeySource) => number) | null;
  /** See {@linkcode LimiterPolicy.onMissingKey}. */
  readonly onMissingKey: "skip" | "reject" | "ip";
  /** See {@linkcode LimiterPolicy.exempt}; `null` if no client is exempt. */
  readonly exempt: ((ctx: KeySource) => boolean) | null;
  /** The networks listed in {@linkcode LimiterPolicy.exempt}; `null` if it is not a list. */
  readonly exemptNetworks: readonly string[] | null;
  /** See {@linkcode LimiterPolicy.dryRun}. */
  readonly dryRun: boolean;
  /** See {@linkcode LimiterPolicy.penalize}. */
  readonly penalize: boolean;
  /** See {@linkcode LimiterPolicy.keepAlive}. */
  readonly keepAlive: boolean;
  /** See {@linkcode LimiterPolicy.headers}. */
  readonly headers: readonly ("x-rate-limit" | "draft-11" | "draft-7" | "draft-6" | "x-ratelimit")[];
  /** See {@linkcode LimiterPolicy.ipv6Prefix}. */
  readonly ipv6Prefix: number;
  /** See {@linkcode LimiterPolicy.maxKeys}. */
  readonly maxKeys: number;
  /** @internal See {@linkcode LimiterPolicy.store}; `null` for the memory store. */
  readonly store: ResolvedRedisStore | null;
  /** See {@linkcode LimiterPolicy.response}; `null` for the problem document. */
  readonly response: ((decision: LimitedDecision, ctx: KeySource) => Response | Promise<Response>) | null;
}

/** Default of a policy's `headers`. */
export const DEFAULT_HEADERS: readonly HeaderStyle[] = Object.freeze<HeaderStyle[]>([
  "x-rate-limit",
  "draft-11",
]);

/** Maximum number of policies of one limiter: a decision has one bit for each. */
export const MAX_POLICIES = 30;

/** Largest limit; a larger one could not be counted exactly over a long window. */
export const MAX_LIMIT = 1_000_000_000;

/** Default of a policy's `maxKeys`. */
export const DEFAULT_MAX_KEYS = 100_000;

/** The decision of one policy about one request. */
export interface PolicyDecision {
  /** The policy. */
  readonly policy: ResolvedPolicy;
  /** The key by which it counts the request; `""` when it has no key. */
  readonly key: string;
  /** `"would-refuse"` is a refusal on a dry run. An allowed request is only charged if no policy refused it. */
  readonly outcome: "allowed" | "refused" | "would-refuse";
  /** The limit for this key; the capacity, for a token bucket. */
  readonly limit: number;
  /** Remaining part of the limit now. */
  readonly remaining: number;
  /** Milliseconds until the whole limit is available again; 0 for a concurrency policy, which does not know. */
  readonly resetMs: number;
  /** Milliseconds until the same request would be allowed; `Infinity` when waiting does not help. */
  readonly retryAfterMs: number;
}

/** A policy that charges when the request has ended. */
export interface DueCharge {
  /** The policy. */
  readonly policy: ResolvedPolicy;
  /** The key by which it counts the request. */
  readonly key: string;
  /** The amount charged so far. */
  readonly cost: number;
}

/** The request is allowed, and has been counted. */
export interface AllowedDecision {
  /** Kind of this decision. */
  readonly kind: "allowed";
  /** Of the policies that apply, the one with the smallest part of its limit left. */
  readonly policy: ResolvedPolicy;
  /** The key by which it counts the request. */
  readonly key: string;
  /** The limit for this key; the capacity, for a token bucket. */
  readonly limit: number;
  /** Remaining part of the limit now. */
  readonly remaining: number;
  /** Milliseconds until the whole limit is available again; 0 for a concurrency policy, which does not know. */
  readonly resetMs: number;
  /** Milliseconds until the same request would be allowed again; 0 if it would be now. */
  readonly retryAfterMs: number;
  /** Milliseconds in which the policy allows its limit once; 0 for a concurrency policy. */
  readonly windowMs: number;
  /** Names of the policies on a dry run that would have refused the request. */
  readonly wouldRefuse: readonly string[];
  /** The permits taken from concurrency policies, released when the request has ended; `null` if there are none. */
  readonly lease: Lease | null;
  /** @internal Pending charges of the policies that charge when the request has ended; `null` if there are none. */
  readonly due: DueCharge[] | null;
  /** The policies that apply: bit `i` for the one at position `i`. */
  readonly applied: number;
  /** @internal The decision of each policy if there are several; see {@linkcode policyDecisions}. */
  readonly each: readonly PolicyDecision[] | null;
}

/** The request is refused and has not been counted, except by policies that penalize. */
export interface LimitedDecision {
  /** Kind of this decision. */
  readonly kind: "limited";
  /** The reason: too many requests, a banned key, no key although one is required, or a store that does not respond. */
  readonly reason: "limit" | "banned" | "missing-key" | "store-error";
  /** Of the policies that refuse, the one with the longest wait. */
  readonly policy: ResolvedPolicy;
  /** The key by which it counts the request; `""` without a key. */
  readonly key: string;
  /** The limit for this key; the capacity, for a token bucket. */
  readonly limit: number;
  /** Remaining part of the limit now. */
  readonly remaining: 0;
  /**
   * Milliseconds until the same request would be allowed if there were no other requests with its key; `Infinity` when
   * waiting does not help (no key, or a cost above the limit).
   */
  readonly retryAfterMs: number;
  /** Milliseconds until the whole limit of the policy is available again. */
  readonly resetMs: number;
  /** Milliseconds in which the policy allows its limit once; 0 for a concurrency policy. */
  readonly windowMs: number;
  /** Names of all policies that refuse. */
  readonly violated: readonly string[];
  /** The policies that apply: bit `i` for the one at position `i`. */
  readonly applied: number;
  /** @internal The decision of each policy if there are several; see {@linkcode policyDecisions}. */
  readonly each: readonly PolicyDecision[] | null;
}

/** The result of {@linkcode RateLimiter.check}; `"unlimited"` when no policy applies to the request. */
export type Decision = { readonly kind: "unlimited" } | AllowedDecision | LimitedDecision;
