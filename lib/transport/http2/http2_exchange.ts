/** One request and its response, on a stream of a shared connection. */

import { CancellationListener, type Deadline, type DeadlineWheel } from "../../core/cancellation.ts";
import type { Clock } from "../../core/clock.ts";
import { ProxyError, RequestError, UpstreamError, type UpstreamErrorCode } from "../../core/errors.ts";
import { decodeLatin1 } from "../../http/field_lines.ts";
import { HeaderFields, isToken } from "../../http/header_fields.ts";
import {
  type Body,
  type Bytes,
  mayReceiveContent,
  reasonPhrase,
  type RequestBody,
} from "../../http/message.ts";
import { CODE } from "../../http2/frame_type.ts";
import { checkFields, UnwritableFieldError } from "../../http2/hpack_encoder.ts";
import type { Http2Stream, StreamOwner, StreamReset } from "../../http2/stream.ts";
import { StreamSocket } from "../../http2/stream_socket.ts";
import type { Trip } from "../http1/connection.ts";
import { cancelledError } from "../http1/server_content.ts";
import { type OutgoingRequest, responseIdleMs, type ServerResponse, type Tunnel } from "../transport.ts";
import { Upload, type UploadOwner } from "./upload.ts";

/** Most interim responses before the final one. */
const MAX_INTERIM = 16;

/** The connection of an exchange. */
export interface ExchangeHost {
  /** Whether the connection uses TLS. */
  readonly secure: boolean;
  /** Why the connection ended; `null` while it has not. */
  readonly failure: ConnectionFailure | null;
  /** Whether a response was received on it before. */
  readonly hasServed: boolean;
  /** Opens a stream. */
  open(owner: StreamOwner): Http2Stream;
  /** Whether bytes of a stream may have been sent. */
  mayHaveLeft(stream: Http2Stream): boolean;
  /**
   * The head of a response was received; {@linkcode Http2Exchange.respond} is called after all bytes of the same read
   * are parsed.
   */
  arrived(exchange: Http2Exchange): void;
  /** This side has reset a stream. */
  wasReset(): void;
  /** A response exceeded its deadline; `since` is when its request started. */
  wasLate(since: number): void;
  /** Sends a request again on another stream: the server has not processed it, or it may be repeated. */
  again(trip: Trip): void;
  /** The exchange has ended and can serve another request. */
  over(exchange: Http2Exchange): void;
}

/** Why a connection ended. */
export interface ConnectionFailure {
  readonly code: UpstreamErrorCode;
  readonly message: string;
}

/** Parts of an {@linkcode Http2Exchange}. */
interface Http2ExchangeInit {
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
}

/**
 * Sends a request and receives its response. Reused for one request after another, so that deadline, listener and
 * fields are made once.
 */
export class Http2Exchange implements StreamOwner, UploadOwner {
  readonly #clock: Clock;
  readonly #wheel: DeadlineWheel;
  readonly #deadline: Deadline;
  readonly #listener = new CancellationListener((reason) => this.#fail(cancelledError(reason)));
  readonly #fields = new HeaderFields();
  #state: "free" | "head" | "arrived" | "content" | "tunnel" = "free";
  #host: ExchangeHost | null = null;
  #stream: Http2Stream | null = null;
  #trip: Trip | null = null;
  #response: Http2Response | null = null;
  #upload: Upload | null = null;
  /** The socket of a WebSocket. */
  #socket: StreamSocket | null = null;
  #interim = 0;
  #idleMs = 0;
  #startedAt = 0;
  #reused = false;
  /** Whether the deadline is that of awaited content. */
  #awaiting = false;

  constructor({ clock, wheel }: Http2ExchangeInit) {
    this.#clock = clock;
    this.#wheel = wheel;
    this.#deadline = wheel.deadline(() => this.#expired());
  }

  /** Sends a request on a connection with room for it, and passes the response to its options. */
  start(host: ExchangeHost, trip: Trip, now: number): void {
    const { request, options } = trip;
    this.#host = host;
    this.#trip = trip;
    this.#startedAt = now;
    this.#reused = host.hasServed;
    let authority: string;
    let target: string;
    try {
      checkFields(request.headers.list);
      authority = authorityOf(request);
      target = targetOf(request);
    } catch (error) {
      // Nothing was sent, so the connection can be reused.
      this.#free();
      return options.failed(unwritable(error));
    }
    this.#state = "head";
    const { body } = request;
    const protocol = request.upgrade === true ? "websocket" : undefined;
    const method = protocol === undefined ? request.method : "CONNECT";
    const fields = protocol === undefined ? request.headers : withoutHandshake(request.headers);
    const whole = body === null ? null : body.whole;
    const ends = body === null || (whole !== null && whole.length === 0 && body.trailers.length === 0);
    const length = body !== null ? body.length : LENGTH_METHODS.has(method) ? 0 : null;
    const expectsContinue = request.expectsContinue === true && body !== null && whole === null;
    const stream = this.#stream = host.open(this);
    stream.lengthless = method === "HEAD";
    const scheme = host.secure ? "https" : "http";
    const head = { method, scheme, authority, target, protocol, fields, length, expectsContinue } as const;
    stream.request(head, ends && protocol === undefined);
    if (ends) this.#arm(options.timeouts.responseMs, now);
    else this.#sendContent(body!, whole, expectsContinue, now);
    if (this.#trip === trip) options.cancellation.add(this.#listener);
  }

  #sendContent(body: RequestBody, whole: Bytes | null, expectsContinue: boolean, now: number): void {
    const stream = this.#stream!;
    const { responseMs } = this.#trip!.options.timeouts;
    if (whole === null || !stream.hasRoomFor(whole.length)) {
      const upload = new Upload({ stream, body, wheel: this.#wheel, owner: this, expectsContinue });
      this.#upload = upload;
      return void upload.run();
    }
    const { trailers } = body;
    try {
      if (whole.length > 0) stream.write(whole, 0, whole.length, trailers.length === 0);
      if (trailers.length > 0) stream.end(trailers);
    } catch (error) {
      return this.#fail(unwritable(error));
    }
    this.#arm(responseMs, now);
  }

  /** @internal */
  uploadProgressed(): void {
    if (this.#state !== "head") return;
    const { timeouts } = this.#trip!.options;
    this.#arm(this.#upload?.waitingFor === "continue" ? timeouts.responseMs : timeouts.idleMs);
  }

  /** @internal */
  uploadEnded(): void {
    this.#upload = null;
    if (this.#state === "head") this.#arm(this.#trip!.options.timeouts.responseMs);
  }

  /** @internal */
  uploadFailed(error: unknown): void {
    this.#fail(error instanceof ProxyError ? error : unwritable(error));
  }

  /** @internal */
  onRoom(): void {
    this.#upload?.onRoom();
    this.#socket?.onRoom();
  }

  /** @internal */
  onHead(): void {
    const head = this.#stream!.head!;
    const fault = this.#faultOf();
    if (fault !== null) return this.#malformed(fault);
    const { status } = head;
    if (status >= 200) {
      this.#state = "arrived";
      return this.#host!.arrived(this);
    }
    if (++this.#interim > MAX_INTERIM) return this.#malformed("interim responses without end");
    if (status === 100) return this.#upload?.continue();
    const { options } = this.#trip!;
    if (options.interim === undefined) return;
    this.#fields.begin(head.lines);
    options.interim(status, this.#fields);
  }

  #faultOf(): string | null {
    const { head, remoteEnded, lengthless } = this.#stream!;
    const { malformed, excess, status, isOfResponse, contentLength } = head!;
    if (malformed !== null) return malformed;
    if (excess !== null) return `too many ${excess} in its head`;
    if (status < 0 || !isOfResponse) return "a head that is not that of a response";
    if (status === 101) return "a switch of protocols, which there is not in HTTP/2";
    if (!remoteEnded) return null;
    if (status < 200) return "an interim response as the last one";
    return contentLength > 0 && !lengthless && status !== 304 ? "a Content-Length without content" : null;
  }

  #malformed(found: string): void {
    this.#stream!.reset(CODE.PROTOCOL_ERROR);
    this.#host!.wasReset();
    this.#fail(
      new UpstreamError(`Cannot read the response: it has ${found}`, {
        code: "http_protocol_error",
        phase: "sent",
      }),
    );
  }

  /** @internal Passes on the response, after its head and perhaps content were received. */
  respond(): void {
    if (this.#state !== "arrived") return;
    const stream = this.#stream!;
    const { head } = stream;
    const { request: { method }, options } = this.#trip!;
    const { status } = head!;
    this.#fields.begin(head!.lines);
    if (this.#trip!.request.upgrade === true && status < 300) return this.#switchProtocol();
    const isEmpty = !mayReceiveContent(method, status);
    if (isEmpty) stream.lengthless = true;
    const body = isEmpty ? null : stream.content;
    this.#idleMs = body === null || body.length !== null
      ? options.timeouts.idleMs
      : responseIdleMs(this.#fields, options.timeouts);
    this.#state = "content";
    this.#stopWaiting();
    options.responded(this.#response = new Http2Response(this, status, this.#fields, body));
  }

  // Reported as a switch of protocols, as in HTTP/1.1.
  #switchProtocol(): void {
    const { options } = this.#trip!;
    const socket = this.#socket = new StreamSocket(this.#stream!);
    this.#state = "tunnel";
    this.#deadline.clear();
    this.#listener[Symbol.dispose]();
    const response = new Http2Response(this, 101, this.#fields, null, {
      socket,
      first: new Uint8Array(0),
      keyless: true,
      [Symbol.dispose]: () => this.release(response, false),
    });
    this.#response = response;
    options.responded(response);
  }

  /** @internal */
  onContentAwaited(): void {
    if (this.#awaiting || this.#state !== "content") return;
    this.#awaiting = true;
    this.#arm(this.#idleMs);
  }

  /** @internal */
  onReset(reset: StreamReset): void {
    const { remoteEnded, content } = this.#stream!;
    this.#socket?.onRoom();
    // A complete response stays valid: the server does not want the rest of the request (RFC 9113 section 8.1).
    if (remoteEnded && this.#state !== "head" && reset.by !== "fault") return this.#stopUpload(true);
    const error = this.#errorOf(reset);
    if (this.#state === "content" || this.#state === "tunnel") {
      this.#stopUpload(true);
      this.#deadline.clear();
      return content?.fail(error);
    }
    const trip = this.#trip!;
    const again = this.#state === "head" && this.#interim === 0 && !trip.retried &&
      (reset.unprocessed || (reset.by === "connection" && this.#reused && !isFault(this.#host!.failure)));
    if (!again || trip.options.maySendAgain?.(error) !== true) return this.#fail(error);
    const host = this.#host!;
    this.#stopUpload(false);
    this.#free();
    trip.retried = true;
    host.again(trip);
  }

  #errorOf({ code, by, message, unprocessed }: StreamReset): UpstreamError {
    const host = this.#host!;
    const lost = this.#state !== "head";
    const unsent = unprocessed || !host.mayHaveLeft(this.#stream!);
    const named = by === "peer" && code === CODE.HTTP_1_1_REQUIRED;
    const found = named ? `${message}: the server wants HTTP/1.1 for it` : host.failure?.message ?? message;
    return new UpstreamError(`Cannot read the response: ${found}`, {
      code: by === "fault"
        ? "http_protocol_error"
        : lost
        ? "http_response_incomplete"
        : host.failure?.code ?? "connection_terminated",
      phase: lost ? "answered" : unsent ? "unsent" : "sent",
      reused: by === "connection" && this.#reused,
    });
  }

  #stopUpload(cancels: boolean): void {
    if (this.#upload === null) return;
    this.#upload.stop();
    this.#upload = null;
    if (cancels) this.#trip!.request.body?.cancel();
  }

  // Ends the exchange with an error; only the stream is reset, since other exchanges use the connection.
  #fail(error: ProxyError): void {
    const trip = this.#trip;
    const stream = this.#stream;
    if (trip === null || stream === null) return;
    this.#upload?.stop();
    this.#upload = null;
    if (!stream.closed) {
      stream.reset(CODE.CANCEL);
      this.#host!.wasReset();
    }
    if (this.#response === null) {
      this.#free();
      return trip.options.failed(error);
    }
    this.#deadline.clear();
    this.#listener[Symbol.dispose]();
    // The reader of the content gets the error, and then releases the response.
    stream.content?.abort(error);
  }

  /** @internal The response is no longer used. */
  release(response: Http2Response, keepsRequest: boolean): void {
    if (response !== this.#response) return;
    const stream = this.#stream!;
    // A server that has already responded does not want the rest of the request.
    this.#stopUpload(!keepsRequest);
    stream.content?.cancel();
    if (!stream.closed) {
      stream.reset(stream.remoteEnded ? CODE.NO_ERROR : CODE.CANCEL);
      this.#host!.wasReset();
    }
    this.#free();
  }

  /** @internal The receiver of the response has thrown. */
  abandon(): void {
    if (this.#response !== null) this.release(this.#response, false);
  }

  #free(): void {
    const host = this.#host!;
    this.#deadline.clear();
    this.#listener[Symbol.dispose]();
    this.#state = "free";
    this.#stream?.release();
    this.#host =
      this.#stream =
      this.#trip =
      this.#response =
      this.#upload =
      this.#socket =
        null;
    this.#interim = 0;
    this.#awaiting = false;
    host.over(this);
  }

  // Only the deadline of the whole exchange continues.
  #stopWaiting(): void {
    this.#awaiting = false;
    if (this.#trip!.dueAt === Infinity) this.#deadline.clear();
    else this.#arm(Infinity);
  }

  #arm(delayMs: number, known?: number): void {
    const { dueAt } = this.#trip!;
    const now = known ?? this.#clock.now();
    this.#deadline.set(dueAt === Infinity ? delayMs : Math.min(delayMs, Math.max(dueAt - now, 0)), now);
  }

  #expired(): void {
    const { dueAt } = this.#trip!;
    const now = this.#clock.now();
    const late = dueAt !== Infinity && now >= dueAt;
    if (this.#state === "content") {
      if (!late && this.#extendDeadline(now)) return;
    } else if (this.#upload?.waitingFor === "client") {
      return this.#fail(new RequestError("The request body came too slowly", 408));
    }
    const waited = late ? "the exchange took longer than it may" : "the server took longer than it may";
    this.#host!.wasLate(this.#startedAt);
    this.#fail(
      new UpstreamError(`Cannot read the response: ${waited}`, {
        code: "http_response_timeout",
        phase: this.#state === "head" ? this.#phase() : "answered",
        reused: this.#reused,
      }),
    );
  }

  // The deadline was set for an earlier piece; other pieces may have been received since.
  #extendDeadline(now: number): boolean {
    const since = this.#stream!.content?.awaitedSince ?? Infinity;
    if (since === Infinity) {
      this.#stopWaiting();
      return true;
    }
    const left = since + this.#idleMs - now;
    if (left <= 0) return false;
    this.#arm(left, now);
    return true;
  }

  #phase(): "unsent" | "sent" {
    return this.#host!.mayHaveLeft(this.#stream!) ? "sent" : "unsent";
  }
}

const LENGTH_METHODS: ReadonlySet<string> = new Set(["POST", "PUT", "PATCH"]);

function isFault(failure: ConnectionFailure | null): boolean {
  return failure?.code === "http_protocol_error";
}

/** Fields of the WebSocket handshake in HTTP/1.1, which are not sent in an extended CONNECT (RFC 8441 section 5). */
const HANDSHAKE: ReadonlySet<string> = new Set(["connection", "upgrade", "sec-websocket-key"]);

function withoutHandshake(headers: HeaderFields): HeaderFields {
  return new HeaderFields([...headers].filter(([name]) => !HANDSHAKE.has(name.toLowerCase())));
}

/** Makes the error of a request that cannot be written. */
function unwritable(error: unknown): UpstreamError {
  if (error instanceof UpstreamError) return error;
  if (!(error instanceof UnwritableFieldError)) throw error;
  return new UpstreamError(`Cannot send the request: it has ${error.message}`, {
    code: "http_request_error",
    phase: "unsent",
  });
}

function authorityOf({ method, headers }: OutgoingRequest): string {
  if (method === "CONNECT") throw new UnwritableFieldError("the method CONNECT, which makes a tunnel");
  if (!isToken(method)) throw new UnwritableFieldError(`the method ${JSON.stringify(method)}`);
  const hosts = headers.getAll("host");
  if (hosts.length !== 1) throw new UnwritableFieldError(`${hosts.length} Host fields`);
  return hosts[0]!;
}

/** The target, one character for each byte. */
function targetOf(request: OutgoingRequest): string {
  const { targetBytes = null } = request;
  if (targetBytes !== null) {
    const { lines: { bytes }, targetStart, targetEnd } = targetBytes;
    return decodeLatin1(bytes, targetStart, targetEnd);
  }
  const { target } = request;
  let ascii = true;
  for (let i = 0; i < target.length; i++) {
    const code = target.charCodeAt(i);
    // A server that forwards it by HTTP/1.1 would read the part after a space as the version.
    if (code <= 0x20 || code === 0x7f) throw new UnwritableFieldError(`the target ${JSON.stringify(target)}`);
    if (code > 0x7f) ascii = false;
  }
  if (target === "") throw new UnwritableFieldError("an empty target");
  if (ascii) return target;
  const bytes = encoder.encode(target);
  return decodeLatin1(bytes, 0, bytes.length);
}

const encoder = new TextEncoder();

/** A response of a server. */
class Http2Response implements ServerResponse {
  status: number;
  /** The standard phrase: HTTP/2 has none, but HTTP/1.1 has. */
  statusText: string;
  readonly headers: HeaderFields;
  readonly body: Body | null;
  readonly tunnel: Tunnel | undefined;
  readonly #exchange: Http2Exchange;

  constructor(
    exchange: Http2Exchange,
    status: number,
    headers: HeaderFields,
    body: Body | null,
    tunnel?: Tunnel,
  ) {
    this.tunnel = tunnel;
    this.#exchange = exchange;
    this.status = status;
    this.statusText = reasonPhrase(status);
    this.headers = headers;
    this.body = body;
  }

  release(keepsRequest = false): void {
    this.#exchange.release(this, keepsRequest);
  }
}
