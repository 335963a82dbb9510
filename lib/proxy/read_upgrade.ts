/** Requests to speak another protocol on the connection. */

import { RequestError } from "../core/errors.ts";
import { fieldTokens } from "../http/field_list.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import { handshakeKey, offeredProtocols } from "../transport/websocket/handshake.ts";

/** What a client wants of a WebSocket. */
export interface WebSocketRequest {
  /** The proxy's own key towards the server; the client's stays between the client and its engine. */
  readonly key: string;
  /** Subprotocols that the client can speak, the liked ones first. */
  readonly protocols: readonly string[];
}

/**
 * Reads the `Upgrade` field; `null` when it means nothing: `Connection` does not name it, or it offers other protocols
 * than WebSocket, which is declined by answering the request (RFC 9110 section 7.8).
 *
 * @throws {RequestError} 426 for another version of WebSocket, 400 for a bad handshake
 */
export function readUpgrade(method: string, headers: HeaderFields): WebSocketRequest | null {
  const upgrade = headers.get("upgrade");
  if (upgrade === null || !named(headers.get("connection") ?? "", "upgrade")) return null;
  if (!named(upgrade, "websocket")) return null;
  if (method !== "GET") throw new RequestError(`A WebSocket is opened by GET, received ${method}`);
  if (headers.get("sec-websocket-version") !== "13") {
    throw new RequestError("The version of a WebSocket must be 13", 426, {
      "sec-websocket-version": "13",
      upgrade: "websocket",
    });
  }
  if (!isKey(headers.get("sec-websocket-key"))) {
    throw new RequestError("Sec-WebSocket-Key must be sixteen bytes in base64");
  }
  return { key: handshakeKey(), protocols: offeredProtocols(headers.get("sec-websocket-protocol")) };
}

/** Puts the proxy's own handshake in place of the client's (RFC 6455 section 4.1); no extensions are offered. */
export function addHandshake(headers: HeaderFields, { key }: WebSocketRequest): void {
  headers.delete("sec-websocket-key");
  headers.delete("sec-websocket-extensions");
  headers.list.push("connection", "Upgrade", "upgrade", "websocket", "sec-websocket-key", key);
}

function named(field: string, token: string): boolean {
  return fieldTokens(field).some((each) => each.toLowerCase() === token);
}

function isKey(key: string | null): boolean {
  return key !== null && /^[A-Za-z0-9+/]{22}==$/.test(key);
}
