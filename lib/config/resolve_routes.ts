/** Completes routes. */

import { parseDuration } from "../core/duration.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { compileRewrite } from "../routing/rewrite.ts";
import { listOf, type PathForward, type PathMode, type RouteMatch } from "../routing/route_match.ts";
import type { Timeouts } from "../transport/transport.ts";
import { composeFilters } from "../filter/compose_filters.ts";
import type { Filters } from "../filter/filters.ts";
import { resolveRetries } from "./retry_options.ts";
import type { ProxyConfig } from "./proxy_config.ts";
import type { TimeoutOptions } from "./server_options.ts";
import { RouteLimits } from "./route_limits.ts";
import type { ResolvedRoute, RouteOptions } from "./route_options.ts";

/** What routes share with the configuration that they are in. */
interface RouteSurroundings {
  readonly defaultPool: string;
  /** The configuration's limiter, as written and complete. */
  readonly limiter: ProxyConfig["limiter"];
  readonly policies: readonly ResolvedPolicy[];
  /** Filter sets of the configuration, its own phases first. */
  readonly filterSets: readonly Filters[];
  readonly paths: PathMode;
  readonly forward: PathForward;
}

/** Completes routes that are known to be good. */
export function resolveRoutes(
  routes: readonly RouteOptions[],
  { defaultPool, limiter, policies, filterSets, ...common }: RouteSurroundings,
): readonly ResolvedRoute[] {
  const limits = new RouteLimits(limiter, policies);
  return Object.freeze(routes.map((route) => {
    const { match = {}, upstream = defaultPool, splitKey = null, rewrite, timeouts, filters = [] } = route;
    const { name = nameOf(match), paths = common.paths } = route;
    const { forward = paths === "raw" ? "received" : common.forward } = route;
    return Object.freeze({
      name,
      match,
      pools: typeof upstream === "string" ? [[upstream, 1] as const] : Object.entries(upstream),
      splitKey: splitKey as ResolvedRoute["splitKey"],
      paths,
      forward,
      rewrite: rewrite === undefined ? null : compileRewrite(rewrite),
      limiter: limits.of(route.limiter, name),
      timeouts: resolveTimeouts(timeouts),
      retries: route.retries === undefined ? undefined : resolveRetries(route.retries),
      filters: composeFilters([...filterSets, ...filters]),
      filterSets: filters,
      newContext: composeFilters(filters).newContext ?? null,
    });
  }));
}

function resolveTimeouts(
  { connect, tls = connect, response, idle, total }: TimeoutOptions = {},
): Partial<Timeouts> {
  return Object.freeze({
    ...(connect !== undefined && { connectMs: parseDuration(connect)! }),
    ...(tls !== undefined && { tlsMs: parseDuration(tls)! }),
    ...(response !== undefined && { responseMs: parseDuration(response)! }),
    ...(idle !== undefined && { idleMs: parseDuration(idle)!, eventStreamIdleMs: parseDuration(idle)! }),
    ...(total !== undefined && { totalMs: parseDuration(total)! }),
  });
}

function nameOf({ host, path }: RouteMatch): string {
  return (listOf(host)?.[0] ?? "") + (listOf(path)?.[0] ?? "/*");
}
