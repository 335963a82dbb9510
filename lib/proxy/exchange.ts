/** The state of one request, from its arrival until it is settled. */

import type { PickRequest } from "../balancer/algorithm.ts";
import { Cancellation, type Lease } from "../core/cancellation.ts";
import { type ProxyError, RequestError, StoppingError, type UpstreamError } from "../core/errors.ts";
import {
  type AttemptInfo,
  type ClientInfo,
  FILTER_SERVICES,
  type FilterServices,
  type RequestContext,
  type ServiceContext,
  type Timings,
} from "../filter/request_context.ts";
import { type Filters, REQUEST_ID, type RequestNaming } from "../filter/filters.ts";
import type { ClientCertificate } from "../http/client_certificate.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import { type ForwardedIdentity, removeHopByHop } from "../http/proxy_fields.ts";
import type { Body, RequestBody, ResponseHead } from "../http/message.ts";
import { normalEncoding, normalPath, pathReadings } from "../http/normal_path.ts";
import { type PathShape, shapeOfPath } from "../http/request_target.ts";
import type { TrustedProxies } from "../http/trusted_proxies.ts";
import type { Decision } from "../limiter/policy.ts";
import type { PolicyDecision } from "../limiter/policy.ts";
import { policyDecisions } from "../limiter/decision.ts";
import { type AccessEntry, RequestLog } from "../observe/observer.ts";
import type { SentBytes } from "../observe/access_line.ts";
import type { ResponseSource } from "../observe/metrics/meters.ts";
import type { PathMode } from "../routing/route_match.ts";
import type { Pool } from "../upstream/pool.ts";
import type { Server } from "../upstream/server.ts";
import type {
  OutgoingRequest,
  SendOptions,
  ServerResponse,
  TargetBytes,
  Timeouts,
} from "../transport/transport.ts";
import { ClientRequest } from "./client_request.ts";
import type { ClientStream, StreamExchange } from "./client_stream.ts";
import type {
  Admission,
  NamedPeer,
  PoolRuntime,
  ProxyRuntime,
  RetryRuntime,
  RouteRuntime,
} from "./proxy_runtime.ts";

/** One try to get a response from a server. */
export interface Attempt extends AttemptInfo {
  failure: string | null;
}

const NO_ATTEMPTS: readonly Attempt[] = [];
const NO_PATHS: readonly string[] = Object.freeze([]);
const NO_LIMITS: readonly PolicyDecision[] = [];

/** The request as it is sent to servers: the same for each attempt; a filter gets a copy. */
export interface PreparedRequest extends OutgoingRequest {
  readonly targetBytes: TargetBytes | null;
  /** The target for functions of the configuration: bytes above 0x7F are percent-encoded. */
  readonly shownTarget: string;
}

/** The protocols that a client offers to switch to. */
export interface UpgradeOffer {
  /** The protocols offered to the server. */
  readonly protocol: string;
  /** The handshake of a WebSocket; `null` for other protocols. */
  readonly webSocket: WebSocketOffer | null;
}

/** The handshake of a client's WebSocket. */
interface WebSocketOffer {
  /** The client's key, or a key of the proxy if the runtime does the client's handshake. */
  readonly key: string;
  /** Subprotocols of the client, in order of preference. */
  readonly protocols: readonly string[];
  /** Whether the client offers extensions that the server may use. */
  readonly extensions: boolean;
}

/** The steps that react to the server and the client; the exchange calls them through the runtime. */
export interface ExchangeSteps {
  /** A server has responded. */
  responded(exchange: Exchange, response: ServerResponse): void;
  /** An attempt has failed. */
  failed(exchange: Exchange, error: ProxyError): void;
  /** The content of the response failed before any of the response was sent. */
  unsent(exchange: Exchange, error: ProxyError): void;
  /** The response was sent, or failed. */
  ended(exchange: Exchange, failure: ProxyError | null): void;
  /** Whether a request whose kept connection was stale may be sent once more. */
  maySendAgain(exchange: Exchange, failure: UpstreamError): boolean;
}

/** The trace that a request is part of. */
export interface ExchangeTrace {
  readonly traceId: string;
  /** Whether it is recorded. */
  readonly sampled: boolean;
  /** A phase has ended; it began at the end of the previous one. */
  done(doing: string): void;
  /** The request is sent to a server, with the trace in its fields. */
  attemptBegun(pool: string, server: string): void;
  /** A server has responded, or failed: then `status` is 0. */
  attemptEnded(status: number, error: string | null): void;
  /** The request has ended. */
  ended(status: number, error: string | null): void;
}

/** The entry of the access log, for one request at a time. */
export interface ExchangeEntry extends AccessEntry, SentBytes {
  /** Shows a request that has ended. */
  take(exchange: Exchange, failure: ProxyError | null, brokeOff: ProxyError | null): void;
  /** Releases the request. */
  letGo(): void;
  /** A copy that can be kept. */
  copy(): AccessEntry;
}

/** One step of a request; returns a promise only when it has to wait. */
export type RequestStep = (exchange: Exchange) => void | Promise<void>;

/** One proxy, with the steps of its exchanges. */
export interface ExchangeRuntime extends ProxyRuntime {
  /** The steps of a request until it is sent. */
  readonly requestSteps: readonly RequestStep[];
  readonly steps: ExchangeSteps;
  readonly settled: ExchangeEntry;
}

/**
 * The whole state of one request: the steps pass it on, filters see it as their context, and balancer and transport
 * use it too.
 *
 * Made once per request; no other state of a request exists. It knows no step: the runtime has the steps that react
 * to the server and the client.
 */
export class Exchange implements RequestContext, ServiceContext, SendOptions, PickRequest, StreamExchange {
  readonly runtime: ExchangeRuntime;
  /** The client's side. */
  readonly stream: ClientStream;
  readonly startedAt: number;
  readonly method: string;
  /** The method that servers get: a filter may have set another one. It decides whether a retry is safe. */
  sentMethod: string;

  state: unknown = undefined;
  /** Whether the server gets the normal form of the path. */
  normalized: boolean;
  /** The limits of the request. */
  admission: Admission | null;
  /** The decision of the limiter; `null` before it, and without a limiter. */
  decision: Decision | null = null;
  status = 0;
  /** Who made the response. */
  responseSource: ResponseSource = "proxy";
  /** Whether it is counted among the open WebSockets. */
  webSocketOpen = false;
  /** `null` when the request is not traced. */
  trace: ExchangeTrace | null = null;
  /** Whether the client has started the trace. */
  tracedByClient = false;
  bytesSent = 0;
  server: Attempt | null = null;
  attemptList: Attempt[] | null = null;
  /** The route of the request; `null` before it is known, and without one. */
  matched: RouteRuntime | null = null;
  /** The pool of the request. */
  pool: PoolRuntime;
  /** The peer that `upstreamPeer` has named directly; `null` when the pool's balancer selects. */
  namedPeer: NamedPeer | null = null;
  /** The client's session cookie. */
  session: string | null = null;
  /** The selected server; `null` when `upstreamPeer` has named a peer directly. */
  selected: Server | null = null;
  /** The key that the balancer hashes; set before it selects. */
  key: string | undefined = undefined;
  /** Servers that have failed this request; it is not sent to them again. */
  exclude: Server[] | undefined = undefined;
  /** Whether an attempt has timed out. */
  timedOut = false;
  /** Whether time has passed before the first attempt, in functions of the configuration or for the client's content. */
  delayed = false;
  /** Whether a server may have received the request. */
  reachedServer = false;
  body: RequestBody | null = null;
  /** The request as it is sent to servers; `null` before it is prepared. */
  outgoing: PreparedRequest | null = null;
  /** The filters of the request; those of its route once that is known. */
  filters: Filters & RequestNaming;
  /** Set by `ctx.retry(false)`. */
  retryForbidden = false;
  /** Ends the wait for a filter; `null` when none is awaited. */
  endWait: ((reason: ProxyError) => void) | null = null;
  /** The server's response, until it is no longer used. */
  response: ServerResponse | null = null;
  /** Whether the response was passed to the client's side. */
  answered = false;
  /** The failure that the response reports; `null` without one. */
  failure: ProxyError | null = null;
  /** The client's offer to switch protocols; `null` for an ordinary request. */
  upgrade: UpgradeOffer | null = null;
  /** Cancelled when the client closes. */
  readonly cancellation: Cancellation = new Cancellation();

  /** How long it waited for room at a server, in milliseconds. */
  queueMs = 0;
  /** Duration of connecting in the last attempt, in milliseconds; `null` when it used a kept connection. */
  connectMs: number | null = null;
  upstreamStartAt = 0;
  upstreamHeadAt = 0;
  endAt = 0;

  /** In-flight count of the selected server. */
  serverLease: Lease | null = null;
  /** Whether it is counted among the requests of the whole proxy. */
  entered = false;
  /** Permit of a concurrency policy. */
  admissionLease: Disposable | null = null;
  settled = false;
  /** Index among the running requests; -1 once it has ended. */
  runningIndex = -1;

  readonly #number: number;
  #id = "";
  #identity: Identity | null = null;
  #target: string | null = null;
  #host: string | null = null;
  #shape: PathShape | null = null;
  #path: string | null = null;
  #otherPaths: readonly string[] | null = null;
  #request: ClientRequest | null = null;
  #log: RequestLog | null = null;
  #abort: AbortController | null = null;

  constructor(runtime: ExchangeRuntime, stream: ClientStream) {
    this.runtime = runtime;
    this.stream = stream;
    this.method = this.sentMethod = stream.method;
    this.pool = runtime.defaultPool;
    this.admission = runtime.admission;
    this.filters = runtime.filters;
    this.normalized = runtime.normalized;
    this.#number = ++runtime.count.arrived;
    stream.exchange = this;
    runtime.running.add(this);
    this.startedAt = runtime.clock.now();
  }

  get host(): string {
    return this.#host ??= this.stream.host;
  }

  /** Path and query as other parts of the proxy see them: bytes above 0x7F are percent-encoded. */
  get target(): string {
    return this.#target ??= this.stream.target;
  }

  /**
   * Where the path ends in {@linkcode target}, and whether it has no part that can be written, or read, in another
   * way.
   */
  get pathShape(): PathShape {
    return this.#shape ??= shapeOfPath(this.target);
  }

  get path(): string {
    return this.#path ??= this.pathShape.plain || this.paths === "raw"
      ? this.receivedPath
      : normalPath(this.receivedPath);
  }

  /** @throws {RequestError} 400 when there are too many; this is checked before any filter runs */
  get otherPaths(): readonly string[] {
    if (this.pathShape.plain || this.paths === "raw") return NO_PATHS;
    return this.#otherPaths ??= this.#readOtherPaths();
  }

  #readOtherPaths(): readonly string[] {
    const { path, normalized, receivedPath } = this;
    const found = pathReadings(normalized ? path : normalEncoding(receivedPath));
    if (found === null) throw new RequestError("The path can be read in too many ways");
    return found.filter((other) => other !== path);
  }

  /** The received path; only bytes above 0x7F are percent-encoded. */
  get receivedPath(): string {
    return this.target.slice(0, this.pathShape.end);
  }

  /** Path and query for the server in normal form. */
  get normalTarget(): string {
    return this.pathShape.plain ? this.target : this.path + this.target.slice(this.pathShape.end);
  }

  /** How paths are compared. */
  get paths(): PathMode {
    return this.matched === null ? this.runtime.paths : this.matched.paths;
  }

  /** The client's fields. */
  get fields(): HeaderFields {
    return this.stream.headers;
  }

  field(name: string): string | null {
    return this.stream.headers.get(name);
  }

  /** The request for functions of the configuration; made on first use. */
  get request(): ClientRequest {
    if (this.#request !== null) return this.#request;
    const { method, stream: { listener, host, target, headers, body, native } } = this;
    return this.#request = new ClientRequest({
      method,
      url: `${listener.scheme}://${host === "" ? "localhost" : host}${target}`,
      headers,
      body,
      native,
      signal: () => this.signal,
    });
  }

  /** The same, if it was made. */
  get shownRequest(): ClientRequest | null {
    return this.#request;
  }

  /** The client: the peer of the connection, or the client that a trusted proxy names. */
  get client(): ClientInfo {
    return this.identity.client;
  }

  /** The client and how it has connected; determined on first use. */
  get identity(): Identity {
    return this.#identity ??= identifyClient(this.runtime.trustedProxies, this.stream);
  }

  get timeouts(): Timeouts {
    const { matched, pool } = this;
    return matched === null || matched.timeouts === null ? pool.timeouts : matched.timeouts.get(pool)!;
  }

  get retries(): RetryRuntime | null {
    const { matched, pool } = this;
    return matched === null || matched.retries === undefined ? pool.retries : matched.retries;
  }

  get pools(): ReadonlyMap<string, Pool> {
    return this.runtime.members;
  }

  get route(): string | null {
    return this.matched === null ? null : this.matched.name;
  }

  /** The context for balancing functions of the configuration. */
  get source(): this {
    return this;
  }

  get clientIp(): string {
    return this.client.ip;
  }

  get certificate(): ClientCertificate | null {
    return this.stream.certificate;
  }

  /** The result of `requestId()`, or the number of the request, behind that of its worker; made on first use. */
  get requestId(): string {
    if (this.#id === "") {
      // The number is set first, for a naming function that reads the id itself.
      const { process } = this.runtime.count;
      const number = this.#number.toString(36);
      this.#id = process === undefined ? number : `${process}-${number}`;
      const naming = this.filters[REQUEST_ID];
      if (naming !== undefined) this.#id = naming(this);
    }
    return this.#id;
  }

  get limits(): readonly PolicyDecision[] {
    return this.decision === null ? NO_LIMITS : policyDecisions(this.decision);
  }

  get attempts(): readonly Attempt[] {
    return this.attemptList ?? NO_ATTEMPTS;
  }

  get timings(): Timings {
    const since = (moment: number): number | null => moment === 0 ? null : moment - this.startedAt;
    return {
      upstreamStartMs: since(this.upstreamStartAt),
      upstreamHeadMs: since(this.upstreamHeadAt),
      endMs: since(this.endAt),
    };
  }

  get [FILTER_SERVICES](): FilterServices {
    return this.runtime.filterServices;
  }

  get log(): RequestLog {
    return this.#log ??= new RequestLog(this.runtime.observer, this);
  }

  get signal(): AbortSignal {
    if (this.#abort === null) {
      this.#abort = new AbortController();
      if (this.cancellation.cancelled) this.#abort.abort(this.cancellation.reason);
    }
    return this.#abort.signal;
  }

  /** Aborts `ctx.signal`, if it was made. */
  abortSignal(reason: ProxyError): void {
    this.#abort?.abort(reason);
  }

  retry(allowed: boolean): void {
    this.retryForbidden = !allowed;
  }

  /** Whether filters process the response before the client gets it. */
  get filtersResponse(): boolean {
    const { upstreamResponseFilter, responseFilter, responseBodyFilter } = this.filters;
    return responseFilter !== undefined || upstreamResponseFilter !== undefined ||
      responseBodyFilter !== undefined;
  }

  maySendAgain(failure: UpstreamError): boolean {
    return this.runtime.steps.maySendAgain(this, failure);
  }

  /** Called by the transport when it had to connect. */
  connected(durationMs: number): void {
    this.connectMs = durationMs;
  }

  interim(status: number, headers: HeaderFields): void {
    removeHopByHop(headers);
    this.stream.interim(status, headers);
  }

  /**
   * Passes a response to the client's side, once.
   *
   * @throws {Error} when the head cannot be written; another response may be passed then
   */
  respond(head: ResponseHead, body: Body | null, close = false): void {
    this.answered = true;
    try {
      this.stream.respond(head, body, close);
    } catch (error) {
      this.answered = false;
      throw error;
    }
  }

  /** Called by the transport when a server has responded. */
  responded(response: ServerResponse): void {
    this.runtime.steps.responded(this, response);
  }

  /** Called by the transport when an attempt has failed. */
  failed(error: ProxyError): void {
    this.runtime.steps.failed(this, error);
  }

  /** Called by the engine when nothing of the response was sent, because its content failed. */
  responseUnsent(error: ProxyError): void {
    this.runtime.steps.unsent(this, error);
  }

  /** Called by the engine when the response was sent, or has failed. */
  responseEnded(bytes: number, failure: ProxyError | null): void {
    this.bytesSent = bytes;
    this.runtime.steps.ended(this, failure);
  }

  /** Cancels the exchange because the response is no longer wanted. */
  callOff(reason: ProxyError): void {
    if (this.settled || this.answered) return;
    this.cancellation.cancel(reason);
    this.endWait?.(reason);
    this.abortSignal(reason);
  }

  /** Cancels the exchange because the proxy has to stop. */
  abandon(hurried = true): void {
    const reason = new StoppingError(
      hurried ? "The proxy stops and the request had no time left" : "The configuration was replaced",
      hurried,
    );
    this.cancellation.cancel(reason);
    this.endWait?.(reason);
    this.abortSignal(reason);
  }

  /** Throws the reason of the cancellation, if there was one. */
  throwIfCancelled(): void {
    if (this.cancellation.cancelled) throw this.cancellation.reason as ProxyError;
  }
}

// Identifies the client: the peer of the connection, or the client that a trusted proxy names.

/** The client, and how it has connected. */
export interface Identity extends ForwardedIdentity {
  readonly client: ClientInfo;
}

/** Evaluates the peer and, if it is trusted, its fields about its client. */
export function identifyClient(trusted: TrustedProxies | null, stream: ClientStream): Identity {
  const { peerIp, peerPort, certificate, listener: { scheme } } = stream;
  if (trusted === null || !trusted.trusts(peerIp)) {
    return {
      client: { ip: peerIp, port: peerPort, certificate },
      peerIp,
      peerScheme: scheme,
      scheme,
      forwardedHost: null,
      forwardedFor: null,
      forwarded: null,
    };
  }
  const found = trusted.ask(peerIp, stream.headers);
  const byForwarded = trusted.field === "forwarded";
  return {
    client: { ip: found.clientIp, port: found.clientIp === peerIp ? peerPort : 0, certificate },
    peerIp,
    peerScheme: scheme,
    scheme: found.scheme ?? scheme,
    forwardedHost: found.host,
    forwardedFor: byForwarded ? null : found.said,
    forwarded: byForwarded ? found.said : null,
  };
}
