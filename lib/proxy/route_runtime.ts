/** Routes at work. */

import type { Split } from "../balancer/split.ts";
import type { Filters, RequestNaming } from "../config/filters.ts";
import type { RequestContext } from "../config/request_context.ts";
import type { CompiledKey } from "../limiter/key_spec.ts";
import type { RewriteFunction } from "../routing/rewrite.ts";
import type { RouteFinder } from "../routing/route_finder.ts";
import type { PathMode } from "../routing/route_match.ts";
import type { Timeouts } from "../transport/transport.ts";
import type { Admission, PoolRuntime } from "./proxy_runtime.ts";

/** A route at work. */
export interface RouteRuntime {
  readonly name: string;
  /** The pool of its requests; `null` when a split decides. */
  readonly pool: PoolRuntime | null;
  readonly split: Split<PoolRuntime> | null;
  /** What the split goes by; `null` for chance. */
  readonly splitKey: CompiledKey | null;
  readonly paths: PathMode;
  /** Whether the server gets the normal form of the path. */
  readonly normalized: boolean;
  readonly rewrite: RewriteFunction<RequestContext> | null;
  readonly admission: Admission | null;
  /** For each pool; `null` when the pools' own hold. */
  readonly timeouts: ReadonlyMap<PoolRuntime, Timeouts> | null;
  readonly filters: Filters & RequestNaming;
  readonly newContext: Filters["newContext"] | null;
}

/** All routes of a proxy. */
export interface RouteTable {
  readonly finder: RouteFinder;
  /** In the order of the configuration. */
  readonly routes: readonly RouteRuntime[];
}
