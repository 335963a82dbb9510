/** A TLS client of a proxy, at the byte level. */

import { connect } from "node:tls";
import { RawConnection } from "./raw_connection.ts";
import { testCa } from "./test_ca.ts";

/**
 * Connects to a port of loopback and does the handshake with a server name; rejects if the certificate has another
 * name.
 */
export async function tlsClient(port: number, serverName: string): Promise<RawConnection> {
  const { cert } = await testCa();
  const tcp = await Deno.connect({ hostname: "127.0.0.1", port });
  tcp.setNoDelay(true);
  const secured = await Deno.startTls(tcp, { hostname: serverName, caCerts: [cert] });
  try {
    await secured.handshake();
  } catch (error) {
    secured.close();
    throw error;
  }
  return new RawConnection(secured);
}

/** A client for `fetch` that trusts the test authority, with the given HTTP version only. */
export async function trustingClient(protocol: "h1" | "h2" = "h1"): Promise<Deno.HttpClient> {
  const { cert } = await testCa();
  return Deno.createHttpClient({ caCerts: [cert], http1: protocol === "h1", http2: protocol === "h2" });
}

/** The names in the certificate for a client with a server name, or without one; rejects if the handshake fails. */
export function shownNames(port: number, serverName: string | null): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const options = serverName === null ? {} : { servername: serverName };
  const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false, ...options }, () => {
    resolve(socket.getPeerCertificate().subjectaltname ?? "");
    socket.destroy();
  });
  socket.on("error", reject);
  socket.on("close", () => reject(new Error("The connection was closed")));
  return promise;
}
