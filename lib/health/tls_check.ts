/** Checks whether a server does a TLS handshake with the right certificate. */

import { type Probe, ProbeConnection, tlsOf } from "./probe.ts";

/**
 * Makes a probe that does a TLS handshake as requests do it, with the same name and the same authorities.
 *
 * @param port connects to this port; `null` is the port of the server
 */
export function tlsCheck(port: number | null = null): Probe {
  return async (server, signal) => {
    using _connection = await ProbeConnection.open(server, { port, tls: tlsOf(server) }, signal);
  };
}
