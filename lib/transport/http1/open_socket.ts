/** A socket to a server, as the server's address and its TLS settings ask for. */

import type { Peer, PeerTls } from "../../upstream/peer.ts";

/**
 * Connects to a peer; without its encryption, except when it wants a client certificate.
 *
 * @param signal gives up connecting, where the runtime can
 */
export async function openSocket(peer: Peer, signal: AbortSignal): Promise<Deno.Conn> {
  const { address, tls } = peer;
  if (address.kind === "unix") return await Deno.connect({ transport: "unix", path: address.path });
  const { hostname, port } = address;
  if (wantsCertificate(tls)) return await connectWithCertificate(hostname, port, tls);
  const socket = await Deno.connect({ hostname, port, signal });
  socket.setNoDelay(true);
  return socket;
}

/** Begins to encrypt a socket that {@linkcode openSocket} gave; the handshake is still to be done. */
export async function secureSocket(socket: Deno.Conn, tls: PeerTls): Promise<Deno.TlsConn> {
  if (isSecured(socket)) return socket;
  return await Deno.startTls(socket as Deno.TcpConn, {
    hostname: tls.serverName,
    caCerts: [...tls.caCerts],
    alpnProtocols: ["http/1.1"],
    unsafelyDisableHostnameVerification: tls.verifyHostname === false,
  });
}

function isSecured(socket: Deno.Conn): socket is Deno.TlsConn {
  return "handshake" in socket;
}

function wantsCertificate(tls: PeerTls | null): tls is PeerTls & { cert: string; key: string } {
  return tls !== null && tls.cert !== undefined && tls.key !== undefined;
}

// `startTls` takes no client certificate. `connectTls` does, but checks the certificate for the address it connects
// to, unless told another name in the way that the runtime's own node:tls does.
async function connectWithCertificate(
  hostname: string,
  port: number,
  { serverName, caCerts, cert, key, verifyHostname = true }: PeerTls & { cert: string; key: string },
): Promise<Deno.TlsConn> {
  const options = { hostname, port, caCerts: [...caCerts], cert, key, alpnProtocols: ["http/1.1"] };
  const check = { unsafelyDisableHostnameVerification: !verifyHostname };
  return await Deno.connectTls({ ...options, ...check, [Symbol.for("unstableServerName")]: serverName });
}
