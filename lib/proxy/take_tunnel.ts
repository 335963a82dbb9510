/** Takes over a connection on which a server has switched protocols. */

import type { Tunnel, UpstreamResponse } from "../transport/transport.ts";
import { checkHandshake } from "../transport/websocket/handshake.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Checks the server's side of the handshake, and has the exchange hold the connection.
 *
 * @throws {UpstreamError} 502 when the server has switched to something else
 */
export async function takeTunnel(
  exchange: Exchange,
  response: UpstreamResponse,
  tunnel: Tunnel,
): Promise<void> {
  exchange.tunnel = tunnel;
  const { key, protocols } = exchange.webSocket!;
  await checkHandshake(response, key, protocols);
  exchange.throwIfCancelled();
}
