/** A client that speaks TLS to a proxy, byte by byte. */

import { connect } from "node:tls";
import { RawConnection } from "./raw_connection.ts";
import { testCa } from "./test_ca.ts";

/** Connects to a port of loopback and does the handshake, asking for the name; rejects when the certificate is for another. */
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

/** A client for `fetch` that trusts the test authority; HTTP/2 alone when it is asked for. */
export async function trustingClient(protocol: "h1" | "h2" = "h1"): Promise<Deno.HttpClient> {
  const { cert } = await testCa();
  return Deno.createHttpClient({ caCerts: [cert], http1: protocol === "h1", http2: protocol === "h2" });
}

/** The names in the certificate that a client is shown who asks for a name, or for none; rejects when there is no handshake. */
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
