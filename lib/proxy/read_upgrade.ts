/** Requests to speak another protocol on the connection. */

import { RequestError } from "../core/errors.ts";
import { fieldTokens } from "../http/field_list.ts";
import { handshakeKey, offeredProtocols } from "../transport/websocket/handshake.ts";
import type { RequestFields } from "./read_fields.ts";

/** What a client wants of a WebSocket. */
export interface WebSocketRequest {
  /** The proxy's own key towards the server; the client's stays between the client and the runtime. */
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
export function readUpgrade(method: string, fields: RequestFields): WebSocketRequest | null {
  const { connection, upgrade, list } = fields;
  if (connection === null || !named(connection, "upgrade") || !named(upgrade!, "websocket")) return null;
  if (method !== "GET") throw new RequestError(`A WebSocket is opened by GET, received ${method}`);
  if (valueOf(list, "sec-websocket-version") !== "13") {
    throw new RequestError("The version of a WebSocket must be 13", 426, {
      "sec-websocket-version": "13",
      upgrade: "websocket",
    });
  }
  if (!isKey(valueOf(list, "sec-websocket-key"))) {
    throw new RequestError("Sec-WebSocket-Key must be sixteen bytes in base64");
  }
  return { key: handshakeKey(), protocols: offeredProtocols(valueOf(list, "sec-websocket-protocol")) };
}

/** Puts the proxy's own handshake in place of the client's (RFC 6455 section 4.1); no extensions are offered. */
export function addHandshake(list: string[], { key }: WebSocketRequest): void {
  let kept = 0;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    if (name === "sec-websocket-key" || name === "sec-websocket-extensions") continue;
    list[kept] = name;
    list[kept + 1] = list[i + 1]!;
    kept += 2;
  }
  list.length = kept;
  list.push("connection", "Upgrade", "upgrade", "websocket", "sec-websocket-key", key);
}

function named(field: string, token: string): boolean {
  return fieldTokens(field).some((each) => each.toLowerCase() === token);
}

function valueOf(list: readonly string[], name: string): string | null {
  for (let i = 0; i < list.length; i += 2) if (list[i] === name) return list[i + 1]!;
  return null;
}

function isKey(key: string | null): boolean {
  return key !== null && /^[A-Za-z0-9+/]{22}==$/.test(key);
}
