/** Puts routes to work. */

import { Split } from "../balancer/split.ts";
import { findableRoutes } from "../config/findable_routes.ts";
import type { ResolvedConfig } from "../config/proxy_config.ts";
import type { ResolvedRoute } from "../config/route_options.ts";
import type { Random } from "../core/random.ts";
import { compileKey } from "../limiter/key_spec.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import type { Admission, PoolRuntime, RouteRuntime, RouteTable } from "../proxy/proxy_runtime.ts";
import { RouteFinder } from "../routing/route_finder.ts";

/** What routes are made of beside their configuration. */
export interface RouteParts {
  readonly pools: ReadonlyMap<string, PoolRuntime>;
  readonly random: Random;
  /** The configuration's own limits. */
  readonly admission: Admission | null;
  /** Puts limits to work. */
  admit(policies: readonly ResolvedPolicy[]): Admission | null;
}

/** Makes the routes; `null` when there are none. */
export function createRoutes(config: ResolvedConfig, parts: RouteParts): RouteTable | null {
  const { routes } = config;
  if (routes.length === 0) return null;
  const known = new Map<readonly ResolvedPolicy[], Admission | null>();
  const admit = (policies: readonly ResolvedPolicy[]): Admission | null => {
    let made = known.get(policies);
    if (made === undefined) known.set(policies, made = parts.admit(policies));
    return made;
  };
  return {
    finder: new RouteFinder(findableRoutes(config)),
    routes: routes.map((route) => createRoute(route, { ...parts, admit })),
  };
}

function createRoute(route: ResolvedRoute, { pools, random, admission, admit }: RouteParts): RouteRuntime {
  const { name, rewrite, paths, forward, filters, newContext, splitKey, limiter, timeouts } = route;
  const weights = route.pools.map(([pool, weight]) => [pools.get(pool)!, weight] as const);
  const alone = weights.length === 1;
  return {
    name,
    paths,
    normalized: forward === "normalized",
    rewrite,
    filters,
    newContext,
    pool: alone ? weights[0]![0] : null,
    split: alone ? null : new Split(weights, random),
    splitKey: splitKey === null ? null : compileKey(splitKey),
    admission: limiter === null ? admission : admit(limiter),
    timeouts: Object.keys(timeouts).length === 0
      ? null
      // For every pool, because `upstreamPeer` may name any.
      : new Map(Array.from(pools.values(), (pool) => [pool, { ...pool.timeouts, ...timeouts }])),
  };
}
