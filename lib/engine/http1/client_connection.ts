/** One connection of a client, with one request after another. */

import type { ClientCertificate } from "../../http/client_certificate.ts";
import type { ClientLimits } from "../../config/listen_options.ts";
import type { Deadline } from "../../core/cancellation.ts";
import { ClientGoneError, type ProxyError, RequestError } from "../../core/errors.ts";
import { HeaderFields } from "../../http/header_fields.ts";
import type { Body, Bytes, ResponseHead } from "../../http/message.ts";
import { screenFields } from "../../http/proxy_fields.ts";
import { requestBodyReader } from "../../http1/body_reader.ts";
import { SMALL_BUFFER } from "../../http1/head_writer.ts";
import { type ProxyAddresses, type ProxyHeader, readProxyHeader } from "../../http1/proxy_protocol.ts";
import type { RequestHeadParser } from "../../http1/request_head.ts";
import { PREFACE } from "../../http2/frame_reader.ts";
import type { ClientStream, ListenerInfo, StreamExchange, TunnelOptions } from "../../proxy/client_stream.ts";
import type { TargetBytes, Tunnel } from "../../transport/transport.ts";
import { type ConnectionContext, LAST_REQUEST_MS, type ListedConnection, type Socket } from "../engine.ts";
import { ClientContent, type ContentOwner, tooSlow } from "./client_content.ts";
import { TunnelRelay } from "./tunnel_relay.ts";
import { ResponseWriter, type ResponseWriterOwner } from "./response_writer.ts";

/** Holds most heads; an idle connection has no larger buffer. */
const IDLE_BUFFER = 2048;
/** For a client that has sent short content: the next content of that length is received in one read with its head. */
const UPLOAD_BUFFER = 32 * 1024;
/** Content up to this length is short. */
const SHORT_CONTENT = 14 * 1024;
/** How much unread content is discarded to keep the connection; with more it is closed. */
const MAX_DISCARDED = 64 * 1024;
/** How long a client's content is awaited before its rate is checked. */
const RATE_AFTER_MS = 10_000;
/** How long a connection lingers so that its client can read the last response before it sees the end. */
const LINGER_MS = 2000;
/** How long after the half-close of a client to probe whether it is still there. */
const PROBE_AFTER_MS = 100;

/** The listener of an HTTP/1.1 connection. */
export interface Http1Context extends ConnectionContext {
  /** Whether a client may speak HTTP/2 by prior knowledge (RFC 9113 section 3.3). */
  readonly sniffsHttp2: boolean;
  /** Lends parser and fields of a request. */
  takeHead(): RequestHead;
  /** Takes them back. */
  giveHead(head: RequestHead): void;
  /** The client speaks HTTP/2: another connection object takes its socket and the received bytes. */
  switchToHttp2(connection: ClientConnection, socket: Socket, first: Bytes): void;
}

/** Parser and fields of a request; reused for one request after another. */
export interface RequestHead {
  readonly parser: RequestHeadParser;
  readonly headers: HeaderFields;
  /** The same fields, as they are sent to a server. */
  readonly outgoing: HeaderFields;
  /** The limits of the parser. */
  readonly limits: ClientLimits;
}

/** A socket, the request on it, and a read that is pending whenever no other read is needed. */
export class ClientConnection implements ListedConnection, ClientStream, ContentOwner, ResponseWriterOwner {
  /** @internal Neighbours in the list of idle connections. */
  previous: ListedConnection | null = null;
  next: ListedConnection | null = null;
  /** @internal Index among the connections of its listener. */
  index = -1;
  /** @internal */
  keptUntil = 0;
  /** @internal The client it counts for, if connections of a client are limited; otherwise `""`. */
  client = "";
  body: ClientContent | null = null;
  readonly native: null = null;
  readonly tunnelsRaw = true;
  exchange: StreamExchange | null = null;
  readonly #context: Http1Context;
  readonly #socket: Socket;
  #peer: ProxyAddresses;
  readonly #deadline: Deadline;
  readonly #response: ResponseWriter;
  #buffer: Bytes = new Uint8Array(IDLE_BUFFER);
  #filled = 0;
  /** Where a pending read stores its bytes; -1 without a pending read. */
  #readingAt = -1;
  #head: RequestHead | null = null;
  #state: "proxy" | "idle" | "head" | "busy" | "discard" | "linger" | "tunnel" | "closed" = "idle";
  #tunnel: TunnelRelay | null = null;
  #onInput: ((bytes: Bytes | null) => void) | null = null;
  #responding = false;
  #requests = 0;
  #close = false;
  /** Why the next request is refused; `null` when it is not. */
  #refusal: ProxyError | null = null;
  #inputEnded = false;
  #probes = 0;
  /** Deadlines for receiving from and sending to the client. */
  #dueAt = Infinity;
  #writeDueAt = Infinity;
  #armedFor = Infinity;
  /** How long its content was awaited, and how many bytes were received. */
  #contentWaitMs = 0;
  #contentBytes = 0;
  /** Whether a read of content is pending. */
  #contentAwaited = false;

  /**
   * @param peer both ends of the connection; `""` and 0 on a unix socket
   * @param proxied whether a header of the PROXY protocol is sent first and names the client
   */
  constructor(socket: Socket, peer: ProxyAddresses, context: Http1Context, proxied = false) {
    this.#socket = socket;
    this.#peer = peer;
    this.#context = context;
    this.#deadline = context.wheel.deadline(() => this.#expired());
    this.#response = new ResponseWriter(socket, context.shelf, this);
    if (proxied) this.#awaitProxyHeader();
    else this.#becomeIdle();
    this.#read(0);
  }

  get listener(): ListenerInfo {
    return this.#context.listener;
  }

  get peerIp(): string {
    return this.#peer.ip;
  }

  get peerPort(): number {
    return this.#peer.port;
  }

  get certificate(): ClientCertificate | null {
    return this.#socket.certificate ?? null;
  }

  get localIp(): string {
    return this.#peer.localIp;
  }

  get localPort(): number {
    return this.#peer.localPort;
  }

  get tlsVersion(): string | null {
    return this.#socket.tlsVersion ?? null;
  }

  get protocol(): string {
    return this.#head!.parser.minor === 1 ? "HTTP/1.1" : "HTTP/1.0";
  }

  get method(): string {
    return this.#head!.parser.method;
  }

  get target(): string {
    return this.#head!.parser.target;
  }

  get receivedTarget(): string {
    return this.#head!.parser.target;
  }

  get upgrade(): boolean {
    return this.#head!.parser.upgrade;
  }

  get expectsContinue(): boolean {
    return this.#head!.parser.expectsContinue;
  }

  get bytesReceived(): number {
    return this.body === null ? 0 : this.body.received;
  }

  outgoingHeaders(): HeaderFields {
    const { headers, outgoing } = this.#head!;
    outgoing.copyFrom(headers);
    return outgoing;
  }

  get targetBytes(): TargetBytes | null {
    const { parser } = this.#head!;
    return parser.emptyPath ? null : parser;
  }

  get host(): string {
    return this.#head!.parser.host;
  }

  get headers(): HeaderFields {
    return this.#head!.headers;
  }

  #read(at: number, end: number = this.#buffer.length): void {
    this.#readingAt = at;
    const whole = this.#buffer;
    const buffer = at === 0 && end === whole.length ? whole : whole.subarray(at, end);
    const socket = this.#socket;
    if (socket.readThen !== undefined) socket.readThen(buffer, this.#onRead, this.#onReadFailed);
    else socket.read(buffer).then(this.#onRead, this.#onReadFailed);
  }

  readonly #onRead = (count: number | null): void => {
    const at = this.#readingAt;
    this.#readingAt = -1;
    if (this.#state === "closed") return;
    if (this.#state === "tunnel") return this.#passInput(count === null ? null : at, count ?? 0);
    if (count === null) return this.#onInputEnd();
    if (this.#state === "linger") return this.#read(0);
    this.#filled = at + count;
    // Bytes received while a request is busy belong to the next one, which waits.
    if (this.#state === "busy") {
      this.#requestEnd = at;
      return;
    }
    if (this.#state === "proxy") return this.#readProxyHeader();
    if (this.#context.sniffsHttp2 && this.#requests === 0 && this.#refusal === null && this.#isHttp2()) {
      return;
    }
    // The first request may have begun before this read, with bytes that could have begun HTTP/2.
    if (this.#state === "idle") this.#beginHead(this.#requests === 0 ? 0 : at);
    this.#readHead();
  };

  // The bytes received so far must be the beginning of the HTTP/2 preface; no request of HTTP/1.1 begins like it.
  #isHttp2(): boolean {
    const known = Math.min(this.#filled, PREFACE.length);
    for (let i = 0; i < known; i++) {
      if (this.#buffer[i] !== PREFACE[i]) return false;
    }
    if (known < PREFACE.length) {
      this.#setDeadline(this.#context.limits.headMs);
      this.#read(this.#filled);
      return true;
    }
    this.#state = "closed";
    this.#deadline.clear();
    this.#response.stop();
    this.#context.idle(this, false);
    this.#context.switchToHttp2(this, this.#socket, this.#buffer.slice(0, this.#filled));
    return true;
  }

  #beginHead(at: number): void {
    this.#state = "head";
    this.#context.idle(this, false);
    if (this.#head === null) {
      this.#head = this.#context.takeHead();
      this.#head.parser.begin(at);
    }
    this.#setDeadline(this.#context.limits.headMs);
  }

  // Listed as idle: there is no request yet, and it may be closed in favour of another connection.
  #awaitProxyHeader(): void {
    this.#state = "proxy";
    this.#context.idle(this, true);
    this.#setDeadline(this.#context.limits.headMs);
  }

  #readProxyHeader(): void {
    let header: ProxyHeader | null;
    try {
      header = readProxyHeader(this.#buffer, this.#filled);
    } catch (error) {
      this.#beginHead(0);
      return this.#refuse(error as RequestError);
    }
    if (header === null) {
      if (this.#filled === this.#buffer.length) this.#grow();
      return this.#read(this.#filled);
    }
    const { length, addresses } = header;
    this.#buffer.copyWithin(0, length, this.#filled);
    this.#filled -= length;
    if (addresses !== null) {
      this.#peer = addresses;
      if (!this.#context.admits(this)) return this.refuse(tooManyConnections());
    }
    this.#state = "idle";
    this.#setDeadline(this.#context.draining ? LAST_REQUEST_MS : this.#context.limits.keepAliveMs);
    if (this.#filled === 0) return this.#read(0);
    if (this.#context.sniffsHttp2 && this.#isHttp2()) return;
    this.#beginHead(0);
    this.#readHead();
  }

  /** Responds to the next request with the error, and closes; the log has that request if it arrives soon. */
  refuse(error: ProxyError): void {
    if (this.#state === "closed") return;
    this.#refusal = error;
    this.#beginHead(0);
    this.#setDeadline(LAST_REQUEST_MS);
    if (this.#readingAt < 0) this.#readHead();
  }

  #passInput(at: number | null, count: number): void {
    const bytes = at === null ? null : this.#buffer.slice(at, at + count);
    if (this.#onInput !== null) return this.#onInput(bytes);
    // The response to the upgrade is still being written.
    this.#inputEnded = bytes === null;
    if (at === null) return;
    this.#requestEnd = at;
    this.#filled = at + count;
  }

  readonly #onReadFailed = (): void => {
    this.#readingAt = -1;
    if (this.#state === "tunnel" && this.#onInput !== null) return this.#onInput(null);
    this.#clientGone(new ClientGoneError());
  };

  #readHead(): void {
    const { parser } = this.#head!;
    try {
      if (!parser.parse(this.#buffer, this.#filled)) {
        if (this.#filled === this.#buffer.length) this.#makeRoom();
        // A line end that old clients send after content is not the begin of a slow request.
        if (!parser.begun && this.#refusal === null) this.#becomeIdle();
        return this.#read(this.#filled);
      }
    } catch (error) {
      return this.#refuse(this.#refusal ?? error as RequestError);
    }
    this.#beginRequest(parser);
  }

  /** Makes room after the received bytes in a larger buffer. */
  #makeRoom(): void {
    this.#grow();
    this.#head!.parser.lines.bytes = this.#buffer;
  }

  #grow(): void {
    const larger = new Uint8Array(Math.max(this.#buffer.length * 2, SMALL_BUFFER));
    larger.set(this.#buffer.subarray(0, this.#filled));
    this.#buffer = larger;
  }

  #refuse(error: ProxyError): void {
    this.#state = "busy";
    this.#close = true;
    const { parser, headers } = this.#head!;
    parser.endTarget(this.#filled);
    headers.begin(parser.lines);
    this.#context.handler.refuse(this, error);
  }

  #beginRequest(parser: RequestHeadParser): void {
    const { handler, limits: { maxRequestsPerConnection } } = this.#context;
    this.#state = "busy";
    this.#dueAt = Infinity;
    this.#requests++;
    this.#head!.headers.begin(parser.lines);
    this.#close = !parser.persistent || this.#requests >= maxRequestsPerConnection;
    this.#requestEnd = parser.bodyStart;
    if (this.#refusal !== null) {
      this.#close = true;
      return handler.refuse(this, this.#refusal);
    }
    try {
      screenFields(this.#head!.headers, this.#context.underscores);
      if (parser.hasContent) this.#beginContent(parser);
    } catch (error) {
      this.#close = true;
      return handler.refuse(this, error as RequestError);
    }
    handler.handle(this);
    if (this.#state === "busy" && (this.body === null || this.body.ended)) this.#readAhead();
  }

  #beginContent(parser: RequestHeadParser): void {
    const reader = requestBodyReader(parser);
    reader.read(this.#buffer, parser.bodyStart, this.#filled);
    const { contentStart, contentEnd } = reader;
    const first = contentEnd > contentStart || reader.done
      ? this.#buffer.subarray(contentStart, contentEnd)
      : null;
    const length = parser.chunked ? null : parser.contentLength;
    this.body = new ClientContent({ owner: this, shelf: this.#context.shelf, reader, first, length });
    this.#requestEnd = reader.next;
    this.#contentBytes = this.#contentWaitMs = 0;
  }

  /** Where the bytes after the request begin. */
  #requestEnd = 0;

  // A pending read shows at once when the client closes, and receives its next request.
  #readAhead(): void {
    if (this.#readingAt >= 0 || this.#inputEnded || this.#filled > this.#requestEnd) return;
    const { parser } = this.#head!;
    const start = parser.start;
    const room = this.#buffer.length - this.#filled;
    if (room >= start) {
      if (room > 0) this.#read(this.#filled);
    } else {
      this.#read(0, start);
    }
  }

  /** @internal */
  async readContent(buffer: Bytes): Promise<number | null> {
    this.#askForContent();
    const { limits: { contentMs, minContentRate }, wheel } = this.#context;
    // Only the time spent waiting for the client counts, not the time of a slow server.
    if (
      this.#contentWaitMs > RATE_AFTER_MS &&
      this.#contentBytes * 1000 < minContentRate * this.#contentWaitMs
    ) {
      throw tooSlow();
    }
    const since = wheel.lately;
    this.#setDeadline(contentMs);
    this.#contentAwaited = true;
    const count = await this.#socket.read(buffer);
    this.#contentAwaited = false;
    // The content is no longer wanted, and the deadline is that of the connection.
    if (this.#state === "linger") {
      if (count === null) this.dispose();
      else this.#read(0);
      throw new ClientGoneError("The connection ends before the content does");
    }
    this.#dueAt = Infinity;
    this.#contentWaitMs += wheel.lately - since;
    this.#contentBytes += count ?? 0;
    if (count === null) this.#inputEnded = true;
    return count;
  }

  /** The client waits for 100 (Continue) before it sends its content (RFC 9110 section 10.1.1). */
  #askForContent(): void {
    const { parser } = this.#head!;
    if (!parser.expectsContinue || this.#responding) return;
    parser.expectsContinue = false;
    this.#response.writeInterim(100, NO_FIELDS);
  }

  /** @internal */
  contentEnded(behind: Bytes): void {
    // The head must stay in place while the request runs.
    const { parser } = this.#head!;
    const at = parser.bodyStart;
    this.#requestEnd = at;
    this.#filled = at;
    if (behind.length === 0 && this.#contentBytes <= SHORT_CONTENT && this.#buffer.length < UPLOAD_BUFFER) {
      this.#buffer = new Uint8Array(UPLOAD_BUFFER);
      this.#requestEnd = this.#filled = 0;
    }
    if (behind.length > 0) {
      while (this.#buffer.length - at < behind.length) this.#makeRoom();
      this.#buffer.set(behind, at);
      this.#filled = at + behind.length;
    }
    if (this.#state === "busy") this.#readAhead();
  }

  respond(head: ResponseHead, body: Body | null, close = false): void {
    if (this.#state === "closed") {
      this.exchange!.responseEnded(0, new ClientGoneError());
      return;
    }
    if (close) this.#close = true;
    this.#responding = true;
    const { parser } = this.#head!;
    const http11 = parser.minor === 1;
    if (!this.#close) {
      const untilClose = !http11 && body !== null && body.length === null && body.whole === null;
      const { draining, crowded } = this.#context;
      this.#close = draining || crowded || this.#inputEnded || untilClose || !this.#canDiscard();
    }
    this.#response.write(head, body, { method: parser.method, http11, close: this.#close });
  }

  #canDiscard(): boolean {
    const { body } = this;
    if (body === null || body.ended) return true;
    // A client without 100 (Continue) may send its content or not: so the begin of the next request is unknown.
    return body.failure === null && body.left <= MAX_DISCARDED && !this.#head!.parser.expectsContinue;
  }

  abandon(): void {
    this.exchange = null;
    this.dispose();
  }

  switchProtocols(head: ResponseHead, tunnel: Tunnel, options: TunnelOptions): void {
    const { writeMs } = this.#context.limits;
    const framed = options.protocol.toLowerCase() === "websocket";
    const extended = head.headers.has("sec-websocket-extensions");
    this.#state = "tunnel";
    this.#responding = true;
    this.#dueAt = Infinity;
    this.#response.writeSwitch(head, options.protocol).then(() => {
      if (this.#state === "closed") return;
      const relay = {
        ...options,
        client: this.#socket,
        tunnel,
        first: this.#takeInput(),
        framed,
        extended,
        writeMs,
      };
      this.#tunnel = new TunnelRelay({
        ...relay,
        sent: (bytes) => {
          if (this.exchange !== null) this.exchange.bytesSent += bytes;
        },
        ended: (failure) => this.#tunnelEnded(failure),
      });
    }, (error) => this.#clientGone(new ClientGoneError(String(error))));
  }

  /** The bytes after the request: those already received, or those of the pending read. */
  #takeInput(): Promise<Bytes | null> {
    const first = this.#buffer.slice(this.#requestEnd, Math.max(this.#filled, this.#requestEnd));
    if (this.#inputEnded) return Promise.resolve(null);
    if (this.#readingAt < 0) return Promise.resolve(first);
    return new Promise((resolve) => this.#onInput = resolve);
  }

  #tunnelEnded(failure: ProxyError | null): void {
    const exchange = this.exchange!;
    this.exchange = null;
    this.dispose();
    exchange.responseEnded(exchange.bytesSent, failure);
  }

  passUpgrade(): never {
    throw new TypeError('Deno.upgradeWebSocket() needs a listener with the engine "deno"');
  }

  interim(status: number, headers: HeaderFields): void {
    if (this.#head!.parser.minor === 1 && !this.#responding) this.#response.writeInterim(status, headers);
  }

  /** @internal */
  writeBegun(): void {
    const { limits: { writeMs }, wheel } = this.#context;
    this.#writeDueAt = wheel.lately + writeMs;
    this.#arm(this.#writeDueAt);
  }

  /** @internal */
  writeEnded(): void {
    this.#writeDueAt = Infinity;
    if (this.#inputEnded && this.#responding && this.#state === "busy") {
      this.#setDeadline(this.#context.limits.halfClosedMs);
    }
  }

  /** @internal */
  responseWritten(bytes: number): void {
    const exchange = this.exchange!;
    this.exchange = null;
    this.#responding = false;
    exchange.responseEnded(bytes, null);
    if (this.#state === "closed") return;
    if (this.#close) return this.#linger();
    if (this.body !== null && !this.body.ended) return void this.#discard(this.body);
    this.#next();
  }

  /** @internal */
  responseBroken(bytes: number, failure: ProxyError): void {
    const exchange = this.exchange!;
    this.exchange = null;
    // Aborted, not ended cleanly: a client must see that the response is incomplete.
    this.dispose();
    exchange.responseEnded(bytes, failure);
  }

  // Reads unwanted content, so that the client can continue with its next request.
  async #discard(body: ClientContent): Promise<void> {
    this.#state = "discard";
    try {
      const ended = await body.discard(MAX_DISCARDED);
      if (this.#state !== "discard") return;
      if (ended) this.#next();
      else this.#linger();
    } catch {
      this.dispose();
    }
  }

  #next(): void {
    const head = this.#head!;
    this.body = null;
    if (this.#readingAt >= 0) {
      this.#context.giveHead(head);
      this.#head = null;
      this.#becomeIdle();
    } else if (this.#filled > this.#requestEnd) {
      // The next request was already received: pipelining (RFC 9112 section 9.3.2).
      this.#state = "head";
      this.#buffer.copyWithin(0, this.#requestEnd, this.#filled);
      this.#filled -= this.#requestEnd;
      head.parser.begin(0);
      this.#setDeadline(this.#context.limits.headMs);
      this.#readHead();
    } else {
      this.#context.giveHead(head);
      this.#head = null;
      if (this.#inputEnded) return this.dispose();
      this.#becomeIdle();
      // The buffer of a large request is not kept.
      if (this.#buffer.length > UPLOAD_BUFFER) this.#buffer = new Uint8Array(IDLE_BUFFER);
      this.#read(0);
    }
  }

  #becomeIdle(): void {
    this.#state = "idle";
    this.#context.idle(this, true);
    this.#setDeadline(this.#context.draining ? LAST_REQUEST_MS : this.#context.limits.keepAliveMs);
  }

  // Closing at once could destroy a response that the client has not read yet (RFC 9112 section 9.6).
  #linger(): void {
    this.#state = "linger";
    this.body?.cancel();
    this.body = null;
    if (this.#inputEnded) return this.#endCleanly();
    this.#setDeadline(LINGER_MS);
    this.#socket.closeWrite().catch(() => {});
    // Some sockets do not allow two reads at once.
    if (this.#readingAt < 0 && !this.#contentAwaited) this.#read(0);
  }

  // A TLS client reads an end without close_notify as a truncation attack (RFC 8446 section 6.1).
  #endCleanly(): void {
    if (this.listener.scheme === "http") return this.dispose();
    if (this.#isListedIdle) this.#context.idle(this, false);
    this.#state = "linger";
    this.#setDeadline(LINGER_MS);
    this.#socket.closeWrite().catch(() => {}).finally(() => this.dispose());
  }

  // The client has closed, or has half-closed and waits for the response; a read cannot distinguish these.
  #onInputEnd(): void {
    this.#inputEnded = true;
    // A half-closed client may wait for the reason of the failure.
    if (this.#state === "head" && this.#head!.parser.begun) {
      const ended = new RequestError("The client ended its side within a request head", 400);
      return this.#refuse(this.#refusal ?? ended);
    }
    if (this.#state !== "busy") return this.#endCleanly();
    this.#close = true;
    this.#setDeadline(this.#responding ? this.#context.limits.halfClosedMs : PROBE_AFTER_MS);
  }

  // A closed client responds to any bytes with a reset; a waiting client skips 100 (RFC 9110 section 15.2).
  #probe(): void {
    if (this.#state !== "busy" || this.#responding) return;
    this.#probes++;
    if (this.#head!.parser.minor === 1) this.#response.writeInterim(100, NO_FIELDS);
    this.#setDeadline(PROBE_AFTER_MS * 2 ** Math.min(this.#probes, 6));
    this.#socket.read(new Uint8Array(1)).then(() => {}, this.#onReadFailed);
  }

  /** @internal */
  clientLost(error: ClientGoneError): void {
    this.#clientGone(error);
  }

  #clientGone(error: ClientGoneError): void {
    if (this.#state === "closed") return;
    const { exchange } = this;
    this.body?.fail(error);
    this.dispose();
    if (exchange === null) return;
    if (!this.#responding) return exchange.callOff(error);
    this.exchange = null;
    exchange.responseEnded(this.#response.bytes, error);
  }

  #setDeadline(ms: number): void {
    this.#dueAt = this.#context.wheel.lately + ms;
    this.#arm(this.#dueAt);
  }

  // The entry in the wheel is not moved while it is early enough: moving it at each request would cost more.
  #arm(dueAt: number): void {
    if (dueAt >= this.#armedFor) return;
    this.#armedFor = dueAt;
    const now = this.#context.wheel.lately;
    this.#deadline.set(dueAt - now, now);
  }

  #expired(): void {
    this.#armedFor = Infinity;
    const now = this.#context.wheel.lately;
    if (now >= this.#writeDueAt) {
      return this.#clientGone(new ClientGoneError("The client took the response too slowly"));
    }
    if (now >= this.#dueAt) this.#deadlineExceeded();
    if (this.#state !== "closed") this.#arm(Math.min(this.#dueAt, this.#writeDueAt));
  }

  #deadlineExceeded(): void {
    this.#dueAt = Infinity;
    switch (this.#state) {
      case "head":
        if (this.#refusal !== null) return this.#refuse(this.#refusal);
        return this.#refuse(new RequestError("The client sent its request head too slowly", 408));
      case "busy":
        return this.#inputEnded ? this.#inputEndedLate() : this.#contentLate();
      case "tunnel":
        return;
      default:
        this.dispose();
    }
  }

  #inputEndedLate(): void {
    if (!this.#responding) this.#probe();
    else {this.#clientGone(
        new ClientGoneError("The client has shut down its side, and nothing was sent to it since"),
      );}
  }

  #contentLate(): void {
    const error = tooSlow();
    this.body?.fail(error);
    this.#close = true;
    if (!this.#responding) this.exchange?.callOff(error);
  }

  /** The proxy stops: a request in transit is served, and then the connection is closed. */
  retire(): void {
    if (this.#state === "idle") this.#setDeadline(LAST_REQUEST_MS);
  }

  /** Closes the connection if it is idle. */
  drain(): void {
    if (this.#isListedIdle) this.dispose();
  }

  /** Whether it is listed as idle. */
  get #isListedIdle(): boolean {
    return this.#state === "idle" || this.#state === "proxy";
  }

  /** Closes the connection. */
  dispose(): void {
    if (this.#state === "closed") return;
    const waits = this.#isListedIdle;
    this.#state = "closed";
    this.#deadline.clear();
    this.#response.stop();
    this.#tunnel?.[Symbol.dispose]();
    if (waits) this.#context.idle(this, false);
    try {
      this.#socket.close();
    } catch {
      // The runtime closes a failed socket itself.
    }
    this.#context.closed(this);
  }
}

const NO_FIELDS = new HeaderFields();

/** The error for a client that has reached its limit of connections. */
export function tooManyConnections(): RequestError {
  return new RequestError("Too many connections come from this address", 429, { "retry-after": "1" });
}
