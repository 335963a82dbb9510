/** Connections that one look at a server leaves for the next. */

import type { Server } from "../upstream/server.ts";
import { ProbeConnection, type ProbeStream, type ProbeTarget } from "./probe_connection.ts";

/** A connection, and whether it has served before: then the server may have closed it in the meantime. */
export interface LentConnection {
  readonly connection: ProbeConnection;
  readonly used: boolean;
}

/** One connection a server at most. */
export class KeptStreams {
  readonly #streams = new Map<Server, ProbeStream>();

  /** The connection that is kept for a server, or a new one. */
  async take(server: Server, target: ProbeTarget, signal: AbortSignal): Promise<LentConnection> {
    const stream = this.#streams.get(server);
    if (stream === undefined) return { connection: await ProbeConnection.open(target, signal), used: false };
    this.#streams.delete(server);
    return { connection: new ProbeConnection(stream, signal), used: true };
  }

  /** Keeps a connection, unless it was closed. */
  keep(server: Server, connection: ProbeConnection): void {
    const stream = connection.detach();
    if (stream === null) return;
    this.forget(server);
    this.#streams.set(server, stream);
  }

  /** Closes what is kept for a server. */
  forget(server: Server): void {
    this.#streams.get(server)?.close();
    this.#streams.delete(server);
  }
}
