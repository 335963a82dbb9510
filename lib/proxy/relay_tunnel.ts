/** Gives a client the connection that a server has switched to another protocol. */

import type { ResponseHead } from "../http/message.ts";
import type { ServerResponse, Tunnel } from "../transport/transport.ts";
import { checkHandshake } from "../transport/websocket/handshake.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Checks the server's side of the handshake.
 *
 * @throws {UpstreamError} 502 when the server has switched to something else
 */
export async function checkTunnel(exchange: Exchange, response: ServerResponse): Promise<void> {
  const { key, protocols } = exchange.webSocket!;
  response.headers.detach();
  await checkHandshake(response.headers, key, protocols);
  exchange.throwIfCancelled();
}

/**
 * Switches the client's connection over.
 *
 * The exchange lasts as long as the tunnel: whatever it holds is held until both sides have closed.
 */
export function relayTunnel(exchange: Exchange, head: ResponseHead, tunnel: Tunnel): void {
  const { cancellation, pool, runtime: { wheel } } = exchange;
  exchange.status = 101;
  exchange.answered = true;
  exchange.stream.switchProtocols(head, tunnel, { webSocket: pool.webSocket!, cancellation, wheel });
}
