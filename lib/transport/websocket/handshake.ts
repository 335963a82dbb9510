/** The handshake of a WebSocket with a server (RFC 6455 section 4.1). */

import { UpstreamError } from "../../core/errors.ts";
import { fieldTokens } from "../../http/field_lines.ts";
import type { HeaderFields } from "../../http/header_fields.ts";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** A key for `Sec-WebSocket-Key`: sixteen random bytes. */
export function handshakeKey(): string {
  return crypto.getRandomValues(new Uint8Array(16)).toBase64();
}

/**
 * Checks that a server which has switched protocols has switched to the requested WebSocket.
 *
 * @param offer the key, the subprotocols that the client offered, and whether it offered extensions
 * @returns the subprotocol that the server has chosen; `null` for none
 * @throws {UpstreamError} 502 when the response does not fit this handshake
 */
export async function checkHandshake(
  headers: HeaderFields,
  { key, protocols, extensions }: {
    readonly key: string;
    readonly protocols: readonly string[];
    readonly extensions: boolean;
  },
): Promise<string | null> {
  if (headers.get("upgrade")?.toLowerCase() !== "websocket") throw refused("it switched to something else");
  if (headers.get("sec-websocket-accept") !== await acceptOf(key)) {
    throw refused("its Sec-WebSocket-Accept does not belong to the key");
  }
  if (!extensions && headers.has("sec-websocket-extensions")) {
    throw refused("it uses extensions that were not offered");
  }
  const chosen = headers.get("sec-websocket-protocol");
  if (chosen === null) return null;
  if (!protocols.includes(chosen)) throw refused("it chose a subprotocol that was not offered");
  return chosen;
}

async function acceptOf(key: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-1", new TextEncoder().encode(key + GUID));
  return new Uint8Array(digest).toBase64();
}

/**
 * Adds the fields of an HTTP/1.1 handshake to the response of an extended CONNECT, which has no key (RFC 8441 section
 * 5).
 */
export async function addAnswer(headers: HeaderFields, key: string): Promise<void> {
  headers.set("upgrade", "websocket");
  headers.set("sec-websocket-accept", await acceptOf(key));
}

/** The subprotocols in a `Sec-WebSocket-Protocol` field. */
export function offeredProtocols(field: string | null): readonly string[] {
  return field === null ? [] : fieldTokens(field);
}

function refused(found: string): UpstreamError {
  return new UpstreamError(`Cannot open a WebSocket to the server: ${found}`, {
    code: "http_protocol_error",
    phase: "answered",
  });
}
