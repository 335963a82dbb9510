/** Sends a request until a server has answered it or it may not be sent again: the only such loop. */

import { FilterError, UpstreamError } from "../core/errors.ts";
import type { Filters } from "../config/filters.ts";
import { HeaderFields } from "../http/header_fields.ts";
import type { OutgoingRequest, UpstreamResponse } from "../transport/transport.ts";
import type { Peer } from "../upstream/peer.ts";
import type { Server } from "../upstream/server.ts";
import { decideRetry } from "./decide_retry.ts";
import type { Attempt, Exchange } from "./exchange.ts";
import { readSession } from "./keep_session.ts";
import { ReplayBody } from "./replay_body.ts";
import { selectServer } from "./select_server.ts";
import { watchClient } from "./watch_client.ts";

/**
 * Selects a server, sends, and does so again with another server where {@linkcode decideRetry} allows it.
 *
 * @throws {UpstreamError} the last failure
 * @throws {NoServerError} when there was no server to begin with
 */
export async function attemptUpstreams(
  exchange: Exchange,
  prepared: OutgoingRequest,
): Promise<UpstreamResponse> {
  const { runtime, namedPeer } = exchange;
  exchange.upstreamStartAt = runtime.clock.now();
  watchClient(exchange);
  if (namedPeer === null) readSession(exchange);
  let failure: UpstreamError | null = null;
  for (;;) {
    if (failure !== null) exchange.upstreamStartAt = runtime.clock.now();
    const server = namedPeer === null ? selectServer(exchange, failure) : null;
    const attempt = beginAttempt(exchange, server);
    try {
      const response = await sendAttempt(exchange, prepared, server?.peer ?? namedPeer!.peer);
      exchange.upstreamHeadAt = runtime.clock.now();
      if (server !== null) {
        const outcome = isGatewayFailure(response.status) ? "failure" : "success";
        exchange.pool.balancer.report(server, outcome, exchange.upstreamHeadAt - exchange.upstreamStartAt);
      }
      if (response.body instanceof ReadableStream) exchange.unreadBody = response.body;
      return response;
    } catch (error) {
      endAttempt(exchange, attempt, error);
      if (server !== null) {
        const outcome = error instanceof UpstreamError ? "failure" : "ignored";
        exchange.pool.balancer.report(server, outcome, runtime.clock.now() - exchange.upstreamStartAt);
      }
      exchange.throwIfCancelled();
      // The client broke off its own content: whatever the server made of it is not the server's fault.
      if (exchange.body instanceof ReplayBody && exchange.body.failure !== null) throw exchange.body.failure;
      if (server === null || !(error instanceof UpstreamError) || !mayRetry(exchange, error)) throw error;
      (exchange.exclude ??= []).push(server);
      failure = error;
    }
  }
}

function beginAttempt(exchange: Exchange, server: Server | null): Attempt {
  const { pool, namedPeer } = exchange;
  const attempt: Attempt = server === null
    ? { pool: "", address: namedPeer!.address, failure: null }
    : { pool: pool.name, address: server.id, failure: null };
  exchange.server = attempt;
  exchange.selected = server;
  if (server !== null) exchange.serverLease = server.acquire();
  (exchange.attemptList ??= []).push(attempt);
  return attempt;
}

function endAttempt(exchange: Exchange, attempt: Attempt, error: unknown): void {
  attempt.failure = error instanceof UpstreamError ? error.code : "cancelled";
  exchange.serverLease?.release();
  exchange.serverLease = null;
}

/** What a server says when it, or what stands behind it, is out of order; other errors are its answers. */
function isGatewayFailure(status: number): boolean {
  return status === 502 || status === 503 || status === 504;
}

function mayRetry(exchange: Exchange, failure: UpstreamError): boolean {
  const { body, method, attempts } = exchange;
  const bodyReplayable = !(body instanceof ReplayBody) || body.replayable;
  return decideRetry(failure, { method, bodyReplayable, attempts: attempts.length });
}

function sendAttempt(exchange: Exchange, prepared: OutgoingRequest, peer: Peer): Promise<UpstreamResponse> {
  const { pool: { transport }, runtime: { filters } } = exchange;
  exchange.throwIfCancelled();
  return filters.upstreamRequestFilter === undefined
    ? transport.send(prepared, peer, exchange)
    : sendFiltered(exchange, prepared, peer, filters.upstreamRequestFilter);
}

async function sendFiltered(
  exchange: Exchange,
  prepared: OutgoingRequest,
  peer: Peer,
  upstreamRequestFilter: NonNullable<Filters["upstreamRequestFilter"]>,
): Promise<UpstreamResponse> {
  // A copy: what the filter adds for one server must not be there twice for the next.
  const request = { ...prepared, headers: HeaderFields.adopt(prepared.headers.list.slice()) };
  try {
    const filtered = upstreamRequestFilter(request, exchange);
    if (filtered instanceof Promise) await filtered;
  } catch (error) {
    throw new FilterError("upstreamRequestFilter", error);
  }
  exchange.throwIfCancelled();
  return await exchange.pool.transport.send(request, peer, exchange);
}
