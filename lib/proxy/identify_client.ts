/** Finds out who asks: the peer of the connection, or the client that a trusted proxy names. */

import type { ClientInfo } from "../filter/request_context.ts";
import type { TrustedProxies } from "../http/trusted_proxies.ts";
import type { ClientStream } from "./client_stream.ts";

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

/** Looks at the peer, and at what it says of its own client when it is trusted. */
export function identifyClient(trusted: TrustedProxies | null, stream: ClientStream): Identity {
  const { peerIp, peerPort, certificate, listener: { scheme } } = stream;
  if (trusted === null || !trusted.trusts(peerIp)) {
    return {
      client: { ip: peerIp, port: peerPort, certificate },
      peerIp,
      peerScheme: scheme,
      scheme,
      forwardedHost: null,
      forwardedFor: null,
      forwarded: null,
    };
  }
  const found = trusted.ask(peerIp, stream.headers);
  const byForwarded = trusted.field === "forwarded";
  return {
    client: { ip: found.clientIp, port: found.clientIp === peerIp ? peerPort : 0, certificate },
    peerIp,
    peerScheme: scheme,
    scheme: found.scheme ?? scheme,
    forwardedHost: found.host,
    forwardedFor: byForwarded ? null : found.said,
    forwarded: byForwarded ? found.said : null,
  };
}
