/** Which requests go where, as an operator writes it. */

import type { KeySpec } from "../limiter/key_spec.ts";
import type { LimiterPolicy, ResolvedPolicy } from "../limiter/policy.ts";
import type { RewriteFunction, RewriteOptions } from "../routing/rewrite.ts";
import type { PathForward, PathMode, RouteMatch } from "../routing/route_match.ts";
import type { Timeouts } from "../transport/transport.ts";
import type { Filters, RequestNaming } from "../filter/filters.ts";
import type { RetryFunction, RetryOptions, RetryPolicy } from "./retry_options.ts";
import type { TimeoutOptions } from "./server_options.ts";
import type { RequestContext } from "../filter/request_context.ts";

/** Requests that have something in common, and what becomes of them. */
export interface RouteOptions<State = unknown> {
  /** What `ctx.route` and messages call it; unique. @default {its host and path} */
  name?: string;
  /** Which requests it takes. @default {all} */
  match?: RouteMatch;
  /**
   * Name of a pool, or pools with their shares of the requests: `{ stable: 95, canary: 5 }`.
   *
   * @default {the only pool, or the one named `default`}
   */
  upstream?: string | Readonly<Record<string, number>>;
  /** What decides between the pools of `upstream`: requests with the same key go to the same one. @default {chance} */
  splitKey?: KeySpec<RequestContext<State>>;
  /** How paths are compared with the one of `match`. @default {the configuration's} */
  paths?: PathMode;
  /**
   * Which path the server gets, where nothing rewrites it; a route whose `paths` are `"raw"` forwards what it `"received"`.
   *
   * @default {the configuration's}
   */
  forward?: PathForward;
  /** What the server gets in place of the client's target. @default {the target as it came} */
  rewrite?: RewriteOptions | RewriteFunction<RequestContext<State>>;
  /**
   * Limits beside those of the configuration: all of them must admit a request. `false` for no limit at all. A policy
   * without a name is called as the route; where several routes name the same object they count together.
   *
   * @default {those of the configuration alone}
   */
  limiter?: LimiterPolicy<RequestContext<State>> | readonly LimiterPolicy<RequestContext<State>>[] | false;
  /** In place of those of the pool; what is left out stays. @default {the pool's} */
  timeouts?: TimeoutOptions;
  /** When a request that failed is sent again; in the place of what the pool says. @default {the pool's} */
  retries?: false | RetryOptions | RetryFunction;
  /** Filter sets that run after those of the configuration, on the way back before them. @default {[]} */
  filters?: readonly Filters<State>[];
}

/** A route, complete. */
export interface ResolvedRoute {
  readonly name: string;
  readonly match: RouteMatch;
  /** Pools and their weights, at least one. */
  readonly pools: readonly (readonly [name: string, weight: number])[];
  readonly splitKey: KeySpec | null;
  readonly paths: PathMode;
  readonly forward: PathForward;
  readonly rewrite: RewriteFunction<RequestContext> | null;
  /** Those of the configuration and its own; `null` for those of the configuration alone. */
  readonly limiter: readonly ResolvedPolicy[] | null;
  readonly timeouts: Partial<Timeouts>;
  /** `undefined` where the pool's hold. */
  readonly retries: RetryPolicy | null | undefined;
  /** Those of the configuration and its own. */
  readonly filters: Filters & RequestNaming;
  /** Its own alone. */
  readonly filterSets: readonly Filters[];
  /** That of its own filter sets. */
  readonly newContext: Filters["newContext"] | null;
}
