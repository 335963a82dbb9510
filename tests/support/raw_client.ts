/** A client whose every byte the test decides. */

import { TLS_PORTS } from "./engine.ts";
import { RawConnection } from "./raw_connection.ts";
import { tlsClient } from "./tls_client.ts";

/** Connects to a server on loopback; `using` closes it. Over TLS where the listener has got it for the test. */
export async function rawClient(port: number): Promise<RawConnection> {
  if (TLS_PORTS.has(port)) return await tlsClient(port, "localhost");
  return new RawConnection(await Deno.connect({ hostname: "127.0.0.1", port }));
}
