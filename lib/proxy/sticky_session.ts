/** Ties a client to the server that responds to it, where the pool is asked to. */

import { cookieValue } from "../http/cookie_value.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import type { Exchange } from "./exchange.ts";

/** Reads to which server the client belongs, before one is selected. */
export function readSession(exchange: Exchange): void {
  const { sticky } = exchange.pool.balancer;
  if (sticky === null) return;
  exchange.session = cookieValue(exchange.fields.get("cookie"), sticky.cookie);
}

/** Tells the client to which server it belongs, unless it knows that already. */
export function announceSession(exchange: Exchange, headers: HeaderFields): void {
  const { pool: { balancer: { sticky } }, selected, session } = exchange;
  if (sticky === null || selected === null || sticky.isOf(session, selected)) return;
  const field = sticky.setCookieFor(selected, exchange.identity.scheme === "https");
  if (field !== null) headers.append("set-cookie", field);
}
