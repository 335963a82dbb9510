/** Gives a client the connection that a server has switched to another protocol. */

import type { ServerResponse, Tunnel } from "../transport/transport.ts";
import { checkHandshake } from "../transport/websocket/handshake.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Checks the server's side of the handshake, and switches the client's connection over.
 *
 * The exchange lasts as long as the tunnel: whatever it holds is held until both sides have closed.
 *
 * @throws {UpstreamError} 502 when the server has switched to something else
 */
export async function relayTunnel(
  exchange: Exchange,
  response: ServerResponse,
  tunnel: Tunnel,
): Promise<void> {
  const { key, protocols } = exchange.webSocket!;
  const { status, statusText } = response;
  const headers = response.headers.clone();
  headers.detach();
  await checkHandshake(headers, key, protocols);
  exchange.throwIfCancelled();
  const head = { status, statusText, headers };
  exchange.status = status;
  exchange.answered = true;
  const { cancellation, pool, runtime: { wheel } } = exchange;
  exchange.stream.switchProtocols(head, tunnel, { webSocket: pool.webSocket!, cancellation, wheel });
}
