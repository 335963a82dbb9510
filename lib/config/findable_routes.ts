/** Tells routes that treat requests in the same way from others. */

import type { FindableRoute } from "../routing/route_finder.ts";
import type { ResolvedConfig } from "./proxy_config.ts";

/** Phases in which a filter of the configuration may treat the requests of each route in another way. */
const TELLING = ["requestFilter", "requestBodyFilter", "upstreamPeer", "upstreamRequestFilter"] as const;

/** The routes of a configuration, as far as they have to be found. */
export function findableRoutes(
  { routes, limiter: shared, filters: common }: Pick<ResolvedConfig, "routes" | "limiter" | "filters">,
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
