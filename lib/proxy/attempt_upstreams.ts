/** Sends a request until a server has responded or it may not be sent again: the only such loop. */

import { describeValue } from "../core/describe_value.ts";
import { FilterError, RequestError, UpstreamError } from "../core/errors.ts";
import type { Claim } from "../balancer/waiting_line.ts";
import { isToken } from "../http/header_fields.ts";
import { asciiTarget } from "../http/request_target.ts";
import type { OutgoingRequest, ServerResponse, Transport } from "../transport/transport.ts";
import type { Peer } from "../upstream/peer.ts";
import { classifyError, classifyStatus, stageOf } from "./classify_outcome.ts";
import { decideRetry } from "./decide_retry.ts";
import type { Attempt, Exchange } from "./exchange.ts";
import { failExchange } from "./local_reply.ts";
import { isOutOfTime, runFilter, TotalTimeoutError } from "./run_filter.ts";
import { selectServer } from "./select_server.ts";
import { readSession } from "./sticky_session.ts";

/**
 * Begins with the first attempt; the transport says how it went, to {@linkcode attemptResponded} or
 * {@linkcode attemptFailed}.
 *
 * @throws {NoServerError} when there is no server
 */
export function attemptUpstreams(exchange: Exchange): void {
  exchange.upstreamStartAt = exchange.delayed ? exchange.runtime.clock.now() : exchange.startedAt;
  if (exchange.namedPeer === null) readSession(exchange);
  if (isOutOfTime(exchange)) throw new TotalTimeoutError(exchange);
  attempt(exchange, null);
}

/** Selects a server, and sends; waits where all are full. */
function attempt(exchange: Exchange, lastFailure: UpstreamError | null): void {
  if (exchange.namedPeer !== null) return sendTo(exchange, null);
  const selected = selectServer(exchange, lastFailure);
  if (!(selected instanceof Promise)) return sendTo(exchange, selected);
  selected.then((claim) => {
    // The time that took is not the server's.
    exchange.upstreamStartAt = exchange.runtime.clock.now();
    sendTo(exchange, claim);
  }).catch((error) => failExchange(exchange, error));
}

function sendTo(exchange: Exchange, claim: Claim | null): void {
  beginAttempt(exchange, claim);
  const peer = claim === null ? exchange.namedPeer!.peer : claim.server.peer;
  const { upstreamRequestFilter } = exchange.filters;
  try {
    const transport = transportOf(exchange);
    exchange.throwIfCancelled();
    if (upstreamRequestFilter === undefined) {
      return transport.send(exchange.outgoing!, peer, exchange, exchange.upstreamStartAt);
    }
    const filtered = filterAndSend(exchange, upstreamRequestFilter, transport, peer);
    filtered?.catch((error) => exchange.failed(error));
  } catch (error) {
    attemptFailed(exchange, error);
  }
}

function filterAndSend(
  exchange: Exchange,
  filter: NonNullable<Exchange["filters"]["upstreamRequestFilter"]>,
  transport: Transport,
  peer: Peer,
): void | Promise<void> {
  const outgoing = exchange.outgoing!;
  // A copy: what the filter adds for one server must not be there twice for the next.
  const headers = outgoing.headers.clone();
  headers.detach();
  const shown = outgoing.shownTarget;
  const { method, body, upgrade = false, expectsContinue = false } = outgoing!;
  const request = { method, target: shown, headers };
  const send = (): void => {
    exchange.throwIfCancelled();
    if (request.method !== method && !isMethod(request.method)) throw badEdit("a method", request.method);
    const unchanged = request.target === shown;
    const sent: OutgoingRequest = {
      method: request.method,
      target: unchanged ? outgoing.target : madeTarget(request.target),
      targetBytes: unchanged ? outgoing.targetBytes : null,
      headers,
      body,
      upgrade,
      expectsContinue,
    };
    transport.send(sent, peer, exchange);
  };
  const filtered = runFilter("upstreamRequestFilter", filter, request, exchange);
  return filtered instanceof Promise ? filtered.then(send) : send();
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

function transportOf({ upgrade, pool }: Exchange): Transport {
  if (upgrade === null) return pool.transport;
  if (pool.webSocket !== null) return pool.webSocket.transport;
  throw new RequestError("WebSockets are not forwarded here", 501);
}

function beginAttempt(exchange: Exchange, claim: Claim | null): void {
  const { pool, namedPeer } = exchange;
  const attempt: Attempt = claim === null
    ? { pool: "", address: namedPeer!.address, failure: null }
    : { pool: pool.name, address: claim.server.id, failure: null };
  exchange.server = attempt;
  exchange.selected = claim?.server ?? null;
  exchange.serverLease = claim?.lease ?? null;
  (exchange.attemptList ??= []).push(attempt);
}

/** A server has responded: it has done its part. */
export function attemptResponded(exchange: Exchange, response: ServerResponse): void {
  const { runtime, selected } = exchange;
  exchange.response = response;
  exchange.reachedServer = true;
  exchange.upstreamHeadAt = runtime.clock.now();
  if (selected === null) return;
  const latencyMs = exchange.upstreamHeadAt - exchange.upstreamStartAt;
  exchange.pool.balancer.report(selected, classifyStatus(response.status), latencyMs);
}

/**
 * An attempt has failed: another server is tried where {@linkcode decideRetry} allows it.
 *
 * @throws {ProxyError} the failure, when it is the last word
 */
export function attemptFailed(exchange: Exchange, error: unknown): void {
  const { selected, runtime, filters: { failToConnect } } = exchange;
  if (exchange.answered || exchange.settled) return;
  if (selected !== null) {
    const latencyMs = runtime.clock.now() - exchange.upstreamStartAt;
    const stage = stageOf(error, selected.peer);
    exchange.pool.balancer.report(selected, classifyError(exchange, error), latencyMs, stage);
  }
  // After the report: what waits for room must not get it at a server that is taken out for this.
  endAttempt(exchange, error);
  exchange.throwIfCancelled();
  // The client broke off its own content: whatever the server made of it is not the server's fault.
  const { failure } = exchange.body ?? NO_BODY;
  if (failure !== null) throw failure;
  if (!(error instanceof UpstreamError) || error instanceof TotalTimeoutError) throw error;
  if (failToConnect === undefined || error.phase !== "unsent") return retry(exchange, error);
  const told = runFilter("failToConnect", failToConnect, error, exchange);
  if (!(told instanceof Promise)) return retry(exchange, error);
  told.then(() => {
    exchange.throwIfCancelled();
    retry(exchange, error);
  }).catch((thrown) => failExchange(exchange, thrown));
}

const NO_BODY = { failure: null };

function endAttempt(exchange: Exchange, error: unknown): void {
  exchange.server!.failure = error instanceof UpstreamError ? error.code : "cancelled";
  // A filter fails before anything is sent; of what was called off nobody knows how far it had got.
  const unsent = error instanceof UpstreamError ? error.phase === "unsent" : error instanceof FilterError;
  if (!unsent) exchange.reachedServer = true;
  exchange.serverLease?.release();
  exchange.serverLease = null;
}

function retry(exchange: Exchange, failure: UpstreamError): void {
  const { selected, body, method, attempts, runtime } = exchange;
  if (selected === null || exchange.retryForbidden || isOutOfTime(exchange)) throw failure;
  const bodyRepeatable = body === null || body.repeatable;
  if (!decideRetry(failure, { method, bodyRepeatable, attempts: attempts.length })) throw failure;
  (exchange.exclude ??= []).push(selected);
  body?.rewind();
  exchange.upstreamStartAt = runtime.clock.now();
  attempt(exchange, failure);
}

/** Whether a request whose kept connection was stale may be sent once more, to the same server on a new one. */
export function maySendAgain({ method, body }: Exchange, failure: UpstreamError): boolean {
  const bodyRepeatable = body === null || body.repeatable;
  return decideRetry(failure, { method, bodyRepeatable, attempts: 1 });
}
