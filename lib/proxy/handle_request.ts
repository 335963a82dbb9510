/** The steps of a request through the proxy. */

import type { ResolvedConfig } from "../config/proxy_config.ts";
import { refusePromise, unexpected } from "../core/callback.ts";
import { FilterError, LoopError, type ProxyError, RequestError } from "../core/errors.ts";
import { setClientCert } from "../http/client_certificate.ts";
import { CDN_LOOP_GROUP, EXPECT_GROUP } from "../http/field_lines.ts";
import { HeaderFields } from "../http/header_fields.ts";
import type { RequestBody } from "../http/message.ts";
import { addForwarded, removeForwarded, removeHopByHop } from "../http/proxy_fields.ts";
import { asciiTarget } from "../http/request_target.ts";
import type { ProxyAddresses } from "../http1/proxy_protocol.ts";
import { isOriginForm } from "../routing/rewrite.ts";
import type { ServerResponse, TargetBytes } from "../transport/transport.ts";
import { admitRequest, limitOverload } from "./admit_request.ts";
import {
  attemptFailed,
  attemptResponded,
  attemptUpstreams,
  maySendAgain,
  retryStatus,
  sendResponse,
} from "./attempt_upstreams.ts";
import type { ClientStream, StreamHandler } from "./client_stream.ts";
import {
  Exchange,
  type ExchangeRuntime,
  type ExchangeSteps,
  type PreparedRequest,
  type RequestStep,
} from "./exchange.ts";
import { chooseUpstream, filterRequestBody, runRequestFilter } from "./filter_request.ts";
import { filterResponse } from "./filter_response.ts";
import { holdContent, takeContent } from "./kept_body.ts";
import { failExchange, replyLocally } from "./local_reply.ts";
import { checkPath, matchRoute, refuseUnrouted } from "./match_route.ts";
import { settleExchange } from "./settle_exchange.ts";
import { beginTrace, dropForeignTrace, traceLimiter, traceRoute } from "./trace_request.ts";
import { addUpgrade, readUpgrade } from "./upgrade.ts";

/**
 * The steps of every request, in order. A step that replies itself ends the request; an error that a step throws
 * becomes a response.
 *
 * The last step sends the request; {@linkcode EXCHANGE_STEPS} continue once a server has responded. Steps that this
 * configuration does not need are left out; a route may have its own limits and filters.
 */
export function selectSteps(config: ResolvedConfig): readonly RequestStep[] {
  const { overload, limiter, routes, pools, filters } = config;
  const { requestFilter, requestBodyFilter, upstreamPeer } = filters;
  const routed = routes.length > 0;
  const traced = config.tracing !== null;
  const buffers = [...pools.values()].some(({ bufferBytes }) => bufferBytes > 0);
  return Object.freeze([
    ...(traced ? [beginTrace] : []),
    openExchange,
    ...(traced ? [traceRoute] : []),
    ...(overload !== null ? [limitOverload] : []),
    ...(limiter.length > 0 || routed ? [admitRequest] : []),
    ...(traced && (limiter.length > 0 || routed) ? [traceLimiter] : []),
    ...(requestFilter !== undefined || routed ? [runRequestFilter] : []),
    ...(routed ? [refuseUnrouted] : []),
    takeContentIfAny,
    ...(requestBodyFilter !== undefined || routed ? [filterRequestBody] : []),
    ...(upstreamPeer !== undefined || routed ? [chooseUpstream] : []),
    ...(buffers ? [holdContent] : []),
    prepareRequest,
    ...(traced ? [dropForeignTrace] : []),
    attemptUpstreams,
  ]);
}

/** The current runtime for new requests; a reload replaces it. */
export interface RunningConfiguration {
  runtime: ExchangeRuntime;
}

/** Receives the requests of one listener. */
export class RequestHandler implements StreamHandler {
  /** The `https` port that clients are redirected to; `undefined` where they are served. */
  redirectPort: number | undefined = undefined;
  readonly #running: Readonly<RunningConfiguration>;

  constructor(running: Readonly<RunningConfiguration>) {
    this.#running = running;
  }

  /** Handles a request of a client; never throws. */
  handle(stream: ClientStream): void {
    const { runtime } = this.#running;
    if (this.redirectPort === undefined) runSteps(new Exchange(runtime, stream), 0);
    else redirectToHttps(stream, this.redirectPort, runtime);
  }

  /** Handles a malformed request; never throws. */
  refuse(stream: ClientStream, error: ProxyError): void {
    refuseRequest(stream, error, this.#running.runtime);
  }
}

function refuseRequest(stream: ClientStream, error: ProxyError, runtime: ExchangeRuntime): void {
  const exchange = new Exchange(runtime, stream);
  try {
    makeState(exchange);
    failExchange(exchange, error);
  } catch (thrown) {
    failExchange(exchange, thrown);
  }
}

function takeContentIfAny(exchange: Exchange): void {
  const { body } = exchange.stream;
  if (body !== null) takeContent(exchange, body);
}

// Without a promise as long as no step needs one: most requests need none.
function runSteps(exchange: Exchange, from: number): void {
  try {
    const steps = exchange.runtime.requestSteps;
    for (let i = from; i < steps.length; i++) {
      const pending = steps[i]!(exchange);
      if (pending !== undefined) {
        exchange.delayed = true;
        pending.then(() => {
          if (exchange.answered) return;
          if (exchange.cancellation.cancelled) failExchange(exchange, exchange.cancellation.reason);
          else runSteps(exchange, i + 1);
        }, (error) => failExchange(exchange, error));
        return;
      }
      if (exchange.answered) return;
    }
  } catch (error) {
    failExchange(exchange, error);
  }
}

/** The steps that react to the server and the client. */
export const EXCHANGE_STEPS: ExchangeSteps = {
  responded(exchange, response) {
    try {
      attemptResponded(exchange, response);
      if (response.tunnel === undefined && retryStatus(exchange, response)) return;
      if (isPassedOn(exchange, response)) sendResponse(exchange, response, response, response.body);
      else filterResponse(exchange, response)?.catch((error) => failExchange(exchange, error));
    } catch (error) {
      failExchange(exchange, error);
    }
  },
  failed(exchange, error) {
    try {
      attemptFailed(exchange, error);
    } catch (thrown) {
      failExchange(exchange, thrown);
    }
  },
  unsent(exchange, error) {
    exchange.answered = false;
    failExchange(exchange, error);
  },
  ended: settleExchange,
  maySendAgain,
};

/** Whether the response of a server is forwarded without filters, limits or sessions. */
function isPassedOn(exchange: Exchange, response: ServerResponse): boolean {
  return response.tunnel === undefined && !exchange.filtersResponse && exchange.decision === null &&
    exchange.pool.balancer.sticky === null;
}

// First step: determine what is requested, and refuse what cannot be forwarded.

/**
 * Makes the request's state, and finds the route.
 *
 * @throws {RequestError} 400, 405 or 501 for a request that cannot be forwarded
 * @throws {FilterError} when `newContext` throws, or is async
 */
export function openExchange(exchange: Exchange): void {
  const { method, stream, runtime } = exchange;
  makeState(exchange);
  if (runtime.loopMark !== null && stream.headers.mayHave(CDN_LOOP_GROUP)) {
    const cdnLoop = stream.headers.get("cdn-loop");
    if (cdnLoop !== null && runtime.loopMark.isIn(cdnLoop)) throw new LoopError();
  }
  if (method === "CONNECT") throw new RequestError("The method CONNECT is not forwarded", 501);
  if (method === "TRACE") {
    throw new RequestError("The method TRACE is not forwarded", 405, { allow: ALLOWED });
  }
  if (stream.upgrade) exchange.upgrade = readUpgrade(stream);
  if (runtime.routes !== null) matchRoute(exchange, runtime.routes);
  if (runtime.looksAtPaths) checkPath(exchange);
}

/**
 * Makes the request's state, also for malformed requests, because `failToProxy` and `logging` are called for them.
 *
 * @throws {FilterError} when `newContext` throws, or is async
 */
function makeState(exchange: Exchange): void {
  const { newContext } = exchange.runtime.filters;
  if (newContext === undefined) return;
  try {
    exchange.state = refusePromise(newContext(exchange.request));
  } catch (error) {
    throw new FilterError("newContext", error);
  }
}

const ALLOWED = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

// Redirects clients without TLS to the listener with TLS.

/**
 * Replies with a redirect to the same host and target at `https`; 308, so that method and content stay the same (RFC
 * 9110 section 15.4.9).
 *
 * The client chooses the host. A value that is no plain host name or address could make a URL that leads elsewhere
 * than it seems, so it is refused; its port is not used. Only the filters for every request run: `newContext`,
 * `localReplyFilter`, `failToProxy` and `logging`.
 *
 * @param port of the listener with TLS
 */
function redirectToHttps(stream: ClientStream, port: number, runtime: ExchangeRuntime): void {
  const exchange = new Exchange(runtime, stream);
  try {
    makeState(exchange);
    // The target of OPTIONS or CONNECT may be no path, and would become a part of the host.
    if (!exchange.target.startsWith("/")) throw new RequestError("Only requests for a path are redirected");
    const headers = new HeaderFields();
    const portPart = port === 443 ? "" : `:${port}`;
    headers.list.push("location", `https://${hostName(exchange.host)}${portPart}${exchange.target}`);
    replyLocally(exchange, { status: 308, headers, body: null });
  } catch (error) {
    failExchange(exchange, error);
  }
}

/** The host without its port. */
function hostName(host: string): string {
  const name = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?)(?::\d*)?$/.exec(host)?.[1];
  if (name === undefined) {
    throw new RequestError(
      `The Host field must be a host name or an address, received ${JSON.stringify(host)}`,
    );
  }
  return name;
}

// Makes the request for a server from the client's request.

/**
 * Copies method, target and fields, without hop-by-hop fields, those that `Connection` names, and those of a client
 * about other proxies; adds `X-Forwarded-*` and the like.
 */
function prepareRequest(exchange: Exchange): void {
  const { stream, body, host, pool, runtime: { forwardedFields, loopMark } } = exchange;
  const headers = stream.outgoingHeaders();
  const { via, fromProxy } = removeForwarded(headers);
  const takesTrailers = pool.transport.carriesTrailers === true && headers.get("te") === "trailers";
  const named = removeHopByHop(headers);
  // Whether the content waits for 100 (Continue) is decided between the transport and the server.
  if (headers.mayHave(EXPECT_GROUP)) headers.delete("expect");
  // gRPC servers refuse requests without it.
  if (takesTrailers) headers.list.push("te", "trailers");
  if (!headers.has("host")) headers.list.push("host", host === "" ? "localhost" : host);
  addForwarded(headers.list, forwardedFields, {
    identity: exchange.identity,
    host,
    via: named !== null && named.has("via") ? null : via,
  });
  if (loopMark !== null) loopMark.add(headers, fromProxy);
  if (forwardedFields.clientCert) setClientCert(headers, stream.certificate);
  // Where no tunnels are made, offers other than that of a WebSocket are declined.
  if (exchange.upgrade?.webSocket === null && pool.webSocket === null) exchange.upgrade = null;
  if (exchange.upgrade !== null) addUpgrade(headers, exchange.upgrade);
  exchange.outgoing = new ServerRequest(exchange, headers, body, targetFor(exchange));
}

class ServerRequest implements PreparedRequest {
  method: string;
  readonly headers: HeaderFields;
  readonly body: RequestBody | null;
  readonly upgrade: boolean;
  readonly expectsContinue: boolean;
  readonly targetBytes: TargetBytes | null;
  readonly #exchange: Exchange;
  readonly #target: string | null;

  constructor(exchange: Exchange, headers: HeaderFields, body: RequestBody | null, target: string | null) {
    const { stream } = exchange;
    this.#exchange = exchange;
    this.#target = target;
    this.method = exchange.method;
    this.headers = headers;
    this.body = body;
    this.upgrade = exchange.upgrade !== null;
    this.expectsContinue = stream.expectsContinue;
    this.targetBytes = target === null ? stream.targetBytes : null;
  }

  get shownTarget(): string {
    return this.#target ?? this.#exchange.target;
  }

  get addresses(): ProxyAddresses {
    const { client: { ip, port }, stream: { localIp, localPort } } = this.#exchange;
    return { ip, port, localIp, localPort };
  }

  // The received target if it is unchanged; most transports need no string of it.
  get target(): string {
    return this.#target ?? this.#exchange.stream.receivedTarget;
  }
}

/**
 * The target for the server: the client's (`null`), its normal form, or the result of the route's `rewrite`.
 *
 * A rewrite gets the path by which the route was found; otherwise it could differ from what the route has matched.
 *
 * @throws {FilterError} when the rewrite throws, or returns something that is not allowed in a request line
 */
export function targetFor(exchange: Exchange): string | null {
  const rewrite = exchange.matched?.rewrite ?? null;
  if (rewrite === null && !exchange.normalized) return null;
  const { normalTarget } = exchange;
  const unchanged = exchange.normalized ? normalTarget : null;
  if (rewrite === null) return unchanged;
  let made: unknown;
  try {
    made = rewrite(normalTarget, exchange);
  } catch (error) {
    throw new FilterError("rewrite", error);
  }
  if (made === normalTarget) return unchanged;
  if (typeof made === "string") made = asciiTarget(made);
  if (isOriginForm(made)) return made;
  throw new FilterError("rewrite", unexpected("a path that begins with a slash", made));
}
