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

/** The request as it goes to servers: the same for each attempt; a filter gets a copy. */
export interface PreparedRequest extends OutgoingRequest {
  readonly targetBytes: TargetBytes | null;
  /** The target as functions of the configuration see it: bytes above 0x7F percent-encoded. */
  readonly shownTarget: string;
}

/** What a client offers to switch to. */
export interface UpgradeOffer {
  /** What the server is offered. */
  readonly protocol: string;
  /** The handshake of a WebSocket; `null` for anything else. */
  readonly webSocket: WebSocketOffer | null;
}

/** What a client wants of a WebSocket. */
interface WebSocketOffer {
  /** The client's key, or the proxy's own where the client speaks to the runtime. */
  readonly key: string;
  /** Subprotocols that the client can speak, the liked ones first. */
  readonly protocols: readonly string[];
  /** Whether the client offers extensions that the server may use. */
  readonly extensions: boolean;
}

/** What goes on when a server or the client has something to say; the exchange reaches the steps by it. */
export interface ExchangeSteps {
  /** A server has responded. */
  responded(exchange: Exchange, response: ServerResponse): void;
  /** An attempt has failed. */
  failed(exchange: Exchange, error: ProxyError): void;
  /** The content of the response broke off before any of the response was sent. */
  unsent(exchange: Exchange, error: ProxyError): void;
  /** The response has left, or broke off. */
  ended(exchange: Exchange, failure: ProxyError | null): void;
  /** Whether a request whose kept connection was stale may be sent once more. */
  maySendAgain(exchange: Exchange, failure: UpstreamError): boolean;
}

/** The trace that a request is part of. */
export interface ExchangeTrace {
  readonly traceId: string;
  /** Whether it is kept. */
  readonly sampled: boolean;
  /** Something is over that began when the thing before it was. */
  done(doing: string): void;
  /** The request goes to a server, which is told. */
  attemptBegun(pool: string, server: string): void;
  /** A server has responded, or failed: `status` is 0 then. */
  attemptEnded(status: number, error: string | null): void;
  /** The request is over. */
  ended(status: number, error: string | null): void;
}

/** The entry of the access log for one request at a time. */
export interface ExchangeEntry extends AccessEntry, SentBytes {
  /** Takes a request that is over. */
  take(exchange: Exchange, failure: ProxyError | null, brokeOff: ProxyError | null): void;
  /** Lets go of it. */
  letGo(): void;
  /** An entry that can be kept. */
  copy(): AccessEntry;
}

/** One step of a request; a promise only where something has to be waited for. */
export type RequestStep = (exchange: Exchange) => void | Promise<void>;

/** One proxy, and what it does with an exchange. */
export interface ExchangeRuntime extends ProxyRuntime {
  /** What happens to a request until it is sent. */
  readonly requestSteps: readonly RequestStep[];
  readonly steps: ExchangeSteps;
  readonly settled: ExchangeEntry;
}

/**
 * Everything known of one request: the steps hand it from one to the next, filters see it as their context, and
 * balancer and transport take what they need from it.
 *
 * Made once a request; nothing else of a request is kept anywhere. It knows no step: what has to go on when a server or
 * the client has something to say is in the runtime.
 */
export class Exchange implements RequestContext, ServiceContext, SendOptions, PickRequest, StreamExchange {
  readonly runtime: ExchangeRuntime;
  /** The client's side. */
  readonly stream: ClientStream;
  readonly startedAt: number;
  readonly method: string;

  state: unknown = undefined;
  /** Whether the server gets the normal form of the path. */
  normalized: boolean;
  /** The limits of the request. */
  admission: Admission | null;
  /** What the limiter decided; `null` before, and without one. */
  decision: Decision | null = null;
  status = 0;
  /** Who made the response. */
  responseSource: ResponseSource = "proxy";
  /** Whether it is counted among the open WebSockets. */
  webSocketOpen = false;
  /** `null` where the request is part of no trace. */
  trace: ExchangeTrace | null = null;
  /** Whether the client has begun the trace. */
  tracedByClient = false;
  bytesSent = 0;
  server: Attempt | null = null;
  attemptList: Attempt[] | null = null;
  /** The route that takes the request; `null` before that is known, and where there is none. */
  matched: RouteRuntime | null = null;
  /** The pool that the request goes to. */
  pool: PoolRuntime;
  /** The peer that `upstreamPeer` named outright; `null` when the pool's balancer chooses. */
  namedPeer: NamedPeer | null = null;
  /** What the client says of the server that it belongs to. */
  session: string | null = null;
  /** The server that works on the request; `null` when `upstreamPeer` named it outright. */
  selected: Server | null = null;
  /** What the balancer hashes; set when it is asked. */
  key: string | undefined = undefined;
  /** Servers that have failed this request; it is not sent to them again. */
  exclude: Server[] | undefined = undefined;
  /** Whether an attempt has run out of time. */
  timedOut = false;
  /** Whether anything of the configuration, or the client's content, has taken its time before a server has its turn. */
  delayed = false;
  /** Whether a server may have seen the request. */
  reachedServer = false;
  body: RequestBody | null = null;
  /** The request as it goes to servers; `null` before that is known. */
  outgoing: PreparedRequest | null = null;
  /** What takes part in the request; those of its route once that is known. */
  filters: Filters & RequestNaming;
  /** Set by `ctx.retry(false)`. */
  retryForbidden = false;
  /** Ends the wait for a filter; `null` while none is waited for. */
  endWait: ((reason: ProxyError) => void) | null = null;
  /** The server's response, until nobody looks at it any more. */
  response: ServerResponse | null = null;
  /** Whether the response has been given to the client's side. */
  answered = false;
  /** What a client that gets a response is told has gone wrong; `null` when nothing has. */
  failure: ProxyError | null = null;
  /** What the client wants of a WebSocket; `null` for an ordinary request. */
  upgrade: UpgradeOffer | null = null;
  /** Called off when the client goes away. */
  readonly cancellation: Cancellation = new Cancellation();

  /** How long it waited for room at a server. */
  queueMs = 0;
  /** How long the connection of the last attempt took; `null` when one that was kept was used. */
  connectMs: number | null = null;
  upstreamStartAt = 0;
  upstreamHeadAt = 0;
  endAt = 0;

  /** In-flight count of the server that works on the request. */
  serverLease: Lease | null = null;
  /** Whether it is counted among the requests of the whole proxy. */
  entered = false;
  /** Permit of a concurrency policy. */
  admissionLease: Disposable | null = null;
  settled = false;
  /** Its place among the running requests; -1 once it is over. */
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
    this.method = stream.method;
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

  /** Path and query as everybody sees them: bytes above 0x7F percent-encoded. */
  get target(): string {
    return this.#target ??= this.stream.target;
  }

  /** Where the path ends in {@linkcode target}, and whether it has nothing that can be written, or read, in another way. */
  get pathShape(): PathShape {
    return this.#shape ??= shapeOfPath(this.target);
  }

  get path(): string {
    return this.#path ??= this.pathShape.plain || this.paths === "raw"
      ? this.receivedPath
      : normalPath(this.receivedPath);
  }

  /** @throws {RequestError} 400 when there are too many, which is found out before any filter runs */
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

  /** The path as it came, but for bytes above 0x7F. */
  get receivedPath(): string {
    return this.target.slice(0, this.pathShape.end);
  }

  /** Path and query as the server gets them in the normal form. */
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

  /** The request as functions of the configuration see it; made when the first one asks. */
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

  /** The same, if somebody has asked for it. */
  get shownRequest(): ClientRequest | null {
    return this.#request;
  }

  /** Who asks: the other end of the connection, or whom a trusted proxy names. */
  get client(): ClientInfo {
    return this.identity.client;
  }

  /** Who asks and how; found out only when somebody wants to know. */
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

  /** What a balancing function of the configuration is handed. */
  get source(): this {
    return this;
  }

  get clientIp(): string {
    return this.client.ip;
  }

  get certificate(): ClientCertificate | null {
    return this.stream.certificate;
  }

  /** That of `requestId()`, or the number of the request in this process; made when it is asked for. */
  get requestId(): string {
    if (this.#id === "") {
      // First the number, for functions of the configuration that are asked for the id and ask for it themselves.
      this.#id = this.#number.toString(36);
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

  /** Aborts the signal of `ctx.signal`, if somebody has asked for it. */
  abortSignal(reason: ProxyError): void {
    this.#abort?.abort(reason);
  }

  retry(allowed: boolean): void {
    this.retryForbidden = !allowed;
  }

  /** Whether filters look at the response before the client gets it. */
  get filtersResponse(): boolean {
    const { upstreamResponseFilter, responseFilter, responseBodyFilter } = this.filters;
    return responseFilter !== undefined || upstreamResponseFilter !== undefined ||
      responseBodyFilter !== undefined;
  }

  maySendAgain(failure: UpstreamError): boolean {
    return this.runtime.steps.maySendAgain(this, failure);
  }

  /** The transport's word that it had to connect. */
  connected(durationMs: number): void {
    this.connectMs = durationMs;
  }

  interim(status: number, headers: HeaderFields): void {
    removeHopByHop(headers);
    this.stream.interim(status, headers);
  }

  /**
   * Gives a response to the client's side, once.
   *
   * @throws {Error} when the head cannot be written; another response may be given then
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

  /** The transport's word that a server has responded. */
  responded(response: ServerResponse): void {
    this.runtime.steps.responded(this, response);
  }

  /** The transport's word that an attempt has failed. */
  failed(error: ProxyError): void {
    this.runtime.steps.failed(this, error);
  }

  /** The engine's word that nothing of the response has left, because its content broke off. */
  responseUnsent(error: ProxyError): void {
    this.runtime.steps.unsent(this, error);
  }

  /** The engine's word that the response has left, or broke off. */
  responseEnded(bytes: number, failure: ProxyError | null): void {
    this.bytesSent = bytes;
    this.runtime.steps.ended(this, failure);
  }

  /** Calls everything off because nobody waits for the response any more. */
  callOff(reason: ProxyError): void {
    if (this.settled || this.answered) return;
    this.cancellation.cancel(reason);
    this.endWait?.(reason);
    this.abortSignal(reason);
  }

  /** Calls everything off because the proxy has to stop. */
  abandon(hurried = true): void {
    const reason = new StoppingError(
      hurried ? "The proxy stops and the request had no time left" : "The configuration was replaced",
      hurried,
    );
    this.cancellation.cancel(reason);
    this.endWait?.(reason);
    this.abortSignal(reason);
  }

  /** Fails with what the exchange was called off with. */
  throwIfCancelled(): void {
    if (this.cancellation.cancelled) throw this.cancellation.reason as ProxyError;
  }
}

// Finds out who asks: the peer of the connection, or the client that a trusted proxy names.

/** Who asks, and how. */
export interface Identity extends ForwardedIdentity {
  readonly client: ClientInfo;
}

/** Looks at the peer, and at what it says of its own client when it is trusted. */
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
