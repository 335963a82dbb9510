/** First step: find out what is asked, and refuse what cannot be forwarded. */

import { refusePromise } from "../core/callback.ts";
import { FilterError, LoopError, RequestError } from "../core/errors.ts";
import type { Exchange } from "./exchange.ts";
import { checkPath, matchRoute } from "./match_route.ts";
import { readUpgrade } from "./upgrade.ts";

/**
 * Makes the request's own state, and finds the route.
 *
 * @throws {RequestError} 400, 405 or 501 for what cannot be forwarded
 * @throws {FilterError} when `newContext` throws, or is async
 */
export function openExchange(exchange: Exchange): void {
  const { method, stream, runtime } = exchange;
  makeState(exchange);
  if (runtime.loopMark !== null) {
    const cdnLoop = stream.headers.get("cdn-loop");
    if (cdnLoop !== null && runtime.loopMark.isIn(cdnLoop)) throw new LoopError();
  }
  if (method === "CONNECT") throw new RequestError("The method CONNECT is not forwarded", 501);
  if (method === "TRACE") {
    throw new RequestError("The method TRACE is not forwarded", 405, { allow: ALLOWED });
  }
  if (stream.upgrade) exchange.upgrade = readUpgrade(stream);
  if (runtime.routes !== null) matchRoute(exchange, runtime.routes);
  if (runtime.looksAtPaths) checkPath(exchange);
}

/**
 * Makes the request's own state; bad requests have one too, because `failToProxy` and `logging` are asked about them.
 *
 * @throws {FilterError} when `newContext` throws, or is async
 */
export function makeState(exchange: Exchange): void {
  const { newContext } = exchange.runtime.filters;
  if (newContext === undefined) return;
  try {
    exchange.state = refusePromise(newContext(exchange.request));
  } catch (error) {
    throw new FilterError("newContext", error);
  }
}

const ALLOWED = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
