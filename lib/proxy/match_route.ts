/** Finds the route of a request, and with it its pool, limits and filters. */

import { FilterError, ProxyError } from "../core/errors.ts";
import { mergeStates } from "../config/merge_states.ts";
import { checkedKey } from "../limiter/key_spec.ts";
import type { Exchange } from "./exchange.ts";
import type { PoolRuntime, RouteRuntime, RouteTable } from "./proxy_runtime.ts";

/**
 * Sets what the first route says that takes the request. Where none does, the request stays with the limits and filters
 * of the configuration; `refuseUnrouted` has the last word.
 *
 * @throws {FilterError} when `newContext` of the route throws, or the function that makes the key of a split
 */
export function matchRoute(exchange: Exchange, { matcher, routes }: RouteTable): void {
  const { method, host, target, fields } = exchange;
  const found = matcher.find({ method, host, target, fields });
  if (found < 0) return;
  const route = routes[found]!;
  exchange.matched = route;
  exchange.filters = route.filters;
  exchange.admission = route.admission;
  if (route.newContext !== null) addState(exchange, route.newContext!);
  exchange.pool = route.pool ?? splitPool(exchange, route);
}

/**
 * Ends the way of a request that no route takes.
 *
 * @throws {ProxyError} 404
 */
export function refuseUnrouted({ matched, runtime }: Exchange): void {
  if (matched !== null || runtime.routes === null) return;
  throw new ProxyError("No route matches this request", {
    code: "destination_not_found",
    status: 404,
    source: "client",
  });
}

function addState(exchange: Exchange, newContext: (request: Request) => unknown): void {
  try {
    exchange.state = mergeStates(exchange.state, newContext(exchange.request));
  } catch (error) {
    throw new FilterError("newContext", error);
  }
}

function splitPool(exchange: Exchange, { split, splitKey }: RouteRuntime): PoolRuntime {
  try {
    return split!.pick(splitKey === null ? null : checkedKey(splitKey(exchange) ?? null));
  } catch (error) {
    throw new FilterError("splitKey", error);
  }
}
