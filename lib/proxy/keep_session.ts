/** Ties a client to the server that answers it, where the pool is asked to. */

import { cookieValue } from "../http/cookie_value.ts";
import type { UpstreamResponse } from "../transport/transport.ts";
import type { Exchange } from "./exchange.ts";

/** Reads to which server the client belongs, before one is selected. */
export function readSession(exchange: Exchange): void {
  const { sticky } = exchange.pool.balancer;
  if (sticky === null) return;
  exchange.session = cookieValue(exchange.received.headers.get("cookie"), sticky.cookie);
}

/** Tells the client to which server it belongs, unless it knows that already. */
export function announceSession(exchange: Exchange, response: Pick<UpstreamResponse, "headers">): void {
  const { pool: { balancer: { sticky } }, selected, session, identity } = exchange;
  if (sticky === null || selected === null || sticky.isOf(session, selected)) return;
  const field = sticky.setCookieFor(selected, identity.scheme === "https");
  if (field !== null) response.headers.append("set-cookie", field);
}
