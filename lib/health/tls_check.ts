/** Whether a server speaks TLS and has the right certificate. */

import type { Probe } from "./probe.ts";
import { ProbeConnection, tlsOf } from "./probe_connection.ts";

/**
 * Makes a probe that does a TLS handshake as requests do it, with the same name and the same trust.
 *
 * @param port where to connect in place of the server's own port; `null` is the server's
 */
export function tlsCheck(port: number | null = null): Probe {
  return async (server, signal) => {
    const { address } = server.peer;
    using _connection = await ProbeConnection.open({ address, port, tls: tlsOf(server) }, signal);
  };
}
