/** Whether a server accepts connections. */

import type { Probe } from "./probe.ts";
import { ProbeConnection } from "./probe_connection.ts";

/**
 * Makes a probe that opens a connection and closes it at once.
 *
 * @param port where to connect in place of the server's own port; `null` is the server's
 */
export function tcpCheck(port: number | null = null): Probe {
  return async ({ peer: { address } }, signal) => {
    using _connection = await ProbeConnection.open({ address, port, tls: null }, signal);
  };
}
