/** The state of one request, from its arrival until it is settled. */

import type { PickRequest } from "../balancer/algorithm.ts";
import { Cancellation } from "../core/cancellation.ts";
import type { Deadline } from "../core/deadline_wheel.ts";
import { ClientGoneError, type ProxyError, StoppingError } from "../core/errors.ts";
import type { Lease } from "../core/lease.ts";
import type { AttemptInfo, ClientInfo, RequestContext, Timings } from "../config/request_context.ts";
import type { Decision } from "../limiter/decision.ts";
import { type PolicyDecision, policyDecisions } from "../limiter/policy_decision.ts";
import type { Server } from "../upstream/server.ts";
import type { RequestBody, SendOptions, Timeouts } from "../transport/transport.ts";
import type { NamedPeer } from "./named_peers.ts";
import type { Admission, PoolRuntime, ProxyRuntime } from "./proxy_runtime.ts";
import { mayHaveContent } from "./read_body.ts";
import { declaresContent, type RequestFields } from "./read_fields.ts";
import { ReplayBody } from "./replay_body.ts";

/** One try to get an answer from a server. */
export interface Attempt extends AttemptInfo {
  failure: string | null;
}

const NO_FIELDS: RequestFields = Object.freeze({
  list: [],
  host: null,
  connection: null,
  via: null,
  contentLength: null,
  transferEncoding: null,
});
const NO_ATTEMPTS: readonly Attempt[] = [];
const NO_LIMITS: readonly PolicyDecision[] = [];

/** How a listener is reached, the same for all of its requests. */
export interface Entrance {
  /** `"http"` or `"https"`. */
  readonly scheme: string;
  /** What the runtime takes for the host of a request that names none. */
  readonly fallbackAuthority: string;
}

/**
 * Everything known of one request: the steps hand it from one to the next, filters see it as their context, and
 * balancer and transport take what they need from it.
 *
 * Made once a request; nothing else of a request is kept anywhere.
 */
export class Exchange implements RequestContext, SendOptions, PickRequest {
  readonly runtime: ProxyRuntime;
  readonly request: Request;
  readonly info: Deno.ServeHandlerInfo<Deno.NetAddr>;
  readonly entrance: Entrance;
  readonly startedAt: number;
  readonly method: string;

  state: unknown = undefined;
  /** The client's fields; taken over by the request to the server. */
  fields: RequestFields = NO_FIELDS;
  host = "";
  target = "";
  /** The limits of the request. */
  admission: Admission | null;
  /** What the limiter decided; `null` before, and without one. */
  decision: Decision | null = null;
  status = 0;
  bytesSent = 0;
  server: Attempt | null = null;
  attemptList: Attempt[] | null = null;
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
  /** Whether a server may have seen the request. */
  reachedServer = false;
  body: RequestBody | null = null;
  /** A server's content that nobody has been given yet. */
  unreadBody: ReadableStream | null = null;
  /** Called off when the client goes away. */
  readonly cancellation: Cancellation = new Cancellation();

  upstreamStartAt = 0;
  upstreamHeadAt = 0;
  endAt = 0;

  /** In-flight count of the server that works on the request. */
  serverLease: Lease | null = null;
  /** Place of a concurrency policy. */
  admissionLease: Disposable | null = null;
  /** Starts to watch the client of a request that takes long. */
  watch: Deadline | null = null;
  settled = false;
  /** Its place among the running requests; -1 once it is over. */
  runningIndex = -1;

  readonly #number: number;
  #client: ClientInfo | null = null;

  constructor(
    runtime: ProxyRuntime,
    request: Request,
    info: Deno.ServeHandlerInfo<Deno.NetAddr>,
    entrance: Entrance,
  ) {
    this.runtime = runtime;
    this.request = request;
    this.info = info;
    this.entrance = entrance;
    this.method = request.method;
    this.pool = runtime.defaultPool;
    this.admission = runtime.admission;
    this.#number = ++runtime.count.arrived;
    runtime.running.add(this);
    this.startedAt = runtime.clock.now();
  }

  /** The client's end of the connection; asked of the runtime only when somebody wants to know. */
  get client(): ClientInfo {
    if (this.#client === null) {
      const { remoteAddr } = this.info;
      const tcp = remoteAddr.transport === "tcp";
      this.#client = { ip: tcp ? remoteAddr.hostname : "", port: tcp ? remoteAddr.port : 0 };
    }
    return this.#client;
  }

  get timeouts(): Timeouts {
    return this.pool.timeouts;
  }

  /** Whether content that the client has declared has not been read to its end. */
  get awaitsContent(): boolean {
    const { body, method, fields } = this;
    if (body instanceof ReplayBody) return !body.ended;
    return body === null && mayHaveContent(method) && declaresContent(fields);
  }

  /** What a balancing function of the configuration is handed. */
  get source(): this {
    return this;
  }

  get clientIp(): string {
    return this.client.ip;
  }

  get requestId(): string {
    return this.#number.toString(36);
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

  /** The transport's word that a streamed response is over, which ends the exchange. */
  onBodyEnd(bytes: number, failure: ProxyError | null): void {
    this.bytesSent = bytes;
    this.runtime.settle(this, failure);
  }

  /** Calls everything off because nobody waits for the answer any more. */
  clientGone(): void {
    this.cancellation.cancel(new ClientGoneError());
  }

  /** Calls everything off because the proxy has to stop. */
  abandon(): void {
    this.cancellation.cancel(new StoppingError("The proxy stops and the request had no time left"));
  }

  /** Fails with what the exchange was called off with. */
  throwIfCancelled(): void {
    if (this.cancellation.cancelled) throw this.cancellation.reason as ProxyError;
  }
}
