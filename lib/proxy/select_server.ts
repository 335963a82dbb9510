/** Chooses the server that a request goes to. */

import { NoServerError, type UpstreamError } from "../core/errors.ts";
import type { Server } from "../upstream/server.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Asks the pool's balancer for a server that has not failed this request yet.
 *
 * @param lastFailure why the request is sent again; thrown when there is no server left to send it to
 * @throws {NoServerError} 503 when the pool has no server that can be used
 */
export function selectServer(exchange: Exchange, lastFailure: UpstreamError | null): Server {
  const { pool } = exchange;
  const server = pool.balancer.pick(exchange);
  if (server !== undefined) return server;
  if (lastFailure !== null) throw lastFailure;
  throw new NoServerError(`No server of the pool "${pool.name}" can be used`, pool.retryAfterSeconds);
}
