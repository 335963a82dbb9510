/** TLS connections that can be given up while the handshake hangs. */

import { isIP } from "node:net";
import { checkServerIdentity, connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import type { PeerTls } from "../upstream/peer.ts";
import type { ProbeStream } from "./probe_connection.ts";

/** Where to connect, and as whom. */
export interface TlsTarget {
  readonly hostname: string;
  readonly port: number;
  readonly tls: PeerTls;
}

/** Codes of errors that other authorities might have prevented. */
const UNTRUSTED = new Set([
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
]);

/**
 * Connects and does the handshake; rejects when the signal aborts.
 *
 * Not by `Deno.startTls`: closing its connections while the server keeps silent leaves the socket open for good (seen
 * in Deno 2.9.6), and a server that hangs is checked every second. Here authorities of one's own take the place of the
 * system's, so the system's are tried after them: reading both each time costs ten times as much.
 */
export async function openTls(target: TlsTarget, signal: AbortSignal): Promise<ProbeStream> {
  const { caCerts } = target.tls;
  if (caCerts.length === 0) return await handshake(target, {}, signal);
  try {
    return await handshake(target, { ca: [...caCerts] }, signal);
  } catch (error) {
    if (!UNTRUSTED.has((error as { code?: string }).code ?? "")) throw error;
    return await handshake(target, {}, signal);
  }
}

function handshake(target: TlsTarget, trust: { ca?: string[] }, signal: AbortSignal): Promise<ProbeStream> {
  const { promise, resolve, reject } = Promise.withResolvers<ProbeStream>();
  const socket = connect({ ...optionsOf(target), ...trust });
  const giveUp = (): void => {
    socket.destroy();
    reject(signal.reason);
  };
  signal.addEventListener("abort", giveUp, { once: true });
  socket.once("secureConnect", () => {
    signal.removeEventListener("abort", giveUp);
    resolve(streamOf(socket));
  });
  // Stays for good: an error without a listener would end the process.
  socket.on("error", (error: Error) => {
    signal.removeEventListener("abort", giveUp);
    socket.destroy();
    reject(error);
  });
  if (signal.aborted) giveUp();
  return promise;
}

function optionsOf({ hostname, port, tls }: TlsTarget): ConnectionOptions {
  const { serverName, cert, key, verifyHostname = true } = tls;
  return {
    host: hostname,
    port,
    // An address is no name for SNI (RFC 6066 section 3), but it can stand in a certificate.
    ...(isIP(serverName) === 0 ? { servername: serverName } : {}),
    checkServerIdentity: (_, certificate) =>
      verifyHostname ? checkServerIdentity(serverName, certificate) : undefined,
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

function streamOf(socket: TLSSocket): ProbeStream {
  const chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
  return {
    async read() {
      const { done, value } = await chunks.next();
      return done === true ? null : value;
    },
    write(bytes) {
      return new Promise((resolve, reject) => {
        socket.write(bytes, (error) => error ? reject(error) : resolve());
      });
    },
    close: () => void socket.destroy(),
  };
}
