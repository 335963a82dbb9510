/** Finds the route of a request, and with it its pool, limits and filters. */

import { refusePromise } from "../core/callback.ts";
import { FilterError, ProxyError, RequestError } from "../core/errors.ts";
import { mergeStates } from "../filter/compose_filters.ts";
import { checkedKey } from "../limiter/key_spec.ts";
import type { FoundRoute } from "../routing/route_finder.ts";
import type { Exchange } from "./exchange.ts";
import type { PoolRuntime, RouteRuntime, RouteTable } from "./proxy_runtime.ts";

/**
 * Applies the first route that matches the request. Without one, the request keeps the limits and filters of the
 * configuration, and `refuseUnrouted` decides later.
 *
 * @throws {RequestError} 400 for a path that a server could read as that of another route
 * @throws {FilterError} when `newContext` of the route throws or is async, or when the function that makes the key of
 * a split throws
 */
export function matchRoute(exchange: Exchange, { finder, routes }: RouteTable): void {
  const { method, host, fields, pathShape: { plain } } = exchange;
  const request = { method, host, fields };
  const order = plain
    ? finder.find(request, exchange.path)
    : findWritten(exchange, finder.findWritten(request, exchange.receivedPath));
  if (order < 0) return;
  const route = routes[order]!;
  exchange.matched = route;
  if (plain) exchange.normalized = route.normalized;
  exchange.filters = route.filters;
  exchange.admission = route.admission;
  if (route.newContext !== null) addState(exchange, route.newContext!);
  exchange.pool = route.pool ?? splitPool(exchange, route);
}

function findWritten(exchange: Exchange, { order, normalized, ambiguous }: FoundRoute): number {
  if (ambiguous) throw new RequestError("The path could be taken for that of another route");
  exchange.normalized = normalized;
  return order;
}

/**
 * Checks a path that is not plain: refuses one that can be read in too many ways and, where only the normal form is
 * accepted, one that is not in normal form.
 *
 * @throws {RequestError} 400
 */
export function checkPath(exchange: Exchange): void {
  if (exchange.pathShape.plain) return;
  const { paths, path, receivedPath } = exchange;
  // Before filters do it, for which it would be reported as their error.
  void exchange.otherPaths;
  if (paths !== "refuse") return;
  const received = receivedPath.replace(/%[0-9a-f]{2}/gi, (encoded) => encoded.toUpperCase());
  if (path !== received || UNUSUAL.test(path)) {
    throw new RequestError(`The path must be in its normal form, received ${JSON.stringify(receivedPath)}`);
  }
}

/** Parts that servers read in different ways, and no client needs. */
const UNUSUAL = /;|%(?:00|2F|3B|5C)/;

/**
 * Refuses a request that no route matches.
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
    exchange.state = mergeStates(exchange.state, refusePromise(newContext(exchange.request)));
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
