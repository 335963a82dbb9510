/** Checks whether a server accepts connections. */

import { type Probe, ProbeConnection } from "./probe.ts";

/**
 * Makes a probe that opens a connection and closes it at once.
 *
 * @param port connects to this port; `null` is the port of the server
 */
export function tcpCheck(port: number | null = null): Probe {
  return async (server, signal) => {
    using _connection = await ProbeConnection.open(server, { port, tls: null }, signal);
  };
}
