/** One limit as an operator writes it, and as the limiter uses it. */

import type { Duration } from "../core/units.ts";
import type { Lease } from "../core/cancellation.ts";
import type { CompiledKey, KeySource, KeySpec } from "./key_spec.ts";
import type { RedisStoreOptions, ResolvedRedisStore } from "./redis_store_options.ts";

/** How requests are counted. */
export type AlgorithmName = "fixed-window" | "sliding-window" | "token-bucket" | "concurrency";

/** Which fields tell a client about its limits; `limit_headers.ts` says what each looks like. */
export type HeaderStyle = "x-rate-limit" | "draft-11" | "draft-7" | "draft-6" | "x-ratelimit";

/** What becomes of a request that has no key. */
export type MissingKeyAction = "skip" | "reject" | "ip";

/**
 * How often something may happen, for each key.
 *
 * A function of the configuration that throws, or returns what it must not, fails the request with a `FilterError` (500)
 * before anything is counted: neither letting such a request pass nor calling it too many would be true. None of them but
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
   * What the policy is called in header fields, metrics and logs; printable ASCII, unique among the policies of a
   * limiter. Counts are kept across a reload while the name and the algorithm stay. No client waits longer than the
   * new window. With another window a token bucket starts full, and a concurrency policy empty.
   *
   * @default {"default"} then `"default-2"`, `"default-3"`, ... by position
   */
  name?: string;
  /** What is counted: each key has a count of its own. */
  key: KeySpec<Ctx>;
  /**
   * How many requests in each window (for `"concurrency"`: at once); a whole number up to 1,000,000,000. 0 refuses
   * everything. A function may also return `Infinity` for a key without a limit.
   */
  limit: number | ((key: string, ctx: Ctx) => number);
  /**
   * Length of the window. For `"concurrency"` it is the time, or at most twice the time, after which the permits of a
   * worker that died are free. In Redis, the permits of a dead instance are free after 10 seconds.
   *
   * @default {"1h"} for `"concurrency"`; required for the others
   */
  window?: Duration;
  /** How requests are counted. @default {"fixed-window"} */
  algorithm?: "fixed-window" | "sliding-window" | "token-bucket" | "concurrency";
  /**
   * For `"token-bucket"`: how many requests at once after a pause, the capacity of the bucket.
   *
   * @default {limit}
   */
  burst?: number | ((key: string, ctx: Ctx) => number);
  /**
   * How many requests one request counts as. Fractions are rounded up; the largest cost is 1,000,000,000. @default {1}
   */
  cost?: number | ((ctx: Ctx) => number);
  /**
   * How much a request counts when it ends: by its status, the bytes sent or its duration. Until then it counts `cost`. It
   * also does so when the function throws or returns no number of at least 0; the log says so. A request that reached no
   * server counts nothing.
   *
   * A smaller result gives the difference back, in the window of the request only; a token bucket gives back what has not
   * refilled since.
   *
   * @default {none}
   */
  charge?: (ctx: Ctx) => number;
  /**
   * What happens to a request without the key: it is not limited by this policy, refused (429 without `Retry-After`), or
   * counted by the address of its client (not limited without an address).
   *
   * @default {"skip"}
   */
  onMissingKey?: "skip" | "reject" | "ip";
  /** Requests that this policy does not apply to: a function, or the networks of such clients (`"10.0.0.0/8"`). @default {none} */
  exempt?: ((ctx: Ctx) => boolean) | readonly string[];
  /** Decides and counts, but refuses no request. @default {false} */
  dryRun?: boolean;
  /** Counts refused requests too: a client that does not slow down stays refused. @default {false} */
  penalize?: boolean;
  /**
   * Keeps the connection of a refused client open. That is cheaper when clients respect `Retry-After`. By default
   * the connection is closed. Not for responses of `response`.
   *
   * @default {false}
   */
  keepAlive?: boolean;
  /**
   * Fields that tell a client about the limit; `false` for none but `Retry-After`.
   *
   * @default {["x-rate-limit", "draft-11"]}
   */
  headers?: readonly ("x-rate-limit" | "draft-11" | "draft-7" | "draft-6" | "x-ratelimit")[] | false;
  /** Bits of an IPv6 address that count as one client. @default {64} */
  ipv6Prefix?: number;
  /**
   * How many keys are counted exactly, in memory of fixed size. Further keys replace those that have used
   * least of their limits, of which only some thousands are remembered.
   *
   * It does not bound what is counted in Redis, which has as many keys as its own `maxmemory` leaves room for; each ends
   * by itself. There it is for what this instance counts while Redis does not respond, and for bans.
   *
   * @default {100_000}
   */
  maxKeys?: number;
  /**
   * Where requests are counted: in the memory of this machine, or in a Redis or Valkey that several machines share.
   * It must be the same for all policies of a limiter, which decide in one step; limits of routes use the store of
   * the configuration. A `RateLimiter` in your own program counts in memory only.
   *
   * @default {"memory"}
   */
  store?: "memory" | RedisStoreOptions;
  /**
   * Makes the response to a refused request, in place of the problem document; the fields of the limiter are added
   * where it does not set them.
   *
   * @default {a problem document}
   */
  response?: (decision: LimitedDecision, ctx: Ctx) => Response | Promise<Response>;
}

/** A policy with every default filled in. */
export interface ResolvedPolicy {
  /** See {@linkcode LimiterPolicy.name}. */
  readonly name: string;
  /** Sets its counts apart from those of others with its name: the route that it is for, `""` for the whole proxy. */
  readonly scope: string;
  /** The key as it was written. */
  readonly keySpec: KeySpec;
  /** @internal The key as a function. */
  readonly key: CompiledKey;
  /** See {@linkcode LimiterPolicy.limit}. */
  readonly limit: number | ((key: string, ctx: KeySource) => number);
  /** Length of the window. */
  readonly windowMs: number;
  /** See {@linkcode LimiterPolicy.algorithm}. */
  readonly algorithm: "fixed-window" | "sliding-window" | "token-bucket" | "concurrency";
  /** `null`: as much as the limit. */
  readonly burst: number | ((key: string, ctx: KeySource) => number) | null;
  /** See {@linkcode LimiterPolicy.cost}. */
  readonly cost: number | ((ctx: KeySource) => number);
  /** See {@linkcode LimiterPolicy.charge}; `null` when the cost is all. */
  readonly charge: ((ctx: KeySource) => number) | null;
  /** See {@linkcode LimiterPolicy.onMissingKey}. */
  readonly onMissingKey: "skip" | "reject" | "ip";
  /** See {@linkcode LimiterPolicy.exempt}; `null` when no client is. */
  readonly exempt: ((ctx: KeySource) => boolean) | null;
  /** The networks that {@linkcode LimiterPolicy.exempt} lists; `null` when it does not. */
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
  /** @internal See {@linkcode LimiterPolicy.store}; `null` for the memory. */
  readonly store: ResolvedRedisStore | null;
  /** See {@linkcode LimiterPolicy.response}; `null` for the problem document. */
  readonly response: ((decision: LimitedDecision, ctx: KeySource) => Response | Promise<Response>) | null;
}

/** What is written of a policy when its `headers` do not say. */
export const DEFAULT_HEADERS: readonly HeaderStyle[] = Object.freeze<HeaderStyle[]>([
  "x-rate-limit",
  "draft-11",
]);

/** Most policies of one limiter: a decision tells by one bit each whether they apply. */
export const MAX_POLICIES = 30;

/** Largest limit; more could not be counted exactly over a long window. */
export const MAX_LIMIT = 1_000_000_000;

/** How many keys of a policy are counted exactly when its `maxKeys` does not say. */
export const DEFAULT_MAX_KEYS = 100_000;

/** What one policy says about one request. */
export interface PolicyDecision {
  /** Whose decision it is. */
  readonly policy: ResolvedPolicy;
  /** What it counts the request by; `""` when it has no key. */
  readonly key: string;
  /** `"would-refuse"` is a refusal on a dry run. One that allows has charged only if none refused. */
  readonly outcome: "allowed" | "refused" | "would-refuse";
  /** Its limit for this key; the capacity, for a token bucket. */
  readonly limit: number;
  /** How much more it allows now. */
  readonly remaining: number;
  /** Milliseconds until it allows the whole limit again; 0 for a concurrency policy, which does not know. */
  readonly resetMs: number;
  /** Milliseconds until it would allow the same request; `Infinity` when waiting does not help. */
  readonly retryAfterMs: number;
}

/** A policy that charges once the request is over. */
export interface DueCharge {
  /** Which policy. */
  readonly policy: ResolvedPolicy;
  /** What it counts the request by. */
  readonly key: string;
  /** What it has charged so far. */
  readonly cost: number;
}

/** The request may go on, and has been counted. */
export interface AllowedDecision {
  /** Which kind of decision this is. */
  readonly kind: "allowed";
  /** Of the policies that apply, the one with the smallest part of its limit left. */
  readonly policy: ResolvedPolicy;
  /** What it counts the request by. */
  readonly key: string;
  /** Its limit for this key; the capacity, for a token bucket. */
  readonly limit: number;
  /** How much more it allows now. */
  readonly remaining: number;
  /** Milliseconds until it allows the whole limit again; 0 for a concurrency policy, which does not know. */
  readonly resetMs: number;
  /** Milliseconds until it would allow the same request once more; 0 when it would now. */
  readonly retryAfterMs: number;
  /** Milliseconds in which it allows the limit once; 0 for a concurrency policy. */
  readonly windowMs: number;
  /** Names of the policies that would have refused, were they not on a dry run. */
  readonly wouldRefuse: readonly string[];
  /** The permits taken of concurrency policies, to be given back when the request is over; `null` when there are none. */
  readonly lease: Lease | null;
  /** @internal The policies that charge once the request is over, until they have; `null` when none does. */
  readonly due: DueCharge[] | null;
  /** The policies that apply: bit `i` for the one at position `i`. */
  readonly applied: number;
  /** @internal What each policy says when there are several; see {@linkcode policyDecisions}. */
  readonly each: readonly PolicyDecision[] | null;
}

/** The request is refused; nothing has been counted, except by policies that penalize. */
export interface LimitedDecision {
  /** Which kind of decision this is. */
  readonly kind: "limited";
  /** Why: too many, the key is banned, the request has no key and needs one, or the store of the counts does not reply. */
  readonly reason: "limit" | "banned" | "missing-key" | "store-error";
  /** Of the policies that refuse, the one that does so for longest. */
  readonly policy: ResolvedPolicy;
  /** What it counts the request by; `""` without a key. */
  readonly key: string;
  /** Its limit for this key; the capacity, for a token bucket. */
  readonly limit: number;
  /** How much more it allows now. */
  readonly remaining: 0;
  /**
   * Milliseconds until the same request would be allowed if no other request with its key came; `Infinity` when waiting
   * does not help (no key, or a cost above the limit).
   */
  readonly retryAfterMs: number;
  /** Milliseconds until the policy allows its whole limit again. */
  readonly resetMs: number;
  /** Milliseconds in which it allows the limit once; 0 for a concurrency policy. */
  readonly windowMs: number;
  /** Names of all policies that refuse. */
  readonly violated: readonly string[];
  /** The policies that apply: bit `i` for the one at position `i`. */
  readonly applied: number;
  /** @internal What each policy says when there are several; see {@linkcode policyDecisions}. */
  readonly each: readonly PolicyDecision[] | null;
}

/** What {@linkcode RateLimiter.check} says; `"unlimited"` when no policy applies to the request. */
export type Decision = { readonly kind: "unlimited" } | AllowedDecision | LimitedDecision;
