/** Sends a request until a server has responded or no retry is allowed: the only such loop. */

import type { Claim, Refusal } from "../balancer/waiting_line.ts";
import type { RetryFunction, RetryPolicy } from "../config/retry_options.ts";
import { checkedBoolean } from "../core/callback.ts";
import { Cancellation } from "../core/cancellation.ts";
import {
  FilterError,
  NoServerError,
  RequestError,
  TLS_HANDSHAKE_TIMEOUT,
  UpstreamError,
} from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { ProxyResponse } from "../filter/filters.ts";
import { cookieValue } from "../http/received_fields.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import { removeHopByHop } from "../http/proxy_fields.ts";
import type { Body } from "../http/message.ts";
import { checkedKey } from "../limiter/key_spec.ts";
import type { ServerResponse, Transport } from "../transport/transport.ts";
import type { Peer } from "../upstream/peer.ts";
import type { Outcome, Server, Stage } from "../upstream/server.ts";
import { decideRetry, type FailedAttempt, failedAttempt, mayRepeatOnNewConnection } from "./decide_retry.ts";
import type { Attempt, Exchange } from "./exchange.ts";
import { filterUpstreamRequest } from "./filter_request.ts";
import { announceTimings, failExchange } from "./local_reply.ts";
import { isOutOfTime, runFilter, TotalTimeoutError } from "./run_filter.ts";

/**
 * Starts the first attempt; the transport reports the outcome to {@linkcode attemptResponded} or
 * {@linkcode attemptFailed}.
 *
 * @throws {NoServerError} when there is no server
 */
export function attemptUpstreams(exchange: Exchange): void {
  exchange.upstreamStartAt = exchange.delayed ? exchange.runtime.clock.now() : exchange.startedAt;
  if (exchange.namedPeer === null && exchange.pool.balancer.sticky !== null) readSession(exchange);
  if (exchange.timeouts.totalMs !== Infinity && isOutOfTime(exchange)) throw new TotalTimeoutError(exchange);
  exchange.retries?.budget?.request(exchange.upstreamStartAt);
  attempt(exchange, null);
}

/** Selects a server and sends the request; waits while all are full. */
function attempt(exchange: Exchange, lastFailure: UpstreamError | null): void {
  if (exchange.namedPeer !== null) return sendTo(exchange, null);
  const selected = selectServer(exchange, lastFailure);
  if (!(selected instanceof Promise)) return sendTo(exchange, selected);
  const { runtime: { clock } } = exchange;
  const since = clock.now();
  selected.finally(() => {
    const waitedMs = clock.now() - since;
    exchange.queueMs += waitedMs;
    exchange.pool.meter?.waited(waitedMs);
  }).then((claim) => {
    // The waiting time does not count for the server.
    exchange.upstreamStartAt = clock.now();
    sendTo(exchange, claim);
  }).catch((error) => failExchange(exchange, error));
}

/**
 * Selects a server that has not failed this request yet, and counts the request for it; waits while servers are full,
 * if the pool has a queue. Returns a promise only when it has to wait.
 *
 * @param lastFailure why the request is sent again; thrown when no server is left
 * @throws {NoServerError} 503 when the pool has no usable server, or none had room in time
 * @throws {FilterError} when the function that makes the key throws
 */
function selectServer(exchange: Exchange, lastFailure: UpstreamError | null): Claim | Promise<Claim> {
  const { pool: { key } } = exchange;
  if (key !== null && exchange.key === undefined) exchange.key = keyOf(exchange);
  const result = claimInTime(exchange);
  if (result instanceof Promise) return result.then((late) => takeClaim(exchange, late, lastFailure));
  return takeClaim(exchange, result, lastFailure);
}

/** Waits no longer than the deadline of the whole exchange. */
function claimInTime(exchange: Exchange): Claim | Refusal | Promise<Claim | Refusal> {
  const { pool: { balancer }, cancellation, timeouts: { totalMs }, startedAt, runtime: { wheel } } = exchange;
  if (totalMs === Infinity) return balancer.claim(exchange, cancellation);
  const wait = new Cancellation();
  const result = balancer.claim(exchange, wait);
  if (!(result instanceof Promise)) return result;
  let late = false;
  const deadline = wheel.deadline(() => {
    late = true;
    wait.cancel(null);
  });
  deadline.set(totalMs, startedAt);
  const listener = cancellation.listen((reason) => wait.cancel(reason));
  return result.then((claimed) => {
    deadline.clear();
    listener[Symbol.dispose]();
    return late && claimed === "cancelled" ? "queue_timeout" : claimed;
  });
}

/** The key that the pool's balancer hashes. @throws {FilterError} when the function that makes it throws */
export function keyOf(exchange: Exchange): string | undefined {
  try {
    return checkedKey(exchange.pool.key!(exchange) ?? null) ?? undefined;
  } catch (error) {
    throw new FilterError("key", error);
  }
}

function takeClaim(exchange: Exchange, result: Claim | Refusal, lastFailure: UpstreamError | null): Claim {
  if (typeof result !== "string") return result;
  exchange.pool.meter?.refused(result);
  exchange.throwIfCancelled();
  if (lastFailure !== null) throw lastFailure;
  const { name, retryAfterSeconds } = exchange.pool;
  throw new NoServerError(`No server of the pool "${name}" ${reasonOf(result)}`, retryAfterSeconds);
}

function reasonOf(refusal: Refusal): string {
  switch (refusal) {
    case "none_eligible":
      return "can be used";
    case "queue_full":
      return "has room, and no more requests may wait";
    case "queue_timeout":
      return "had room in time";
    case "cancelled":
      return "was waited for any longer";
  }
}

function sendTo(exchange: Exchange, claim: Claim | null): void {
  beginAttempt(exchange, claim);
  if (exchange.trace !== null) {
    exchange.trace.attemptBegun(exchange.server!.pool, exchange.server!.address);
  }
  const peer = claim === null ? exchange.namedPeer!.peer : claim.server.peer;
  const { upstreamRequestFilter } = exchange.filters;
  try {
    const transport = transportOf(exchange);
    exchange.throwIfCancelled();
    if (upstreamRequestFilter === undefined) {
      return transport.send(exchange.outgoing!, peer, exchange, exchange.upstreamStartAt);
    }
    const filtered = filterUpstreamRequest(exchange, upstreamRequestFilter);
    if (!(filtered instanceof Promise)) return transport.send(filtered, peer, exchange);
    filtered.then((outgoing) => transport.send(outgoing, peer, exchange))
      .catch((error) => exchange.failed(error));
  } catch (error) {
    attemptFailed(exchange, error);
  }
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
  exchange.connectMs = null;
  exchange.selected = claim?.server ?? null;
  exchange.serverLease = claim?.lease ?? null;
  (exchange.attemptList ??= []).push(attempt);
}

/** A server has responded: reports the outcome of the attempt. */
export function attemptResponded(exchange: Exchange, response: ServerResponse): void {
  const { runtime, selected } = exchange;
  exchange.response = response;
  exchange.reachedServer = true;
  exchange.upstreamHeadAt = runtime.clock.now();
  if (exchange.trace !== null) exchange.trace.attemptEnded(response.status, null);
  if (selected === null) return;
  const latencyMs = exchange.upstreamHeadAt - exchange.upstreamStartAt;
  const outcome = classifyStatus(response.status);
  const { balancer, meter } = exchange.pool;
  balancer.report(selected, outcome, latencyMs);
  if (meter === null) return;
  meter.servers.get(selected)?.responded(response.status, latencyMs);
  if (exchange.attemptList!.length > 1) meter.retried(outcome === "failure" ? "failed" : "succeeded");
}

/**
 * An attempt has failed: tries another server if {@linkcode decideRetry} allows it.
 *
 * @throws {ProxyError} the failure, when there is no retry
 */
export function attemptFailed(exchange: Exchange, error: unknown): void {
  const { selected, runtime, filters: { failToConnect } } = exchange;
  if (exchange.answered || exchange.settled) return;
  if (selected !== null) {
    const latencyMs = runtime.clock.now() - exchange.upstreamStartAt;
    const stage = stageOf(error, selected.peer);
    exchange.pool.balancer.report(selected, classifyError(exchange, error), latencyMs, stage);
    const { meter } = exchange.pool;
    if (error instanceof UpstreamError) meter?.servers.get(selected)?.failed(error.code);
    if (exchange.attempts.length > 1) meter?.retried("failed");
  }
  // After the report: a waiting request must not get this place at a server that is now ejected.
  endAttempt(exchange, error);
  exchange.throwIfCancelled();
  // The client aborted its content: then the failure is not the server's fault.
  const { failure } = exchange.body ?? NO_BODY;
  if (failure !== null) throw failure;
  if (!(error instanceof UpstreamError) || error instanceof TotalTimeoutError) throw error;
  if (failToConnect === undefined || error.phase !== "unsent") return retry(exchange, error);
  const called = runFilter("failToConnect", failToConnect, error, exchange);
  if (!(called instanceof Promise)) return retry(exchange, error);
  called.then(() => {
    exchange.throwIfCancelled();
    retry(exchange, error);
  }).catch((thrown) => failExchange(exchange, thrown));
}

const NO_BODY = { failure: null };

function endAttempt(exchange: Exchange, error: unknown): void {
  exchange.server!.failure = error instanceof UpstreamError ? error.code : "cancelled";
  exchange.trace?.attemptEnded(0, exchange.server!.failure);
  // A filter fails before anything is sent; for a cancelled attempt it is unknown how far it got.
  const unsent = error instanceof UpstreamError ? error.phase === "unsent" : error instanceof FilterError;
  if (!unsent) exchange.reachedServer = true;
  exchange.serverLease?.release();
  exchange.serverLease = null;
}

function retry(exchange: Exchange, failure: UpstreamError): void {
  const failed = failedAttempt(failure);
  if (failed === null) throw failure;
  const delayMs = planRetry(exchange, failed, 0);
  if (delayMs === null) throw failure;
  sendAgain(exchange, failure, delayMs);
}

/**
 * Sends the request again if the status of a response allows it; the response is then dropped.
 *
 * @throws {FilterError} when the deciding function throws
 */
export function retryStatus(exchange: Exchange, response: ServerResponse): boolean {
  const { status } = response;
  // If the server responded before the end of the content, the content may be lost for the next server.
  if (exchange.body !== null && !exchange.body.ended) return false;
  if (status < 400 || exchange.retries === null || exchange.retries.policy.statuses === null) return false;
  const failure = {
    status,
    message: `The server responded with ${status}`,
    unsent: false,
    late: false,
  } as const;
  const retryAfterMs = retryAfterOf(response.headers.get("retry-after"), exchange.runtime.clock.wallTime());
  const delayMs = planRetry(exchange, { reason: "status", ...failure }, retryAfterMs);
  if (delayMs === null) return false;
  exchange.response = null;
  response.release(true);
  exchange.server!.failure = `status ${status}`;
  exchange.serverLease?.release();
  exchange.serverLease = null;
  sendAgain(exchange, null, delayMs);
  return true;
}

/** The delay that the server requests (RFC 9110 section 10.2.3), in milliseconds; 0 without a valid one. */
function retryAfterOf(value: string | null, wallTime: number): number {
  if (value === null) return 0;
  const ms = /^[0-9]{1,9}$/.test(value) ? Number(value) * 1000 : Date.parse(value) - wallTime;
  return ms > 0 ? ms : 0;
}

/** Decides about a retry; returns its delay in milliseconds, or `null` for no retry. */
function planRetry(exchange: Exchange, failed: FailedAttempt, retryAfterMs: number): number | null {
  const { selected, retries, sentMethod, attempts, body, timedOut, runtime } = exchange;
  exchange.timedOut ||= failed.late;
  if (selected === null || retries === null || exchange.retryForbidden || isOutOfTime(exchange)) return null;
  const { policy, budget } = retries;
  const question = {
    method: sentMethod,
    hasIdempotencyKey: policy.idempotencyKey && exchange.field("idempotency-key") !== null,
    bodyRepeatable: body === null || body.repeatable,
    attempts: attempts.length,
    timedOut,
  };
  if (!decideRetry(failed, question, policy) || !functionAgrees(exchange, failed, policy.decide)) return null;
  const exclude = [...exchange.exclude ?? [], selected];
  const others = hasOther(exchange, exclude);
  // The received response is better than none.
  if (!others && failed.reason === "status" && !policy.sameServer) return null;
  const again = !others && policy.sameServer && attempts.length < policy.sentAttempts;
  const delayMs = others && failed.unsent
    ? 0
    : Math.max(backoffMs(policy, attempts.length, runtime.filterServices.random), again ? retryAfterMs : 0);
  if (delayMs >= timeLeftMs(exchange)) return null;
  if (!failed.unsent && budget !== null && !budget.take(runtime.clock.now())) {
    exchange.pool.meter?.retried("not_sent");
    return null;
  }
  exchange.exclude = again ? undefined : exclude;
  return delayMs;
}

function functionAgrees(exchange: Exchange, failed: FailedAttempt, decide: RetryFunction | null): boolean {
  if (decide === null) return true;
  const { reason, status, message } = failed;
  try {
    return checkedBoolean(decide(exchange.attempts.length, { reason, status, message }, exchange));
  } catch (error) {
    throw new FilterError("retries", error);
  }
}

function hasOther({ pool: { name }, runtime: { members } }: Exchange, exclude: readonly Server[]): boolean {
  const { servers } = members.get(name)!;
  return servers.some((server) => server.eligible && server.weight > 0 && !exclude.includes(server));
}

/** A random delay, so that requests that failed at the same time are not repeated at the same time. */
function backoffMs({ backoffBaseMs, backoffMaxMs }: RetryPolicy, attempts: number, random: Random): number {
  return random() * Math.min(backoffMaxMs, backoffBaseMs * 2 ** (attempts - 1));
}

function timeLeftMs({ timeouts: { totalMs, responseMs }, startedAt, runtime }: Exchange): number {
  // A longer delay than a response may take is not awaited.
  return totalMs === Infinity ? responseMs : startedAt + totalMs - runtime.clock.now();
}

function sendAgain(exchange: Exchange, failure: UpstreamError | null, delayMs: number): void {
  const { body, runtime: { clock }, cancellation } = exchange;
  body?.rewind();
  if (delayMs === 0) return attemptAgain(exchange, failure);
  const timer = clock.setTimer(() => {
    listener[Symbol.dispose]();
    try {
      attemptAgain(exchange, failure);
    } catch (error) {
      failExchange(exchange, error);
    }
  }, delayMs);
  const listener = cancellation.listen((reason) => {
    timer[Symbol.dispose]();
    failExchange(exchange, reason);
  });
}

function attemptAgain(exchange: Exchange, failure: UpstreamError | null): void {
  exchange.upstreamStartAt = exchange.runtime.clock.now();
  attempt(exchange, failure);
}

/** Whether a request whose kept connection was stale may be sent once more, to the same server on a new connection. */
export function maySendAgain({ sentMethod, body }: Exchange, failure: UpstreamError): boolean {
  return mayRepeatOnNewConnection(failure, sentMethod, body === null || body.repeatable);
}

/**
 * Sends a response: without hop-by-hop fields, otherwise unchanged.
 *
 * @throws {UpstreamError} 502 for a status that cannot be forwarded
 */
export function sendResponse(
  exchange: Exchange,
  response: ServerResponse,
  head: ProxyResponse,
  body: Body | null,
): void {
  const { status } = head;
  if (status < 200 || status > 599) {
    throw new UpstreamError(`The server responded with the status ${status}`, {
      code: "http_protocol_error",
      phase: "answered",
    });
  }
  removeHopByHop(head.headers);
  exchange.status = status;
  exchange.responseSource = "upstream";
  if (exchange.runtime.serverTiming) announceTimings(exchange, head.headers);
  exchange.respond(head, body);
  // Head and content were copied: the connection can serve the next request before the client has read them.
  if (body === null || body.whole !== null) {
    exchange.response = null;
    response.release();
    exchange.serverLease?.release();
    exchange.serverLease = null;
  }
}

// Outcomes of attempts, for the health of servers.

/**
 * Classifies the status of a response: a gateway error is a failure. Other errors may be caused by the client as well
 * as by the server, and are ignored.
 */
export function classifyStatus(status: number): Outcome {
  if (status < 400) return "success";
  return status === 502 || status === 503 || status === 504 ? "failure" : "ignored";
}

/**
 * Classifies an attempt without a response; failures caused by the client or the proxy are ignored.
 *
 * A kept connection may be closed at any moment: that is no failure until a new connection has failed too.
 */
export function classifyError(exchange: Exchange, error: unknown): Outcome {
  if (!(error instanceof UpstreamError) || error instanceof TotalTimeoutError) return "ignored";
  if (exchange.cancellation.cancelled) return "ignored";
  if (exchange.body !== null && exchange.body.failure !== null) return "ignored";
  switch (error.code) {
    case "http_request_error":
    case "out_of_resources":
      return "ignored";
    case "connection_terminated":
      return error.reused ? "ignored" : "failure";
    case "connection_timeout":
    case TLS_HANDSHAKE_TIMEOUT:
    case "http_response_timeout":
      return hadLittleTime(exchange) ? "ignored" : "failure";
    default:
      return "failure";
  }
}

/**
 * The stage that a failed attempt reached; in doubt the later one, because an earlier one makes an ejection end
 * sooner.
 */
export function stageOf(error: unknown, { tls }: Peer): Stage {
  if (!(error instanceof UpstreamError) || error.phase !== "unsent") return "request";
  switch (error.code) {
    case "connection_refused":
    case "destination_ip_unroutable":
    case "dns_error":
    case "dns_timeout":
      return "connect";
    case "connection_timeout":
      return tls === null ? "connect" : "tls";
    case TLS_HANDSHAKE_TIMEOUT:
    case "tls_certificate_error":
    case "tls_protocol_error":
      return "tls";
    default:
      return "request";
  }
}

/** Whether the exchange is out of time, and most of the time had passed before the server was tried. */
function hadLittleTime(exchange: Exchange): boolean {
  const { timeouts, startedAt, upstreamStartAt } = exchange;
  return isOutOfTime(exchange) && upstreamStartAt - startedAt > timeouts.totalMs / 2;
}

// Sticky sessions: a client stays with the server that has responded to it, if the pool is configured so.

/** Reads the session cookie of the client, before a server is selected. */
export function readSession(exchange: Exchange): void {
  const { sticky } = exchange.pool.balancer;
  if (sticky === null) return;
  exchange.session = cookieValue(exchange.fields.get("cookie"), sticky.cookie);
}

/** Sets the session cookie of the client, unless it has the right one already. */
export function announceSession(exchange: Exchange, headers: HeaderFields): void {
  const { pool: { balancer: { sticky } }, selected, session } = exchange;
  if (sticky === null || selected === null || sticky.isOf(session, selected)) return;
  const field = sticky.setCookieFor(selected, exchange.identity.scheme === "https");
  if (field !== null) headers.append("set-cookie", field);
}
