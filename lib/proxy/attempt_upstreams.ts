/** Sends a request until a server has answered it or it may not be sent again: the only such loop. */

import { describeValue } from "../core/describe_value.ts";
import { FilterError, RequestError, UpstreamError } from "../core/errors.ts";
import { HeaderFields, isToken } from "../http/header_fields.ts";
import { asciiTarget } from "../http/request_target.ts";
import type { OutgoingRequest, Transport, UpstreamResponse } from "../transport/transport.ts";
import type { Peer } from "../upstream/peer.ts";
import type { Claim } from "../balancer/waiting_line.ts";
import { decideRetry } from "./decide_retry.ts";
import type { Attempt, Exchange } from "./exchange.ts";
import { judgeError, judgeStatus, stageOf } from "./judge_outcome.ts";
import { readSession } from "./keep_session.ts";
import { isLate, LateError } from "./late_error.ts";
import { ReplayBody } from "./replay_body.ts";
import { targetToSend } from "./rewrite_target.ts";
import { runFilter } from "./run_filter.ts";
import { selectServer } from "./select_server.ts";
import { takeTunnel } from "./take_tunnel.ts";

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
  exchange.upstreamStartAt = exchange.delayed ? runtime.clock.now() : exchange.startedAt;
  runtime.clientWatch.begin(exchange.upstreamStartAt);
  if (namedPeer === null) readSession(exchange);
  if (isLate(exchange)) throw new LateError(exchange);
  let failure: UpstreamError | null = null;
  for (;;) {
    if (failure !== null) exchange.upstreamStartAt = runtime.clock.now();
    const selected = namedPeer === null ? selectServer(exchange, failure) : null;
    const claim = selected instanceof Promise ? await waited(exchange, selected) : selected;
    const server = claim?.server ?? null;
    const attempt = beginAttempt(exchange, claim);
    try {
      const response = await sendAttempt(exchange, prepared, server?.peer ?? namedPeer!.peer);
      if (response.tunnel !== undefined) await takeTunnel(exchange, response, response.tunnel);
      exchange.upstreamHeadAt = runtime.clock.now();
      exchange.reachedServer = true;
      if (server !== null) {
        const latencyMs = exchange.upstreamHeadAt - exchange.upstreamStartAt;
        exchange.pool.balancer.report(server, judgeStatus(response.status), latencyMs);
      }
      const { body } = response;
      if (body !== null && !(body instanceof Uint8Array)) exchange.unreadBody = body;
      return response;
    } catch (error) {
      if (server !== null) {
        const latencyMs = runtime.clock.now() - exchange.upstreamStartAt;
        const stage = stageOf(error, server.peer);
        exchange.pool.balancer.report(server, judgeError(exchange, error), latencyMs, stage);
      }
      // After the report: what waits for room must not get it at a server that is taken out for this.
      endAttempt(exchange, attempt, error);
      exchange.throwIfCancelled();
      // The client broke off its own content: whatever the server made of it is not the server's fault.
      if (exchange.body instanceof ReplayBody && exchange.body.failure !== null) throw exchange.body.failure;
      if (!(error instanceof UpstreamError) || error instanceof LateError) throw error;
      const told = tellOfFailure(exchange, error);
      if (told !== undefined) await told;
      if (server === null || !mayRetry(exchange, error)) throw error;
      (exchange.exclude ??= []).push(server);
      failure = error;
    }
  }
}

/** Waits for room at a server; the time that takes is not the server's. */
async function waited(exchange: Exchange, selected: Promise<Claim>): Promise<Claim> {
  const claim = await selected;
  exchange.upstreamStartAt = exchange.runtime.clock.now();
  return claim;
}

function beginAttempt(exchange: Exchange, claim: Claim | null): Attempt {
  const { pool, namedPeer } = exchange;
  const attempt: Attempt = claim === null
    ? { pool: "", address: namedPeer!.address, failure: null }
    : { pool: pool.name, address: claim.server.id, failure: null };
  exchange.server = attempt;
  exchange.selected = claim?.server ?? null;
  exchange.serverLease = claim?.lease ?? null;
  (exchange.attemptList ??= []).push(attempt);
  return attempt;
}

function endAttempt(exchange: Exchange, attempt: Attempt, error: unknown): void {
  attempt.failure = error instanceof UpstreamError ? error.code : "cancelled";
  // A filter fails before anything is sent; of what was called off nobody knows how far it had got.
  const unsent = error instanceof UpstreamError ? error.phase === "unsent" : error instanceof FilterError;
  if (!unsent) exchange.reachedServer = true;
  exchange.serverLease?.release();
  exchange.serverLease = null;
}

/** Asks `failToConnect` about a failure before anything was sent. */
function tellOfFailure(exchange: Exchange, failure: UpstreamError): void | Promise<void> {
  const { failToConnect } = exchange.filters;
  if (failToConnect === undefined || failure.phase !== "unsent") return;
  const told = runFilter("failToConnect", failToConnect, failure, exchange);
  if (told instanceof Promise) return told.then(() => exchange.throwIfCancelled());
}

function mayRetry(exchange: Exchange, failure: UpstreamError): boolean {
  if (exchange.retryForbidden || isLate(exchange)) return false;
  const { body, method, attempts } = exchange;
  const bodyReplayable = !(body instanceof ReplayBody) || body.replayable;
  return decideRetry(failure, { method, bodyReplayable, attempts: attempts.length });
}

function sendAttempt(exchange: Exchange, prepared: OutgoingRequest, peer: Peer): Promise<UpstreamResponse> {
  const { upstreamRequestFilter } = exchange.filters;
  const transport = transportOf(exchange);
  exchange.throwIfCancelled();
  if (upstreamRequestFilter === undefined) {
    return transport.send(prepared, peer, exchange, exchange.upstreamStartAt);
  }
  // A copy: what the filter adds for one server must not be there twice for the next.
  const request = { ...prepared, headers: HeaderFields.adopt(prepared.headers.list.slice()) };
  const filtered = runFilter("upstreamRequestFilter", upstreamRequestFilter, request, exchange);
  if (!(filtered instanceof Promise)) return sendFiltered(exchange, transport, request, peer);
  return filtered.then(() => {
    exchange.throwIfCancelled();
    return sendFiltered(exchange, transport, request, peer);
  });
}

function sendFiltered(
  exchange: Exchange,
  transport: Transport,
  request: OutgoingRequest,
  peer: Peer,
): Promise<UpstreamResponse> {
  const { target, method } = request;
  if (target !== exchange.target) request.target = madeTarget(target);
  if (method !== exchange.method && !isMethod(method)) throw badEdit("a method", method);
  request.target = targetToSend(exchange, request.target);
  return transport.send(request, peer, exchange);
}

function transportOf({ webSocket, pool }: Exchange): Transport {
  if (webSocket === null) return pool.transport;
  if (pool.webSocket !== null) return pool.webSocket.transport;
  throw new RequestError("WebSockets are not forwarded here", 501);
}

function madeTarget(target: unknown): string {
  const made = typeof target === "string" ? asciiTarget(target) : "";
  if (/^\/[!-~]*$/.test(made)) return made;
  throw badEdit("a target that begins with a slash", target);
}

function isMethod(method: unknown): boolean {
  return typeof method === "string" && isToken(method) && method !== "CONNECT";
}

/** A filter's mistake: transports take such for one of the client's or of the server's. */
function badEdit(expected: string, found: unknown): FilterError {
  return new FilterError(
    "upstreamRequestFilter",
    new TypeError(`it must set ${expected}, set ${describeValue(found)}`),
  );
}
