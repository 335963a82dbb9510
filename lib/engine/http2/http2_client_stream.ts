/** One HTTP/2 request of a client, and the way of its response. */

import { ClientGoneError, ProxyError, RequestError } from "../../core/errors.ts";
import type { ClientCertificate } from "../../http/client_certificate.ts";
import { TOKEN_BYTES } from "../../http/field_lines.ts";
import { HeaderFields } from "../../http/header_fields.ts";
import { type Body, type ResponseHead, sendsContent } from "../../http/message.ts";
import { screenFields } from "../../http/proxy_fields.ts";
import type { ProxyAddresses } from "../../http1/proxy_protocol.ts";
import { badRequest, decodeTarget, isAuthority } from "../../http1/request_head.ts";
import { KIND } from "../../http2/field_kind.ts";
import { CODE } from "../../http2/frame_type.ts";
import type { ReceivedContent } from "../../http2/received_content.ts";
import type { HeadBounds, ReceivedHead } from "../../http2/received_head.ts";
import { SentContent, type SentContentOwner } from "../../http2/sent_content.ts";
import type { Http2Stream, StreamOwner, StreamReset } from "../../http2/stream.ts";
import { StreamSocket } from "../../http2/stream_socket.ts";
import type { ClientStream, ListenerInfo, StreamExchange, TunnelOptions } from "../../proxy/client_stream.ts";
import type { TargetBytes, Tunnel } from "../../transport/transport.ts";
import { handshakeKey } from "../../transport/websocket/handshake.ts";
import type { Http2Context, RequestFieldsPair } from "../engine.ts";
import { tooSlow } from "../http1/client_content.ts";
import { TunnelRelay } from "../http1/tunnel_relay.ts";

/** How long a client's content is awaited before its rate is checked. */
const RATE_AFTER_MS = 10_000;
/**
 * How long a stream stays open after an early response. Clients such as curl 7.88 and Node.js lose a response if they
 * read it together with its RST_STREAM.
 */
const EARLY_MS = 500;

/** The connection of a stream. */
export interface StreamHost {
  readonly context: Http2Context;
  readonly peer: ProxyAddresses;
  /** Version of TLS of the connection; `null` when it is unknown. */
  readonly tlsVersion: string | null;
  readonly certificate: ClientCertificate | null;
  /** Why all requests of the connection are refused; `null` when they are not. */
  readonly refusal: ProxyError | null;
  /** Sets a deadline, in milliseconds of the wheel. */
  arm(dueAt: number): void;
  /** The request has ended. */
  over(stream: Http2ClientStream): void;
}

/** A stream of the codec, for the steps of a request. */
export class Http2ClientStream implements ClientStream, StreamOwner, SentContentOwner {
  /** Index among the streams of its connection. */
  index = -1;
  exchange: StreamExchange | null = null;
  readonly protocol = "HTTP/2";
  readonly native: null = null;
  readonly tunnelsRaw = true;
  /** The method in HTTP/1.1; GET for an extended CONNECT. */
  readonly method: string;
  /** Whether it requests a WebSocket (RFC 8441). */
  readonly upgrade: boolean;
  readonly #host: StreamHost;
  readonly #stream: Http2Stream;
  readonly #head: ReceivedHead;
  readonly #fields: RequestFieldsPair;
  #expectsContinue: boolean;
  #content: SentContent | null = null;
  #tunnel: TunnelRelay | null = null;
  #socket: StreamSocket | null = null;
  #responding = false;
  #malformed = false;
  #over = false;
  /** When the stream is reset if its response is complete but its client still sends. */
  #resetAt = Infinity;

  constructor(host: StreamHost, stream: Http2Stream) {
    this.#host = host;
    this.#stream = stream;
    this.#head = stream.head!;
    this.#fields = host.context.takeFields();
    this.#expectsContinue = this.#head.expectsContinue;
    this.upgrade = this.#head.has(KIND.PROTOCOL);
    this.method = this.upgrade ? "GET" : this.#head.text(KIND.METHOD);
    stream.owner = this;
  }

  get listener(): ListenerInfo {
    return this.#host.context.listener.listener;
  }

  get peerIp(): string {
    return this.#host.peer.ip;
  }

  get peerPort(): number {
    return this.#host.peer.port;
  }

  get certificate(): ClientCertificate | null {
    return this.#host.certificate;
  }

  get localIp(): string {
    return this.#host.peer.localIp;
  }

  get localPort(): number {
    return this.#host.peer.localPort;
  }

  get tlsVersion(): string | null {
    return this.#host.tlsVersion;
  }

  get target(): string {
    const { lines, targetStart, targetEnd } = this.#head;
    return targetStart === targetEnd ? this.host : decodeTarget(lines.bytes, targetStart, targetEnd);
  }

  get receivedTarget(): string {
    return this.target;
  }

  get targetBytes(): TargetBytes | null {
    return this.#head.has(KIND.PATH) ? this.#head : null;
  }

  get host(): string {
    return this.headers.get("host") ?? "";
  }

  get headers(): HeaderFields {
    return this.#fields.headers;
  }

  get expectsContinue(): boolean {
    return this.#expectsContinue;
  }

  get body(): ReceivedContent | null {
    // Bytes after a request for a WebSocket are not its content.
    return this.upgrade ? null : this.#stream.content;
  }

  get bytesReceived(): number {
    return this.body === null ? 0 : this.body.received;
  }

  outgoingHeaders(): HeaderFields {
    const { headers, outgoing } = this.#fields;
    outgoing.copyFrom(headers);
    return outgoing;
  }

  /** Reads the request, and passes it on. */
  start(): void {
    const { context: { listener: { handler, limits, underscores } }, refusal } = this.#host;
    const { headers } = this;
    headers.begin(this.#head.lines);
    try {
      if (refusal !== null) throw refusal;
      this.#check(limits);
      if (this.upgrade) this.#beginUpgrade();
      screenFields(headers, underscores);
    } catch (error) {
      return handler.refuse(this, error as ProxyError);
    }
    handler.handle(this);
  }

  #check(bounds: HeadBounds): void {
    try {
      checkRequest(this.#head, bounds, true);
    } catch (error) {
      this.#malformed = (error as RequestError).status === 400;
      throw error;
    }
  }

  // For the steps of a request it looks like an upgrade in HTTP/1.1; the key is made here.
  #beginUpgrade(): void {
    if (this.#head.text(KIND.PROTOCOL).toLowerCase() !== "websocket") {
      throw new RequestError("The only protocol that can be asked for is websocket", 501);
    }
    const { headers } = this;
    headers.delete("sec-websocket-key");
    headers.list.push("connection", "Upgrade", "upgrade", "websocket", "sec-websocket-key", handshakeKey());
  }

  respond(head: ResponseHead, body: Body | null): void {
    const stream = this.#stream;
    if (stream.closed) {
      this.#end(0, new ClientGoneError());
      return;
    }
    if (this.#malformed) return this.#refuse(head, body);
    const { status, headers } = head;
    const empty = body === null || !sendsContent(this.method, status);
    stream.respond(status, headers, lengthOf(this.method, head, body), empty);
    this.#responding = true;
    if (empty) return this.onSent(0);
    this.#content = new SentContent(stream, this);
    this.#content.send(body);
  }

  // A malformed request is an error of its stream; a response may explain it (RFC 9113 section 8.1.1).
  #refuse(head: ResponseHead, body: Body | null): void {
    const stream = this.#stream;
    const whole = sendsContent(this.method, head.status) ? body?.whole ?? null : null;
    stream.respond(head.status, head.headers, lengthOf(this.method, head, body), false);
    const bytes = whole === null ? 0 : stream.write(whole, 0, whole.length, false);
    stream.reset(CODE.PROTOCOL_ERROR);
    this.#end(bytes, null);
  }

  interim(status: number, headers: HeaderFields): void {
    if (!this.#responding && !this.#stream.closed) this.#stream.respond(status, headers, null, false);
  }

  abandon(): void {
    this.exchange = null;
    this.#stream.reset(CODE.CANCEL);
    this.#finish();
  }

  switchProtocols(head: ResponseHead, tunnel: Tunnel, options: TunnelOptions): void {
    const { context: { listener: { limits: { writeMs } } } } = this.#host;
    const stream = this.#stream;
    const fields = new HeaderFields(
      [...head.headers].filter(([name]) => name !== "upgrade" && name !== "sec-websocket-accept"),
    );
    stream.respond(200, fields, null, false);
    this.#responding = true;
    const client = this.#socket = new StreamSocket(stream);
    this.#tunnel = new TunnelRelay({
      ...options,
      client,
      tunnel,
      first: Promise.resolve(new Uint8Array(0)),
      framed: true,
      extended: head.headers.has("sec-websocket-extensions"),
      writeMs,
      sent: (bytes) => {
        if (this.exchange !== null) this.exchange.bytesSent += bytes;
      },
      ended: (failure) => {
        const bytes = this.exchange?.bytesSent ?? 0;
        // A client that does not end its side would keep the place of a request, and send without end.
        stream.reset(failure === null ? CODE.NO_ERROR : CODE.CONNECT_ERROR);
        this.#end(bytes, failure);
      },
    });
  }

  passUpgrade(): never {
    throw new TypeError('Deno.upgradeWebSocket() needs a listener with the engine "deno"');
  }

  /** @internal */
  onHead(): void {}

  /** @internal */
  onRoom(): void {
    this.#content?.onRoom();
    this.#socket?.onRoom();
  }

  /** @internal */
  onStalled(): void {
    const { listener: { wheel, limits: { writeMs } } } = this.#host.context;
    this.#host.arm(wheel.lately + writeMs);
  }

  /** @internal A read waits for content; a client that expects 100 (Continue) gets it (RFC 9110 section 10.1.1). */
  onContentAwaited(): void {
    const { listener: { wheel, limits: { contentMs, minContentRate } } } = this.#host.context;
    if (this.#expectsContinue) {
      this.#expectsContinue = false;
      this.interim(100, NO_FIELDS);
    }
    const { waitedMs, received } = this.#stream.content!;
    if (this.#tunnel !== null) return;
    if (waitedMs > RATE_AFTER_MS && received * 1000 < minContentRate * waitedMs) {
      return this.#stream.content!.fail(tooSlow());
    }
    this.#host.arm(wheel.lately + contentMs);
  }

  /** Checks whether the client exceeds a deadline; returns when to check again. */
  checkDeadlines(now: number): number {
    const { listener: { limits: { contentMs, writeMs } } } = this.#host.context;
    const stream = this.#stream;
    if (this.#resetAt !== Infinity) {
      if (now < this.#resetAt) return this.#resetAt;
      // Content that the client still sends is not read (RFC 9113 section 8.1).
      stream.reset(CODE.NO_ERROR);
      this.#finish();
      return Infinity;
    }
    const { content, stalledSince } = stream;
    if (now >= stalledSince + writeMs) {
      this.#clientGone(new ClientGoneError("The client took the response too slowly"));
      stream.reset(CODE.CANCEL);
      return Infinity;
    }
    const awaitedSince = content === null || this.#tunnel !== null ? Infinity : content.awaitedSince;
    if (now < awaitedSince + contentMs) return Math.min(stalledSince + writeMs, awaitedSince + contentMs);
    const error = tooSlow();
    content!.fail(error);
    if (!this.#responding) this.exchange?.callOff(error);
    return stalledSince + writeMs;
  }

  /** @internal */
  onReset({ by, message }: StreamReset): void {
    this.#clientGone(
      new ClientGoneError(by === "fault" ? `The client broke the protocol: ${message}` : message),
    );
  }

  #clientGone(error: ClientGoneError): void {
    const { exchange } = this;
    this.#stream.content?.fail(error);
    this.#content?.stop();
    this.#socket?.onRoom();
    if (exchange === null) return this.#finish();
    if (this.#tunnel !== null) {
      this.#tunnel[Symbol.dispose]();
      return this.#end(exchange.bytesSent, error);
    }
    // The steps of the request release the stream.
    if (!this.#responding) return exchange.callOff(error);
    this.#end(this.#content?.bytes ?? 0, error);
  }

  /** @internal */
  onSent(bytes: number): void {
    if (this.#stream.closed) return this.#end(bytes, null);
    const { exchange } = this;
    this.exchange = null;
    this.#resetAt = this.#host.context.listener.wheel.lately + EARLY_MS;
    this.#host.arm(this.#resetAt);
    exchange?.responseEnded(bytes, null);
    this.#stream.content?.cancel();
  }

  /** @internal Both sides of the stream have ended. */
  onStreamEnd(): void {
    if (this.#resetAt !== Infinity) this.#finish();
  }

  /** @internal The client must see that the response is incomplete. */
  onBroken(bytes: number, error: unknown): void {
    this.#stream.reset(CODE.INTERNAL_ERROR);
    this.#end(bytes, error instanceof ProxyError ? error : new ClientGoneError(String(error)));
  }

  #end(bytes: number, failure: ProxyError | null): void {
    const { exchange } = this;
    this.exchange = null;
    exchange?.responseEnded(bytes, failure);
    this.#finish();
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#stream.release();
    this.#host.context.giveFields(this.#fields);
    this.#host.over(this);
  }
}

const NO_FIELDS = new HeaderFields();

/**
 * Value of `content-length`; `null` for none. For HEAD and 304 it is the length that a GET would have (RFC 9110
 * section 8.6).
 */
function lengthOf(method: string, { status, headers }: ResponseHead, body: Body | null): number | null {
  if (method === "HEAD" || status === 304) {
    const declared = headers.get("content-length");
    const first = declared === null ? "" : declared.split(",")[0]!.trim();
    return /^[0-9]+$/.test(first) ? Number(first) : null;
  }
  if (status === 204) return null;
  // A head that ends the response needs no length, and gRPC clients read all its fields as trailers.
  if (body === null) return headers.get("content-length") === null ? null : 0;
  if (status === 205) return 0;
  const { length, whole, trailers } = body;
  return length ?? (whole === null || trailers.length > 0 ? null : whole.length);
}

// Which heads are valid requests (RFC 9113 section 8.3.1).

const MAX_METHOD_BYTES = 32;
const MAX_TARGET_BYTES = 16_384;
const HOST = "host";

/**
 * Checks a head as strictly as the HTTP/1.1 parser does.
 *
 * @param extended whether it may be an extended CONNECT (RFC 8441)
 * @throws {RequestError} 400 for malformed heads, 414 and 431 for those that are too long
 */
function checkRequest(head: ReceivedHead, bounds: HeadBounds, extended: boolean): void {
  if (head.excess === "bytes") {
    throw new RequestError(`The request head is longer than ${bounds.maxHeadBytes} bytes`, 431);
  }
  if (head.excess === "fields") {
    throw new RequestError(`The request has more than ${bounds.maxFields} fields`, 431);
  }
  if (head.malformed !== null) throw badRequest(head.malformed);
  if (head.has(KIND.STATUS)) throw badRequest("a :status");
  checkMethod(head);
  const connects = head.text(KIND.METHOD) === "CONNECT";
  if (head.has(KIND.PROTOCOL) && !(extended && connects)) {
    throw badRequest("a :protocol that nobody asked for");
  }
  if (connects && !head.has(KIND.PROTOCOL)) return checkConnect(head);
  const scheme = head.text(KIND.SCHEME);
  if (scheme !== "https" && scheme !== "http") {
    throw badRequest("no :scheme, or another one than http and https");
  }
  checkPath(head);
  checkHost(head);
  const expected = head.expectsContinue ? head.lines.joined("expect") : null;
  if (expected !== null && expected.toLowerCase() !== "100-continue") {
    throw badRequest("an Expect field other than 100-continue", 417);
  }
}

function checkMethod(head: ReceivedHead): void {
  const from = head.startOf(KIND.METHOD);
  const to = head.endOf(KIND.METHOD);
  if (from === to) throw badRequest("no :method");
  if (to - from > MAX_METHOD_BYTES) throw badRequest("a method that is too long", 501);
  const { bytes } = head.lines;
  for (let i = from; i < to; i++) {
    if (TOKEN_BYTES[bytes[i]!] !== 1) throw badRequest("a malformed method");
  }
}

// A CONNECT is not forwarded, only logged.
function checkConnect(head: ReceivedHead): void {
  if (head.has(KIND.SCHEME) || head.has(KIND.PATH)) throw badRequest("a CONNECT with a :scheme or a :path");
  checkHost(head);
}

function checkPath(head: ReceivedHead): void {
  const { lines: { bytes }, targetStart, targetEnd } = head;
  if (targetStart === targetEnd) throw badRequest("no :path");
  if (targetEnd - targetStart > MAX_TARGET_BYTES) {
    throw new RequestError(`The request target is longer than ${MAX_TARGET_BYTES} bytes`, 414);
  }
  for (let i = targetStart; i < targetEnd; i++) {
    const byte = bytes[i]!;
    if (byte <= 0x20 || byte === 0x7f) throw badRequest("a control character in the request target");
    if (byte === 0x23) throw badRequest("a fragment in the request target");
  }
  if (bytes[targetStart] === 0x2f) return;
  const isAsterisk = bytes[targetStart] === 0x2a && targetEnd === targetStart + 1;
  if (!isAsterisk) throw badRequest("a :path that does not begin with a slash");
  if (head.text(KIND.METHOD) !== "OPTIONS") throw badRequest('the target "*", which is for OPTIONS only');
}

function checkHost({ lines }: ReceivedHead): void {
  for (let line = 0; line < lines.count; line++) {
    if (lines.name(line) !== HOST) continue;
    if (isAuthority(lines.bytes, lines.valueStart(line), lines.valueEnd(line))) return;
    const found = JSON.stringify(lines.value(line).slice(0, 100));
    throw badRequest(`a malformed :authority or Host field, ${found}`);
  }
  throw badRequest("no :authority and no Host field");
}
