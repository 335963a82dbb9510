/** Finds the route of a request, and with it its pool, limits and filters. */

import { refusePromise } from "../core/callback.ts";
import { FilterError, ProxyError, RequestError } from "../core/errors.ts";
import { mergeStates } from "../filter/compose_filters.ts";
import { checkedKey } from "../limiter/key_spec.ts";
import type { FoundRoute } from "../routing/route_finder.ts";
import type { Exchange } from "./exchange.ts";
import type { PoolRuntime, RouteRuntime, RouteTable } from "./proxy_runtime.ts";

/**
 * Sets what the first route says that takes the request. Where none does, the request stays with the limits and filters
 * of the configuration; `refuseUnrouted` has the last word.
 *
 * @throws {RequestError} 400 for a path that a server could take for that of another route
 * @throws {FilterError} when `newContext` of the route throws or is async, or the function that makes the key of a split
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
 * Looks at a path that is not plain: one that can be read in very many ways is refused, and where nothing else is taken,
 * one that is not in its normal form.
 *
 * @throws {RequestError} 400
 */
export function checkPath(exchange: Exchange): void {
  if (exchange.pathShape.plain) return;
  const { paths, path, receivedPath } = exchange;
  // Before filters do, which are not to blame.
  void exchange.otherPaths;
  if (paths !== "refuse") return;
  const received = receivedPath.replace(/%[0-9a-f]{2}/gi, (encoded) => encoded.toUpperCase());
  if (path !== received || UNUSUAL.test(path)) {
    throw new RequestError(`The path must be in its normal form, received ${JSON.stringify(receivedPath)}`);
  }
}

/** What servers read in different ways, and no client needs. */
const UNUSUAL = /;|%(?:00|2F|3B|5C)/;

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
