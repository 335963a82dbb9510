/** The state of one request, from its arrival until it is settled. */

import type { PickRequest } from "../balancer/algorithm.ts";
import { Cancellation } from "../core/cancellation.ts";
import { ClientGoneError, type ProxyError, RequestError, StoppingError } from "../core/errors.ts";
import type { Lease } from "../core/lease.ts";
import { type Filters, REQUEST_ID, type RequestNaming } from "../config/filters.ts";
import type { Underscores } from "../config/proxy_config.ts";
import type { AttemptInfo, ClientInfo, RequestContext, Timings } from "../config/request_context.ts";
import { normalEncoding, normalPath, pathReadings } from "../http/normal_path.ts";
import type { PathMode } from "../routing/route_match.ts";
import type { Decision } from "../limiter/decision.ts";
import { type PolicyDecision, policyDecisions } from "../limiter/policy_decision.ts";
import { RequestLog } from "../observe/request_log.ts";
import type { Pool } from "../upstream/pool.ts";
import type { Server } from "../upstream/server.ts";
import type { RequestBody, SendOptions, Timeouts, Tunnel } from "../transport/transport.ts";
import type { FilteredStream } from "./filtered_stream.ts";
import { identifyClient, type Identity } from "./identify_client.ts";
import type { NamedPeer } from "./named_peers.ts";
import type { Admission, PoolRuntime, ProxyRuntime } from "./proxy_runtime.ts";
import { mayHaveContent } from "./read_body.ts";
import { declaresContent, NO_FIELDS, type RequestFields } from "./read_fields.ts";
import type { WebSocketRequest } from "./read_upgrade.ts";
import type { RouteRuntime } from "./route_runtime.ts";
import { ReplayBody } from "./replay_body.ts";
import { showRequest } from "./show_request.ts";

/** One try to get an answer from a server. */
export interface Attempt extends AttemptInfo {
  failure: string | null;
}

const NO_ATTEMPTS: readonly Attempt[] = [];
const NO_PATHS: readonly string[] = Object.freeze([]);
const NO_LIMITS: readonly PolicyDecision[] = [];

/** How a listener is reached, the same for all of its requests. */
export interface Entrance {
  /** `"http"` or `"https"`. */
  readonly scheme: string;
  /** What the runtime takes for the host of a request that names none. */
  readonly fallbackAuthority: string;
  /** What becomes of fields with underscores in their names. */
  readonly underscores: Underscores;
}

/**
 * Everything known of one request: the steps hand it from one to the next, filters see it as their context, and
 * balancer and transport take what they need from it.
 *
 * Made once a request; nothing else of a request is kept anywhere.
 */
export class Exchange implements RequestContext, SendOptions, PickRequest {
  readonly runtime: ProxyRuntime;
  /** The request as the runtime gives it; functions of the configuration get {@linkcode request}. */
  readonly received: Request;
  readonly info: Deno.ServeHandlerInfo<Deno.NetAddr>;
  readonly entrance: Entrance;
  readonly startedAt: number;
  readonly method: string;

  state: unknown = undefined;
  /** The client's fields; taken over by the request to the server. */
  fields: RequestFields = NO_FIELDS;
  host = "";
  /** Path and query as everybody sees them: bytes above 0x7F percent-encoded. */
  target = "";
  /** The same as it came. */
  receivedTarget = "";
  /** Where the path ends in {@linkcode target}. */
  pathEnd = 0;
  /** Whether the path has nothing that can be written, or read, in another way. */
  plainPath = true;
  /** Whether the server gets the normal form of the path. */
  normalized: boolean;
  /** The limits of the request. */
  admission: Admission | null;
  /** What the limiter decided; `null` before, and without one. */
  decision: Decision | null = null;
  status = 0;
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
  /** Whether anything of the configuration, or the client's content, has taken its time before a server has its turn. */
  delayed = false;
  /** Whether a server may have seen the request. */
  reachedServer = false;
  body: RequestBody | null = null;
  /** What takes part in the request; those of its route once that is known. */
  filters: Filters & RequestNaming;
  /** Set by `ctx.retry(false)`. */
  retryForbidden = false;
  /** Ends the wait for a filter; `null` while none is waited for. */
  endWait: ((reason: ProxyError) => void) | null = null;
  /** Content of a filter's making that goes to the client; it has the last word on the end of the exchange. */
  filtered: FilteredStream | null = null;
  /** A server's content that nobody has been given yet. */
  unreadBody: ReadableStream | null = null;
  /** What the client wants of a WebSocket; `null` for an ordinary request. */
  webSocket: WebSocketRequest | null = null;
  /** The connection that the server has given over to a WebSocket. */
  tunnel: Tunnel | null = null;
  /** Called off when the client goes away. */
  readonly cancellation: Cancellation = new Cancellation();

  upstreamStartAt = 0;
  upstreamHeadAt = 0;
  endAt = 0;

  /** In-flight count of the server that works on the request. */
  serverLease: Lease | null = null;
  /** Place of a concurrency policy. */
  admissionLease: Disposable | null = null;
  /** Whether the client is watched, as it is once the request takes long. */
  watched = false;
  settled = false;
  /** Its place among the running requests; -1 once it is over. */
  runningIndex = -1;

  readonly #number: number;
  #shown = false;
  #path: string | null = null;
  #otherPaths: readonly string[] | null = null;
  #identity: Identity | null = null;
  #log: RequestLog | null = null;
  #id = "";
  #abort: AbortController | null = null;

  constructor(
    runtime: ProxyRuntime,
    request: Request,
    info: Deno.ServeHandlerInfo<Deno.NetAddr>,
    entrance: Entrance,
  ) {
    this.runtime = runtime;
    this.received = request;
    this.info = info;
    this.entrance = entrance;
    this.method = request.method;
    this.pool = runtime.defaultPool;
    this.admission = runtime.admission;
    this.filters = runtime.filters;
    this.normalized = runtime.normalized;
    this.#number = ++runtime.count.arrived;
    runtime.running.add(this);
    this.startedAt = runtime.clock.now();
  }

  /** The request as functions of the configuration see it: with the fields that servers get. */
  get request(): Request {
    if (!this.#shown) this.showFields(null);
    return this.received;
  }

  /** Makes {@linkcode request} show these fields; `null` for those that the runtime goes through. */
  showFields(list: readonly string[] | null): void {
    this.#shown = true;
    showRequest(this.received, list);
  }

  /** Who asks: the other end of the connection, or whom a trusted proxy names. */
  get client(): ClientInfo {
    return this.identity.client;
  }

  /** Who asks and how; found out only when somebody wants to know. */
  get identity(): Identity {
    const { runtime: { trustedProxies }, info, entrance, received } = this;
    return this.#identity ??= identifyClient(
      trustedProxies,
      info.remoteAddr,
      entrance.scheme,
      received.headers,
    );
  }

  get path(): string {
    return this.#path ??= this.plainPath || this.paths === "raw"
      ? this.receivedPath
      : normalPath(this.receivedPath);
  }

  /** @throws {RequestError} 400 when there are too many, which is found out before any filter runs */
  get otherPaths(): readonly string[] {
    if (this.plainPath || this.paths === "raw") return NO_PATHS;
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
    return this.target.slice(0, this.pathEnd);
  }

  /** Path and query as the server gets them in the normal form. */
  get normalTarget(): string {
    return this.plainPath ? this.target : this.path + this.target.slice(this.pathEnd);
  }

  /** How paths are compared. */
  get paths(): PathMode {
    return this.matched === null ? this.runtime.paths : this.matched.paths;
  }

  get timeouts(): Timeouts {
    const { matched, pool } = this;
    return matched === null || matched.timeouts === null ? pool.timeouts : matched.timeouts.get(pool)!;
  }

  get pools(): ReadonlyMap<string, Pool> {
    return this.runtime.members;
  }

  get route(): string | null {
    return this.matched === null ? null : this.matched.name;
  }

  /**
   * Whether content is on its way that the runtime would break off when a server is told to finish: that of HTTP/1.1
   * (HTTP/2 has no Host field), and a WebSocket. Nobody waits for content of what was called off.
   */
  get awaitsContent(): boolean {
    const { body, method, fields } = this;
    if (this.cancellation.cancelled || this.filtered?.own === true) return false;
    if (this.tunnel !== null) return true;
    if (fields.host === null) return false;
    if (body instanceof ReplayBody) return !body.ended;
    return body === null && mayHaveContent(method) && declaresContent(fields);
  }

  /** Gives back what the request holds of a server that has responded: nothing more of it is wanted. */
  releaseServer(): void {
    this.serverLease?.release();
    const { unreadBody, cancellation } = this;
    this.unreadBody = null;
    // A filter that failed may have left it locked; unread it would keep its connection for ever.
    unreadBody?.cancel().catch(() => cancellation.cancel(new ClientGoneError()));
    this.tunnel?.[Symbol.dispose]();
    this.tunnel = null;
  }

  /** Whether nothing has been handed over yet: the status is unknown, or a filter is asked about it. */
  get unanswered(): boolean {
    return this.status === 0 || this.endWait !== null;
  }

  /** What a balancing function of the configuration is handed. */
  get source(): this {
    return this;
  }

  get clientIp(): string {
    return this.client.ip;
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

  /** Filters may keep what they are shown; a `Response` has its own copy as soon as it is made. */
  get borrowsBody(): boolean {
    return !this.filtersResponse;
  }

  /** The transport's word that a streamed response is over, which ends the exchange. */
  onBodyEnd(bytes: number, failure: ProxyError | null): void {
    if (this.filtered !== null) failure = this.filtered.sourceEnded(failure);
    if (failure !== null && this.endWait !== null) return this.endWait(failure);
    if (this.filtered !== null) return;
    this.bytesSent = bytes;
    this.runtime.settle(this, failure);
  }

  get log(): RequestLog {
    return this.#log ??= new RequestLog(this.runtime.observer, this);
  }

  get signal(): AbortSignal {
    if (this.#abort === null) {
      this.#abort = new AbortController();
      if (this.cancellation.cancelled) this.#abort.abort(this.cancellation.reason);
      else this.watchConnection();
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

  /** Whether filters look at the answer before the client gets it. */
  get filtersResponse(): boolean {
    const { upstreamResponseFilter, responseFilter, responseBodyFilter } = this.filters;
    return responseFilter !== undefined || upstreamResponseFilter !== undefined ||
      responseBodyFilter !== undefined;
  }

  /** From now on the exchange is called off when its client goes away. */
  watchConnection(): void {
    if (this.watched) return;
    this.watched = true;
    const { signal } = this.received;
    const gone = (): void => {
      // The signal fires after every answer as well; one that has been handed over has its own way of telling.
      if (this.unanswered && !this.settled) this.clientGone();
    };
    if (signal.aborted) gone();
    else signal.addEventListener("abort", gone, { once: true });
  }

  /** Calls everything off because nobody waits for the answer any more. */
  clientGone(): void {
    this.#callOff(new ClientGoneError());
  }

  /** Calls everything off because the proxy has to stop. */
  abandon(): void {
    this.#callOff(new StoppingError("The proxy stops and the request had no time left"));
  }

  #callOff(reason: ProxyError): void {
    this.cancellation.cancel(reason);
    this.endWait?.(reason);
    this.filtered?.calledOff(reason);
    this.abortSignal(reason);
  }

  /** Fails with what the exchange was called off with. */
  throwIfCancelled(): void {
    if (this.cancellation.cancelled) throw this.cancellation.reason as ProxyError;
  }
}
