/** A request of `Deno.serve`, and the way back of its response. */

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

/** How a listener of the runtime is reached. */
export interface DenoListenerInfo extends ListenerInfo {
  /** What the runtime takes for the host of a request that names none. */
  readonly fallbackAuthority: string;
  /** What becomes of fields with underscores in their names. */
  readonly underscores: Underscores;
  /** Where it listens; none on a unix socket. */
  readonly local: Deno.NetAddr | null;
}

/** What all streams of an engine share. */
export interface DenoStreamContext {
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
  readonly handler: StreamHandler;
  /** How long a client may pause while it sends content, or takes it. */
  readonly idleMs: number;
  readonly streams: DenoStreams;
  readonly buffers: ContentBuffers;
  /** Whether the proxy stops: what would have to be waited for is not begun any more. */
  readonly stopping: boolean;
  /** Whether responses end their connections. */
  readonly ending: boolean;
  /** What responses wait for while the server is about to end; `null` when they do not wait. */
  readonly held: Promise<void> | null;
}

/** The runtime writes content of so much apart from its head; and no more than so much with it, even in chunks. */
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
 * The refusal of a CONNECT. The runtime takes the content of one for the next request (Deno 2.9.6), so that nothing may
 * follow where there is any.
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
  /** When it arrived, in the clock's milliseconds; its place among those that run. */
  readonly startedAt: number;
  index = -1;
  /** Whether a WebSocket is open on it. */
  tunnel = false;
  readonly #request: Request;
  readonly #info: Deno.ServeHandlerInfo<Deno.NetAddr>;
  readonly #context: DenoStreamContext;
  readonly #resolve: (response: Response) => void;
  #peer: Deno.NetAddr | null = null;
  #answered = false;
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

  /** The runtime asks clients for none. */
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

  // After the response was passed to the runtime, it reports nothing more.
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
      // Whoever takes the connection over does it without a word to us.
      if (this.upgrade) this.#peer = this.#info.remoteAddr;
      // What is refused is logged as what it was.
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

  // In one pass; asking the runtime for fields one by one costs more.
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
    // The runtime does not tell HTTP/1.0, where a request may go without `Host`, from HTTP/1.1, where that is refused
    // (RFC 9112 section 3.2). This is the health check of HAProxy; what speaks HTTP/1.1 has at least one field.
    const bareCheck = method === "OPTIONS" && headers.list.length === 0 && !this.#edited;
    const hostField = headers.get("host");
    const asked = readTarget(url, hostField, fallbackAuthority, !bareCheck);
    // The runtime shows `OPTIONS *` (RFC 9112 section 3.2.4) as it does `OPTIONS /*`, and a server responds to them differently.
    if (method === "OPTIONS" && asked.target === "/*") {
      throw new RequestError("OPTIONS * cannot be forwarded");
    }
    this.host = asked.host;
    this.target = asked.target;
    this.receivedTarget = asked.received;
  }

  #readContent(): void {
    const { method, headers } = this;
    const declared = headers.get("content-length");
    const coding = headers.get("transfer-encoding");
    const none = declared === null && coding === null;
    if (method === "GET" || method === "HEAD") {
      // The runtime gives no access to it; without it the server would wait for content that never comes.
      if (none || (declared === "0" && coding === null)) return;
      throw new RequestError(`A ${method} request with content cannot be forwarded`);
    }
    // HTTP/1.1 says so when there is content; HTTP/2 (which has no Host field), and requests that a program has made
    // itself, need not.
    if (none && (headers.has("host") || this.#request.body === null)) return;
    // Sent on without its coding, the content would be something else (RFC 9112 section 6.1).
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

  // Connections are still taken as long as the listener waits for uploads that run.
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
   * Whether content is on its way that the runtime would break off when a server is told to finish: that of HTTP/1.1
   * (HTTP/2 has no Host field), and a WebSocket.
   */
  get awaitsContent(): boolean {
    return this.tunnel || (this.body !== null && !this.body.ended && this.headers.has("host"));
  }

  respond(head: ResponseHead, body: Body | null, close = false): void {
    this.#answered = true;
    const { status, headers } = head;
    const list = headers.toList();
    // Where content has not been read the runtime says so by itself, and a second line would say the same (Deno 2.9.6).
    if (this.body === null && (close || (this.#context.ending && this.headers.has("host")))) {
      list.push("connection", "close");
    }
    if (hasNoContent(status)) return this.#finish(status, list, null);
    if (body === null) return this.#finish(status, list, lengthless(this.method, headers));
    const { whole } = body;
    // The runtime may look at it after this turn, when whoever lent it uses it for something else.
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
      this.#hand(makeResponse(status, list, gathered));
      if (gathered instanceof Uint8Array) this.#end(gathered.length, null);
    }, (error) => {
      this.#answered = false;
      this.exchange?.responseUnsent(error);
    });
  }

  // Without TCP_NODELAY, which the runtime does not set, the second of two writes waits 44 ms over TLS. Content in chunks
  // leaves in one write with its head (Deno 2.9.6), in HTTP/1.1, which alone has a Host field.
  #joinHead(list: string[], length: number): void {
    if (this.listener.scheme === "http" || length < APART_BYTES || length > JOINED_BYTES) return;
    if (this.headers.has("host")) list.push("transfer-encoding", "chunked");
  }

  #finish(status: number, list: string[], content: Bytes | ReadableStream<Bytes> | null, bytes = 0): void {
    const response = makeResponse(status, list, content);
    // HTTP/2, which has no Host field, has another way to end a 205.
    const reset = status === 205 && this.method !== "HEAD" && this.headers.has("host");
    this.body?.release();
    this.#hand(reset ? endBehindReset(response) : response);
    this.#end(bytes, null);
  }

  #hand(response: Response): void {
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
    this.#answered = true;
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
    this.#answered = true;
    this.#resolve(response);
    this.#end(0, null);
  }

  // A client that has gone, which is logged as 499, and is there all the same gets 400: its request was not complete.
  abandon(): void {
    this.#answered = true;
    this.exchange = null;
    this.body?.release();
    this.#context.streams.progressed(this, true);
    const error = new RequestError("The request was not complete");
    this.#resolve(makeResponse(400, problemFields(error).toList(), problemBody(400)));
  }

  /** The runtime sends none. */
  interim(): void {}

  /** From now on the exchange is called off when its client goes away. */
  watch(): void {
    if (this.#watched || this.#answered) return;
    this.#watched = true;
    const { signal } = this.#request;
    const gone = (): void => {
      // The signal fires after every response as well; one that was passed to the runtime reports its end by itself.
      if (!this.#answered) this.exchange?.callOff(new ClientGoneError());
    };
    if (signal.aborted) gone();
    else signal.addEventListener("abort", gone, { once: true });
  }

  /** Whether it is worth watching the client. */
  get unanswered(): boolean {
    return !this.#answered && !this.#watched;
  }
}

const NO_HEADERS = new HeaderFields();
/** Content up to this length is worth a wait while the proxy stops. */
const SHORT_BYTES = 64 * 1024;

/** The runtime lets a length through that is there twice (RFC 9112 section 6.3). */
function readLength(declared: string): number {
  if (/^\d+$/.test(declared)) return Number(declared);
  throw new RequestError(`Content-Length must be one number, received ${JSON.stringify(declared)}`);
}

/**
 * A response to HEAD says of the length what GET would say, or nothing (RFC 9110 section 8.6); of one without content the
 * runtime says 0, of a stream nothing.
 */
function lengthless(method: string, headers: HeaderFields): ReadableStream<Bytes> | null {
  if (method !== "HEAD" || headers.has("content-length")) return null;
  return new ReadableStream({ pull: (controller) => controller.close() }, { highWaterMark: 0 });
}
