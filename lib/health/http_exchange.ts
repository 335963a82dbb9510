/** Asking a server one thing again and again. */

import type { Server } from "../upstream/server.ts";
import { KeptStreams, type LentConnection } from "./kept_streams.ts";
import { type ProbeConnection, type ProbeTarget, tlsOf } from "./probe_connection.ts";
import { type CheckResponse, readResponse } from "./read_response.ts";

/** What {@linkcode HttpExchange} takes. */
export interface HttpExchangeOptions {
  /** What is sent to a server. */
  readonly headOf: (server: Server) => string;
  /** Port in place of the server's own; `null` is that. */
  readonly port: number | null;
  /** Its method. */
  readonly method: string;
  /** How much of it is read. */
  readonly maxBodyBytes: number;
  /** Whether connections are kept. */
  readonly reuseConnection: boolean;
}

/** Sends the same request to servers, each time over a new connection or over the one that was left. */
export class HttpExchange {
  readonly #options: HttpExchangeOptions;
  readonly #encoder = new TextEncoder();
  readonly #kept = new KeptStreams();

  constructor(options: HttpExchangeOptions) {
    this.#options = options;
  }

  /** Asks; once more over a new connection when the one that was kept does not do. */
  async ask(server: Server, signal: AbortSignal): Promise<CheckResponse> {
    const lent = await this.#lend(server, signal);
    using connection = lent.connection;
    try {
      return await this.#over(connection, server);
    } catch (error) {
      if (!lent.used || signal.aborted) throw error;
    }
    return await this.ask(server, signal);
  }

  /** Closes what is kept for a server. */
  forget(server: Server): void {
    this.#kept.forget(server);
  }

  #lend(server: Server, signal: AbortSignal): Promise<LentConnection> {
    const { address, tls } = server.peer;
    const { port } = this.#options;
    const target: ProbeTarget = { address, port, tls: tls === null ? null : tlsOf(server) };
    return this.#kept.take(server, target, signal);
  }

  async #over(connection: ProbeConnection, server: Server): Promise<CheckResponse> {
    const { headOf, method, maxBodyBytes, reuseConnection } = this.#options;
    await connection.write(this.#encoder.encode(headOf(server)));
    const response = await readResponse(connection, maxBodyBytes, method);
    if (reuseConnection && response.reusable) this.#kept.keep(server, connection);
    return response;
  }
}
