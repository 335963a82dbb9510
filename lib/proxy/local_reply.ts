/** Replies of the proxy itself: of a limit, of a filter, of a failure. */

import { refusePromise, unexpected } from "../core/callback.ts";
import { describeValue } from "../core/describe_value.ts";
import { ClientGoneError, FilterError, INTERNAL, OUT_OF_RESOURCES, ProxyError } from "../core/errors.ts";
import { resourceShortage } from "../core/resource_shortage.ts";
import type { ProxyResponse } from "../filter/filters.ts";
import { encodeGrpcMessage, grpcStatusOf, isGrpc } from "../http/grpc.ts";
import { HeaderFields, isFieldValue } from "../http/header_fields.ts";
import { removeHopByHop } from "../http/proxy_fields.ts";
import { problemBody, problemFields } from "../http/make_response.ts";
import {
  type Body,
  type Bytes,
  reasonPhrase,
  type ResponseHead,
  sendsContent,
  StreamBody,
  WholeBody,
} from "../http/message.ts";
import type { Exchange } from "./exchange.ts";
import { FilterStream } from "./filtered_content.ts";
import { awaitFilter, isOutOfTime } from "./run_filter.ts";
import { reportCallbackError, settleExchange } from "./settle_exchange.ts";

/** A reply of the proxy itself. */
export interface LocalReply {
  readonly status: number;
  readonly headers: HeaderFields;
  readonly body: Body | null;
}

/** A reply whose content is in memory. */
export function bytesReply(status: number, headers: HeaderFields, bytes: Bytes): LocalReply {
  return { status, headers, body: new WholeBody(bytes) };
}

/**
 * The result of a filter, as a reply.
 *
 * @throws {FilterError} when it is no response, or was read before
 */
export function filterReply(exchange: Exchange, response: unknown, phase: string): LocalReply {
  const { cancellation } = exchange;
  checkResponse(response, phase);
  exchange.responseSource = "filter";
  const { status, headers, body } = response;
  return {
    status,
    headers: new HeaderFields(headers),
    body: body === null ? null : new FilterStream(body, { phase, cancellation, length: null }),
  };
}

/**
 * Checks that the result of a filter can be sent.
 *
 * @throws {FilterError} when it is no response, or was read before
 */
export function checkResponse(response: unknown, phase: string): asserts response is Response {
  if (!(response instanceof Response)) {
    throw new FilterError(
      phase,
      new TypeError(`it must return a Response or nothing, returned ${typeof response}`),
    );
  }
  if (isRead(response)) {
    throw new FilterError(phase, new TypeError("it returned a Response whose body was read already"));
  }
}

function isRead({ bodyUsed, body }: Response): boolean {
  return bodyUsed || (body?.locked ?? false);
}

/**
 * Sends a reply that is not from a server, after `localReplyFilter` has edited its head; ends the steps of the
 * request.
 */
export function replyLocally(exchange: Exchange, reply: LocalReply): void {
  const head = { status: reply.status, statusText: "", headers: reply.headers };
  exchange.status = head.status;
  editHead(exchange, head);
  sendReply(exchange, head, reply.body);
}

/** Sends a reply in place of a server's response. */
export function sendReply(exchange: Exchange, head: ResponseHead, body: Body | null): void {
  exchange.status = head.status;
  releaseServer(exchange);
  if (exchange.runtime.serverTiming) announceTimings(exchange, head.headers);
  const close = head.headers.get("connection")?.toLowerCase() === "close";
  removeHopByHop(head.headers);
  addDate(head.headers);
  if (head.status >= 300 && isGrpc(exchange.field("content-type"))) {
    body?.cancel();
    return exchange.respond(grpcHead(head, exchange.failure), null, close);
  }
  if (head.statusText === "") head = { ...head, statusText: reasonPhrase(head.status) };
  if (!(body instanceof StreamBody)) return exchange.respond(head, body, close);
  // Content that a filter has made from text has a length, and then costs less than a stream.
  exchange.answered = true;
  body.gather().catch(() => {}).then(() => {
    exchange.respond(head, body, close);
    // Nothing reads content that is not sent, and a filter may hold a file or a connection for it.
    if (!sendsContent(exchange.method, head.status)) body.cancel();
  }).catch((error) => {
    body.cancel();
    failExchange(exchange, error);
  });
}

/**
 * The head of a response that ends a call before its first message: gRPC clients read the status of the call there,
 * and report nothing else to their callers. Logs and metrics keep the HTTP status.
 */
function grpcHead({ status, headers }: ResponseHead, failure: ProxyError | null): ResponseHead {
  for (const name of ["content-length", "content-encoding", "cache-control"]) headers.delete(name);
  const known = failure !== null && failure.source === "client" ? failure.message : reasonPhrase(status);
  headers.set("content-type", "application/grpc");
  headers.set("grpc-status", String(grpcStatusOf(status)));
  headers.set("grpc-message", encodeGrpcMessage(known));
  return { status: 200, statusText: reasonPhrase(200), headers };
}

/** Releases the server, however long the client takes for the reply. */
function releaseServer(exchange: Exchange): void {
  exchange.response?.release();
  exchange.response = null;
  exchange.serverLease?.release();
  exchange.serverLease = null;
}

// The original reply is more important than a filter that throws.
function editHead(exchange: Exchange, head: ProxyResponse): void {
  const { filters: { localReplyFilter }, runtime: { observer } } = exchange;
  if (localReplyFilter === undefined) return;
  const { status, statusText } = head;
  // A reply of the proxy has no received lines: the list is all of its fields.
  const list = head.headers.list.slice();
  try {
    refusePromise(localReplyFilter(head, exchange));
    checkStatus(head.status);
    checkPhrase(head.statusText);
  } catch (error) {
    head.status = status;
    head.statusText = statusText;
    head.headers.list = list;
    reportCallbackError(observer, "localReplyFilter", error);
  }
}

/**
 * Checks a status that a filter has set.
 *
 * @throws {RangeError} when it cannot be sent
 */
export function checkStatus(status: unknown): void {
  if (Number.isInteger(status) && status as number >= 200 && status as number <= 599) return;
  throw new RangeError(`it must set a status from 200 to 599, set ${describeValue(status)}`);
}

/**
 * Checks a reason phrase that a filter has set.
 *
 * @throws {TypeError} when it cannot be sent
 */
export function checkPhrase(phrase: unknown): void {
  if (typeof phrase === "string" && isFieldValue(phrase)) return;
  throw new TypeError(`it must set a reason phrase that fits in one line, set ${describeValue(phrase)}`);
}

/** The origin of a response must add a date (RFC 9110 section 6.6.1). */
function addDate(headers: HeaderFields): void {
  if (!headers.has("date")) headers.list.push("date", new Date().toUTCString());
}

/** Ends an exchange with a failure; replies with the result of `failToProxy`, or a problem document. */
export function failExchange(exchange: Exchange, thrown: unknown): void {
  if (exchange.answered || exchange.settled) return;
  const error = toProxyError(thrown);
  exchange.status = error.status;
  exchange.failure = error;
  const { failToProxy } = exchange.filters;
  // The client has closed: there is no reply.
  if (error.status === 499) return abandonClient(exchange, error);
  if (failToProxy === undefined) return replyProblem(exchange, error);
  try {
    const made = failToProxy(error, exchange);
    if (!(made instanceof Promise)) return replyMade(exchange, error, made);
    const over = isOutOfTime(exchange) || exchange.cancellation.cancelled;
    awaitFilter(exchange, made, over)
      .then((late) => replyMade(exchange, error, late))
      .catch((again) => failToReply(exchange, error, again));
  } catch (again) {
    failToReply(exchange, error, again);
  }
}

function abandonClient(exchange: Exchange, error: ProxyError): void {
  exchange.answered = true;
  settleExchange(exchange, error);
  exchange.stream.abandon();
}

function replyProblem(exchange: Exchange, error: ProxyError): void {
  const { status, source } = error;
  const members = source === "client" ? { detail: error.message } : {};
  replyLocally(exchange, bytesReply(status, problemFields(error), problemBody(status, members)));
}

function replyMade(exchange: Exchange, error: ProxyError, made: Response | void | null): void {
  if (exchange.answered) return;
  if (made === undefined || made === null) return replyProblem(exchange, error);
  if (!(made instanceof Response) || isRead(made)) {
    throw unexpected("a Response that was not read, or nothing", made);
  }
  replyLocally(exchange, filterReply(exchange, made, "failToProxy"));
}

// The client gets the original failure.
function failToReply(exchange: Exchange, error: ProxyError, thrown: unknown): void {
  const { reason } = exchange.cancellation;
  if (thrown !== reason) reportCallbackError(exchange.runtime.observer, "failToProxy", thrown);
  if (exchange.answered) return;
  if (reason instanceof ClientGoneError) {
    exchange.failure = reason;
    return abandonClient(exchange, reason);
  }
  replyProblem(exchange, error);
}

/** An error other than a {@linkcode ProxyError} is a mistake of the proxy; the client gets no details. */
function toProxyError(thrown: unknown): ProxyError {
  if (thrown instanceof ProxyError) return thrown;
  const kind = resourceShortage(thrown) === null ? INTERNAL : OUT_OF_RESOURCES;
  return new ProxyError("The proxy failed", { ...kind, cause: thrown });
}

// Timings of a request, for clients.

/**
 * Adds a `Server-Timing` field (W3C Server Timing): `queue`, `connect` and `upstream` where they apply, and `proxy`
 * for all other time until now. A field of the server is kept beside it.
 */
export function announceTimings(exchange: Exchange, headers: HeaderFields): void {
  const { startedAt, upstreamStartAt, upstreamHeadAt, queueMs, connectMs, runtime: { clock } } = exchange;
  const connectedMs = connectMs ?? 0;
  const upstreamMs = upstreamHeadAt > 0 ? Math.max(0, upstreamHeadAt - upstreamStartAt - connectedMs) : 0;
  let timings = queueMs > 0 ? metric("queue;dur=", queueMs) + ", " : "";
  if (connectMs !== null) timings += metric("connect;dur=", connectMs) + ", ";
  if (upstreamHeadAt > 0) timings += metric("upstream;dur=", upstreamMs) + ", ";
  // Without filters no time passes after the head, and reading the clock would cost more.
  const now = upstreamHeadAt > 0 && !exchange.filtersResponse ? upstreamHeadAt : clock.now();
  timings += metric("proxy;dur=", Math.max(0, now - startedAt - queueMs - connectedMs - upstreamMs));
  headers.list.push("server-timing", timings);
}

/** A duration with two decimal places. */
function metric(name: string, durationMs: number): string {
  const hundredths = Math.round(durationMs * 100);
  // Strings of small integers are cached; `toFixed` makes a new one.
  if (hundredths > 1e8) return name + durationMs.toFixed(2);
  const whole = hundredths / 100 | 0;
  const rest = hundredths - whole * 100;
  return name + whole + (rest < 10 ? ".0" : ".") + rest;
}
