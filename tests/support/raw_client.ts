/** A client whose bytes are set by the test. */

import { TLS_PORTS } from "./engine.ts";
import { RawConnection } from "./raw_connection.ts";
import { tlsClient } from "./tls_client.ts";

/** Connects to a server on loopback; `using` closes the connection. Uses TLS if the listener got it for the test. */
export async function rawClient(port: number): Promise<RawConnection> {
  if (TLS_PORTS.has(port)) return await tlsClient(port, "localhost");
  return new RawConnection(await Deno.connect({ hostname: "127.0.0.1", port }));
}
