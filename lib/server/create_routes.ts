/** Puts routes to work. */

import { Split } from "../balancer/split.ts";
import type { Filters } from "../config/filters.ts";
import type { ResolvedRoute } from "../config/route_options.ts";
import type { Random } from "../core/random.ts";
import { compileKey } from "../limiter/key_spec.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import type { Admission, PoolRuntime } from "../proxy/proxy_runtime.ts";
import type { RouteRuntime, RouteTable } from "../proxy/route_runtime.ts";
import { type FindableRoute, RouteFinder } from "../routing/route_finder.ts";

/** What routes are made of beside their configuration. */
export interface RouteParts {
  readonly pools: ReadonlyMap<string, PoolRuntime>;
  readonly random: Random;
  /** The configuration's own limits. */
  readonly admission: Admission | null;
  readonly policies: readonly ResolvedPolicy[];
  /** The configuration's own filters. */
  readonly filters: Filters;
  /** Puts limits to work. */
  admit(policies: readonly ResolvedPolicy[]): Admission | null;
}

/** Makes the routes; `null` when there are none. */
export function createRoutes(routes: readonly ResolvedRoute[], parts: RouteParts): RouteTable | null {
  if (routes.length === 0) return null;
  const known = new Map<readonly ResolvedPolicy[], Admission | null>();
  const admit = (policies: readonly ResolvedPolicy[]): Admission | null => {
    let made = known.get(policies);
    if (made === undefined) known.set(policies, made = parts.admit(policies));
    return made;
  };
  return {
    finder: new RouteFinder(findable(routes, parts)),
    routes: routes.map((route) => createRoute(route, { ...parts, admit })),
  };
}

/** Phases in which a filter of the configuration may treat the requests of each route in another way. */
const TELLING = ["requestFilter", "requestBodyFilter", "upstreamPeer", "upstreamRequestFilter"] as const;

/** Tells routes that treat requests in the same way from others. */
function findable(
  routes: readonly ResolvedRoute[],
  { policies: shared, filters: common }: RouteParts,
): readonly FindableRoute[] {
  const treatments = new Map<string, number>();
  const numbers = new Map<unknown, number>();
  const numberOf = (value: unknown): number => {
    if (!numbers.has(value)) numbers.set(value, numbers.size);
    return numbers.get(value)!;
  };
  const seesRoutes = TELLING.some((phase) => common[phase] !== undefined);
  return routes.map(({ match, paths, forward, pools, filterSets, limiter }, order) => {
    const policies = limiter ?? shared;
    const limits = policies.length === 0 ? "none" : numberOf(limiter);
    const key = JSON.stringify([pools, paths, limits, filterSets.map(numberOf), seesRoutes ? order : 0]);
    if (!treatments.has(key)) treatments.set(key, treatments.size);
    return {
      match,
      paths,
      normalized: forward === "normalized",
      treatment: treatments.get(key)!,
      guards: [...filterSets, ...policies],
    };
  });
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
