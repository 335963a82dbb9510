/** Finds out who asks: the peer of the connection, or the client that a trusted proxy names. */

import type { ClientInfo } from "../config/request_context.ts";
import { plainAddress, type TrustedProxies } from "../http/trusted_proxies.ts";

/** Who asks, and how. */
export interface Identity {
  readonly client: ClientInfo;
  /** Address of the other end of the connection; `""` on a unix socket. */
  readonly peerIp: string;
  /** Scheme of the connection. */
  readonly peerScheme: string;
  /** Scheme that the client used. */
  readonly scheme: string;
  /** Host that the client asked a trusted proxy for; `null` when there is no such word. */
  readonly forwardedHost: string | null;
  /** What a trusted proxy says in `X-Forwarded-For`; `null` when nothing counts. */
  readonly forwardedFor: string | null;
  /** What a trusted proxy says in `Forwarded`; `null` when nothing counts. */
  readonly forwarded: string | null;
}

/**
 * Looks at the peer, and at what it says of its own client when it is trusted.
 *
 * @param scheme that of the listener
 */
export function identifyClient(
  trusted: TrustedProxies | null,
  remote: Deno.ServeHandlerInfo["remoteAddr"],
  scheme: string,
  fields: Headers,
): Identity {
  const tcp = "hostname" in remote;
  const peerIp = tcp ? plainAddress(remote.hostname) : "";
  const port = tcp ? remote.port : 0;
  if (trusted === null || !trusted.trusts(peerIp)) {
    const client = { ip: peerIp, port };
    return {
      client,
      peerIp,
      peerScheme: scheme,
      scheme,
      forwardedHost: null,
      forwardedFor: null,
      forwarded: null,
    };
  }
  const word = trusted.ask(peerIp, fields);
  const byForwarded = trusted.field === "forwarded";
  return {
    client: { ip: word.clientIp, port: word.clientIp === peerIp ? port : 0 },
    peerIp,
    peerScheme: scheme,
    scheme: word.scheme ?? scheme,
    forwardedHost: word.host,
    forwardedFor: byForwarded ? null : word.said,
    forwarded: byForwarded ? word.said : null,
  };
}
