/** A request of `Deno.serve`, and the way of its response. */

import type { Clock } from "../../core/clock.ts";
import type { DeadlineWheel } from "../../core/cancellation.ts";
import { ClientGoneError, type ProxyError, RequestError, StoppingError } from "../../core/errors.ts";
import { HeaderFields } from "../../http/header_fields.ts";
import {
  cutBehind,
  endBehindReset,
  makeResponse,
  problemBody,
  problemFields,
} from "../../http/make_response.ts";
import { type Body, type Bytes, hasNoContent, type ResponseHead } from "../../http/message.ts";
import { isUntidy, tidyValue } from "../../http/received_fields.ts";
import { readTarget, targetOf } from "../../http/request_target.ts";
import { underscoreError, type Underscores } from "../../http/proxy_fields.ts";
import { plainAddress } from "../../http/trusted_proxies.ts";
import type {
  ClientStream,
  ListenerInfo,
  StreamExchange,
  StreamHandler,
  TunnelOptions,
} from "../../proxy/client_stream.ts";
import type { Tunnel } from "../../transport/transport.ts";
import { type ContentBuffers, DenoContent, PulledStream } from "./deno_content.ts";
import type { DenoStreams } from "./deno_streams.ts";
import { upgradeWebSocket } from "./web_socket_relay.ts";

/** A listener of the runtime. */
export interface DenoListenerInfo extends ListenerInfo {
  /** The host that the runtime assumes for a request without one. */
  readonly fallbackAuthority: string;
  /** What to do with fields that have underscores in their names. */
  readonly underscores: Underscores;
  /** The address it listens at; `null` on a unix socket. */
  readonly local: Deno.NetAddr | null;
}

/** Shared by all streams of a server. */
export interface DenoStreamContext {
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
  readonly handler: StreamHandler;
  /** How long a client may pause while it sends or receives content. */
  readonly idleMs: number;
  readonly streams: DenoStreams;
  readonly buffers: ContentBuffers;
  /** Whether the proxy is stopping: requests that would take long are refused. */
  readonly stopping: boolean;
  /** Whether responses close their connections. */
  readonly ending: boolean;
  /** What responses wait for while the server is about to end; `null` when they do not wait. */
  readonly held: Promise<void> | null;
}

/**
 * The runtime writes content from this size on separately from its head, and at most so much together with it, even
 * in chunks.
 */
const APART_BYTES = 256;
const JOINED_BYTES = 60 * 1024;

/** Responds to a request of the runtime; never rejects. */
export function serveRequest(
  request: Request,
  info: Deno.ServeHandlerInfo<Deno.NetAddr>,
  listener: DenoListenerInfo,
  context: DenoStreamContext,
): Promise<Response> {
  const stream = new DenoStream(request, info, listener, context);
  stream.start();
  const { method, response } = stream;
  return method === "CONNECT" ? response.then((refusal) => refuseTunnel(request, refusal)) : response;
}

/**
 * The refusal of a CONNECT. The runtime would parse the content of a CONNECT as the next request (Deno 2.9.6), so the
 * connection is closed if there is any.
 */
function refuseTunnel({ headers }: Request, refusal: Response): Response {
  return headers.has("content-length") || headers.has("transfer-encoding") ? cutBehind(refusal) : refusal;
}

/** One exchange with a client of the runtime's server. */
class DenoStream implements ClientStream {
  readonly listener: DenoListenerInfo;
  readonly method: string;
  readonly protocol = "HTTP/1.1";
  readonly tlsVersion: null = null;
  readonly targetBytes: null = null;
  readonly expectsContinue = false;
  readonly tunnelsRaw = false;
  exchange: StreamExchange | null = null;
  host = "";
  target = "";
  receivedTarget = "";
  headers: HeaderFields = NO_HEADERS;
  body: DenoContent | null = null;
  readonly response: Promise<Response>;
  /** When the request arrived, in the clock's milliseconds; and its index among the running ones. */
  readonly startedAt: number;
  index = -1;
  /** Whether it has an open WebSocket. */
  tunnel = false;
  readonly #request: Request;
  readonly #info: Deno.ServeHandlerInfo<Deno.NetAddr>;
  readonly #context: DenoStreamContext;
  readonly #resolve: (response: Response) => void;
  #peer: Deno.NetAddr | null = null;
  #responded = false;
  #watched = false;
  #connection: string | null = null;
  #dropped: string | null = null;
  #edited = false;

  constructor(
    request: Request,
    info: Deno.ServeHandlerInfo<Deno.NetAddr>,
    listener: DenoListenerInfo,
    context: DenoStreamContext,
  ) {
    this.#request = request;
    this.#info = info;
    this.#context = context;
    this.listener = listener;
    this.method = request.method;
    this.startedAt = context.clock.now();
    const { promise, resolve } = Promise.withResolvers<Response>();
    this.response = promise;
    this.#resolve = resolve;
  }

  /** The runtime does not ask clients for certificates. */
  get certificate(): null {
    return null;
  }

  get peerIp(): string {
    const peer = this.#remote;
    return "hostname" in peer ? plainAddress(peer.hostname) : "";
  }

  get peerPort(): number {
    const peer = this.#remote;
    return "hostname" in peer ? peer.port : 0;
  }

  get localIp(): string {
    return this.listener.local?.hostname ?? "";
  }

  get localPort(): number {
    return this.listener.local?.port ?? 0;
  }

  // The runtime no longer reports it after the response was passed on.
  get #remote(): Deno.NetAddr {
    return this.#peer ??= this.#info.remoteAddr;
  }

  get native(): Request | null {
    return this.upgrade ? this.#request : null;
  }

  get upgrade(): boolean {
    return this.headers.has("upgrade");
  }

  /** Reads the request, and passes it on. */
  start(): void {
    const { handler } = this.#context;
    this.#context.streams.add(this);
    try {
      this.#readFields();
      // `Deno.upgradeWebSocket()` may take over the connection without notice.
      if (this.upgrade) this.#peer = this.#info.remoteAddr;
      // A refused request is logged with its target.
      this.target = targetOf(this.#request);
      if (this.method === "CONNECT") this.host = this.headers.get("host") ?? "";
      else this.#readTarget();
      this.#readContent();
      this.#refuseWhenStopping();
    } catch (error) {
      return handler.refuse(this, error as ProxyError);
    }
    handler.handle(this);
  }

  // In one pass; reading fields one by one from the runtime costs more.
  #readFields(): void {
    const list: string[] = [];
    const { underscores } = this.listener;
    this.#request.headers.forEach((given, name) => {
      if (underscores !== "pass" && name.includes("_")) {
        this.#dropped ??= name;
        this.#edited = true;
        return;
      }
      list.push(name, isUntidy(given) ? tidyValue(name, given) : given);
    });
    this.headers = HeaderFields.adopt(list);
    if (this.#dropped !== null && underscores === "refuse") throw underscoreError(this.#dropped);
  }

  #readTarget(): void {
    const { method, headers, listener: { fallbackAuthority } } = this;
    const { url } = this.#request;
    // The runtime does not distinguish HTTP/1.0, where a request may lack `Host`, from HTTP/1.1, where it must be
    // refused (RFC 9112 section 3.2). This is the health check of HAProxy; a client of HTTP/1.1 sends at least one
    // field.
    const bareCheck = method === "OPTIONS" && headers.list.length === 0 && !this.#edited;
    const hostField = headers.get("host");
    const parsed = readTarget(url, hostField, fallbackAuthority, !bareCheck);
    // The runtime reports `OPTIONS *` (RFC 9112 section 3.2.4) like `OPTIONS /*`, and a server responds to them
    // differently.
    if (method === "OPTIONS" && parsed.target === "/*") {
      throw new RequestError("OPTIONS * cannot be forwarded");
    }
    this.host = parsed.host;
    this.target = parsed.target;
    this.receivedTarget = parsed.received;
  }

  #readContent(): void {
    const { method, headers } = this;
    const declared = headers.get("content-length");
    const coding = headers.get("transfer-encoding");
    const none = declared === null && coding === null;
    if (method === "GET" || method === "HEAD") {
      // The runtime gives no access to the content; without it the server would wait for content forever.
      if (none || (declared === "0" && coding === null)) return;
      throw new RequestError(`A ${method} request with content cannot be forwarded`);
    }
    // HTTP/1.1 always announces content; HTTP/2 (which has no Host field), and requests that a program has made, need
    // not.
    if (none && (headers.has("host") || this.#request.body === null)) return;
    // Forwarded without its coding, the content would be something else (RFC 9112 section 6.1).
    if (coding !== null && coding.toLowerCase() !== "chunked") {
      throw new RequestError(
        `The transfer coding must be "chunked", received ${JSON.stringify(coding)}`,
        501,
      );
    }
    const length = declared === null ? null : readLength(declared);
    const { wheel, idleMs, buffers } = this.#context;
    this.body = new DenoContent(this.#request, {
      length,
      wheel,
      idleMs,
      buffers,
      onEnd: () => this.#context.streams.progressed(this, false),
    });
  }

  // Connections are still accepted while the listener waits for running uploads.
  #refuseWhenStopping(): void {
    if (!this.#context.stopping) return;
    const { body } = this;
    if (this.upgrade || (body !== null && (body.length === null || body.length > SHORT_BYTES))) {
      throw new StoppingError("The proxy stops");
    }
  }

  get bytesReceived(): number {
    return this.body === null ? 0 : this.body.received;
  }

  outgoingHeaders(): HeaderFields {
    return this.headers.clone();
  }

  /**
   * Whether content is in progress that the shutdown of a server would abort: that of HTTP/1.1 (HTTP/2 has no Host
   * field), and a WebSocket.
   */
  get awaitsContent(): boolean {
    return this.tunnel || (this.body !== null && !this.body.ended && this.headers.has("host"));
  }

  respond(head: ResponseHead, body: Body | null, close = false): void {
    this.#responded = true;
    const { status, headers } = head;
    const list = headers.toList();
    // With unread content the runtime adds the field itself, and a second line would repeat it (Deno 2.9.6).
    if (this.body === null && (close || (this.#context.ending && this.headers.has("host")))) {
      list.push("connection", "close");
    }
    if (hasNoContent(status)) return this.#finish(status, list, null);
    if (body === null) return this.#finish(status, list, lengthless(this.method, headers));
    const { whole } = body;
    // The runtime may read the content after this turn, when its lender has reused the buffer.
    if (whole !== null) {
      if (this.method !== "HEAD") this.#joinHead(list, whole.length);
      return this.#finish(status, list, whole.slice(), this.method === "HEAD" ? 0 : whole.length);
    }
    if (this.method === "HEAD") {
      body.cancel();
      return this.#finish(status, list, lengthless(this.method, headers));
    }
    this.#peer ??= this.#info.remoteAddr;
    const { wheel, idleMs } = this.#context;
    const pulled = new PulledStream(body, {
      wheel,
      idleMs,
      beforeEnd: (cut) => this.body?.releaseBeforeEnd(cut) ?? null,
      ended: (bytes, failure) => this.#end(bytes, failure),
    });
    pulled.gather(body.length).then((gathered) => {
      if (gathered instanceof Uint8Array) {
        this.body?.release();
        this.#joinHead(list, gathered.length);
      }
      this.#passResponse(makeResponse(status, list, gathered));
      if (gathered instanceof Uint8Array) this.#end(gathered.length, null);
    }, (error) => {
      this.#responded = false;
      this.exchange?.responseUnsent(error);
    });
  }

  // The runtime does not set TCP_NODELAY, so the second of two writes is delayed by 44 ms over TLS. Chunked content
  // is sent in one write with its head (Deno 2.9.6), in HTTP/1.1, which alone has a Host field.
  #joinHead(list: string[], length: number): void {
    if (this.listener.scheme === "http" || length < APART_BYTES || length > JOINED_BYTES) return;
    if (this.headers.has("host")) list.push("transfer-encoding", "chunked");
  }

  #finish(status: number, list: string[], content: Bytes | ReadableStream<Bytes> | null, bytes = 0): void {
    const response = makeResponse(status, list, content);
    // HTTP/2, which has no Host field, can end a 205 in another way.
    const reset = status === 205 && this.method !== "HEAD" && this.headers.has("host");
    this.body?.release();
    this.#passResponse(reset ? endBehindReset(response) : response);
    this.#end(bytes, null);
  }

  #passResponse(response: Response): void {
    const { ending, held } = this.#context;
    if (ending && held !== null) held.then(() => this.#resolve(response));
    else this.#resolve(response);
  }

  #end(bytes: number, failure: ProxyError | null): void {
    const { exchange } = this;
    this.exchange = null;
    this.body?.release();
    this.#context.streams.progressed(this, true);
    exchange?.responseEnded(bytes, failure);
  }

  switchProtocols(head: ResponseHead, tunnel: Tunnel, options: TunnelOptions): void {
    this.#responded = true;
    this.tunnel = true;
    const response = upgradeWebSocket(this.#request, head, {
      tunnel,
      ...options,
      sent: (bytes) => {
        if (this.exchange !== null) this.exchange.bytesSent += bytes;
      },
      ended: (failure) => {
        this.tunnel = false;
        if (this.exchange !== null) this.#end(this.exchange.bytesSent, failure);
      },
    });
    this.#resolve(response);
  }

  passUpgrade(response: Response): void {
    this.#responded = true;
    this.#resolve(response);
    this.#end(0, null);
  }

  // A client that has gone, which is logged as 499, but is still connected gets 400: its request was incomplete.
  abandon(): void {
    this.#responded = true;
    this.exchange = null;
    this.body?.release();
    this.#context.streams.progressed(this, true);
    const error = new RequestError("The request was not complete");
    this.#resolve(makeResponse(400, problemFields(error).toList(), problemBody(400)));
  }

  /** The runtime sends no interim responses. */
  interim(): void {}

  /** From now on the exchange is cancelled when its client closes. */
  watch(): void {
    if (this.#watched || this.#responded) return;
    this.#watched = true;
    const { signal } = this.#request;
    const gone = (): void => {
      // The signal also fires after every response; a response that was passed to the runtime reports its end itself.
      if (!this.#responded) this.exchange?.callOff(new ClientGoneError());
    };
    if (signal.aborted) gone();
    else signal.addEventListener("abort", gone, { once: true });
  }

  /** Whether the client should be watched. */
  get unanswered(): boolean {
    return !this.#responded && !this.#watched;
  }
}

const NO_HEADERS = new HeaderFields();
/** Content up to this length is awaited while the proxy stops. */
const SHORT_BYTES = 64 * 1024;

/** The runtime accepts a repeated length (RFC 9112 section 6.3). */
function readLength(declared: string): number {
  if (/^\d+$/.test(declared)) return Number(declared);
  throw new RequestError(`Content-Length must be one number, received ${JSON.stringify(declared)}`);
}

/**
 * A response to HEAD announces the length that GET would have, or none (RFC 9110 section 8.6). The runtime announces
 * 0 for a response without content, and none for a stream.
 */
function lengthless(method: string, headers: HeaderFields): ReadableStream<Bytes> | null {
  if (method !== "HEAD" || headers.has("content-length")) return null;
  return new ReadableStream({ pull: (controller) => controller.close() }, { highWaterMark: 0 });
}
