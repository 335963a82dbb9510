/** Requests to switch to another protocol (RFC 9110 section 7.8). */

import { RequestError } from "../core/errors.ts";
import { fieldTokens } from "../http/field_lines.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import { removeHopByHop } from "../http/proxy_fields.ts";
import type { ResponseHead } from "../http/message.ts";
import type { ServerResponse, Tunnel } from "../transport/transport.ts";
import {
  addAnswer,
  checkHandshake,
  handshakeKey,
  offeredProtocols,
} from "../transport/websocket/handshake.ts";
import type { ClientStream } from "./client_stream.ts";
import type { Exchange, UpgradeOffer } from "./exchange.ts";

/**
 * Reads the `Upgrade` field; `null` to ignore it: when `Connection` does not name it, or when it offers only
 * protocols that cannot be forwarded, which are declined by an ordinary response (RFC 9110 section 7.8). These are
 * HTTP/2 without TLS and TLS itself: the server would negotiate with the client about the connection between client
 * and proxy.
 *
 * @throws {RequestError} 426 for another version of WebSocket, 400 for a malformed handshake
 */
export function readUpgrade(stream: ClientStream): UpgradeOffer | null {
  const { headers } = stream;
  const upgrade = headers.get("upgrade");
  if (upgrade === null || !hasToken(headers.get("connection") ?? "", "upgrade")) return null;
  if (hasToken(upgrade, "websocket")) return { protocol: "websocket", webSocket: readWebSocket(stream) };
  if (!stream.tunnelsRaw || stream.body !== null) return null;
  const passed = fieldTokens(upgrade).filter((token) => !/^(?:h2c$|http\/|tls\/)/i.test(token));
  return passed.length === 0 ? null : { protocol: passed.join(", "), webSocket: null };
}

function readWebSocket({ method, headers, tunnelsRaw, body }: ClientStream): UpgradeOffer["webSocket"] {
  if (method !== "GET") throw new RequestError(`A WebSocket is opened by GET, received ${method}`);
  // A server that switches before the end of the content would get it between the frames.
  if (body !== null) throw new RequestError("A WebSocket is opened by a request without content");
  if (headers.get("sec-websocket-version") !== "13") {
    throw new RequestError("The version of a WebSocket must be 13", 426, {
      "sec-websocket-version": "13",
      upgrade: "websocket",
    });
  }
  const key = headers.get("sec-websocket-key");
  if (key === null || !/^[A-Za-z0-9+/]{22}==$/.test(key)) {
    throw new RequestError("Sec-WebSocket-Key must be sixteen bytes in base64");
  }
  return {
    key: tunnelsRaw ? key : handshakeKey(),
    protocols: offeredProtocols(headers.get("sec-websocket-protocol")),
    extensions: tunnelsRaw && headers.has("sec-websocket-extensions"),
  };
}

function hasToken(field: string, token: string): boolean {
  return fieldTokens(field).some((each) => each.toLowerCase() === token);
}

/** Adds the offer to the request for the server (RFC 6455 section 4.1). */
export function addUpgrade(headers: HeaderFields, { protocol, webSocket }: UpgradeOffer): void {
  if (webSocket !== null) {
    headers.set("sec-websocket-key", webSocket.key);
    if (!webSocket.extensions) headers.delete("sec-websocket-extensions");
  }
  headers.list.push("connection", "Upgrade", "upgrade", protocol);
}

/**
 * Checks the server's side of the handshake.
 *
 * @throws {UpstreamError} 502 when the server has switched to another protocol
 */
export async function checkTunnel(exchange: Exchange, response: ServerResponse): Promise<void> {
  const { webSocket } = exchange.upgrade!;
  response.headers.detach();
  if (webSocket !== null && response.tunnel!.keyless === true) {
    await addAnswer(response.headers, webSocket.key);
  }
  if (webSocket !== null) await checkHandshake(response.headers, webSocket);
  exchange.throwIfCancelled();
}

/**
 * Switches the client's connection.
 *
 * The exchange lasts as long as the tunnel: everything that it holds is held until both sides have closed.
 */
export function relayTunnel(exchange: Exchange, head: ResponseHead, tunnel: Tunnel): void {
  const { cancellation, pool, upgrade, runtime: { wheel, webSocketMeter } } = exchange;
  exchange.status = 101;
  exchange.responseSource = "upstream";
  if (webSocketMeter !== null && upgrade!.webSocket !== null) {
    exchange.webSocketOpen = true;
    webSocketMeter.opened();
  }
  exchange.answered = true;
  const protocol = head.headers.get("upgrade") ?? upgrade!.protocol;
  removeHopByHop(head.headers);
  exchange.stream.switchProtocols(head, tunnel, {
    protocol,
    webSocket: pool.webSocket!,
    cancellation,
    wheel,
  });
}
