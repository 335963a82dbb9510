/** Gives a client the WebSocket that a server has agreed to. */

import { isHopByHop } from "../http/hop_by_hop.ts";
import type { Tunnel, UpstreamResponse } from "../transport/transport.ts";
import type { Exchange } from "./exchange.ts";
import { WebSocketRelay } from "./web_socket_relay.ts";

/**
 * Switches the client's connection over, with the fields of the server's answer, the subprotocol among them.
 *
 * The exchange lasts as long as the WebSocket: whatever it holds is held until both sides have closed.
 */
export function upgradeWebSocket(exchange: Exchange, upstream: UpstreamResponse, tunnel: Tunnel): Response {
  const { received, pool } = exchange;
  const options = pool.webSocket!;
  exchange.status = 101;
  const idleTimeout = options.pingIntervalMs === Infinity ? 0 : options.pingIntervalMs * 2 / 1000;
  const { socket, response } = Deno.upgradeWebSocket(received, { idleTimeout });
  const { list } = upstream.headers;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    if (!staysBehind(name)) response.headers.append(name, list[i + 1]!);
  }
  new WebSocketRelay({ exchange, client: socket, tunnel, options });
  return response;
}

/** What belongs to the server's side of the handshake, or is written by the runtime. */
function staysBehind(name: string): boolean {
  return isHopByHop(name) || name === "sec-websocket-accept" || name === "content-length" || name === "date";
}
