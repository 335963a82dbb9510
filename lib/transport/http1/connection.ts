/** One connection to a server, with one exchange after another. */

import { CancellationListener, type Deadline, type DeadlineWheel } from "../../core/cancellation.ts";
import type { Clock } from "../../core/clock.ts";
import { ProxyError, RequestError, UpstreamError, type UpstreamErrorCode } from "../../core/errors.ts";
import { HeaderFields } from "../../http/header_fields.ts";
import { type Bytes, mayReceiveContent, type RequestBody, WholeBody } from "../../http/message.ts";
import { responseBodyReader } from "../../http1/body_reader.ts";
import { malformedResponse, ResponseHeadParser } from "../../http1/head_parser.ts";
import {
  type BufferShelf,
  HeadWriter,
  SMALL_BUFFER,
  UnwritableHeadError,
  writeChunk,
  writeLastChunk,
} from "../../http1/head_writer.ts";
import type { ConnectionEnd } from "../../observe/metrics/meters.ts";
import {
  type OutgoingRequest,
  responseIdleMs,
  type SendOptions,
  type ServerResponse,
  type Tunnel,
} from "../transport.ts";
import { closeSocket } from "./dial.ts";
import { cancelledError, ServerContent } from "./server_content.ts";
import { ONE_WRITE_BYTES, Upload } from "./upload.ts";

/** Most interim responses before the final one. */
const MAX_INTERIM = 16;

/** A request with its options and state. */
export interface Trip {
  readonly request: OutgoingRequest;
  readonly options: SendOptions;
  /** Deadline of the whole exchange, in the clock's milliseconds. */
  readonly dueAt: number;
  /** Whether it was already retried after a stale connection, so that it is not retried without end. */
  retried: boolean;
  /** Sends a request for another protocol by HTTP/1.1, to servers that do not allow it in HTTP/2. @default {none} */
  readonly byHttp1?: () => void;
}

/** The pool of a connection. */
export interface ConnectionOwner {
  /** The connection is ready for another exchange. */
  released(connection: Connection): void;
  /** The connection is closed. */
  closed(connection: Connection, reason: ConnectionEnd): void;
  /** The connection is closed and was stale; its exchange starts again on a new one. */
  stale(connection: Connection, trip: Trip): void;
}

/** Parts of a {@linkcode Connection}. */
interface ConnectionInit {
  readonly socket: Deno.Conn;
  readonly owner: ConnectionOwner;
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
  readonly shelf: BufferShelf;
  /** The client that it serves only; `""` where it serves all clients. @default {""} */
  readonly client?: string;
}

/** A socket and the exchange on it. A read is pending whenever no content is read, so that a close is noticed at once. */
export class Connection implements RequestSenderOwner, Disposable {
  /** When it became idle, in the clock's milliseconds. */
  idleSince = 0;
  /** The client that it serves only; `""` where it serves all clients. */
  readonly client: string;
  readonly #socket: Deno.Conn;
  readonly #owner: ConnectionOwner;
  readonly #clock: Clock;
  readonly #shelf: BufferShelf;
  readonly #deadline: Deadline;
  readonly #sender: RequestSender;
  readonly #parser = new ResponseHeadParser();
  readonly #fields = new HeaderFields();
  readonly #listener = new CancellationListener((reason) => this.#fail(cancelledError(reason)));
  #buffer: Bytes;
  #filled = 0;
  #state: "idle" | "head" | "content" | "tunnel" | "closed" = "idle";
  #served = 0;
  #interim = 0;
  #trip: Trip | null = null;
  #response: Http1Response | null = null;
  /** Whether no bytes followed the content, so that the next bytes are the next response. */
  #clean = false;

  constructor({ socket, owner, clock, wheel, shelf, client = "" }: ConnectionInit) {
    this.client = client;
    this.#socket = socket;
    this.#owner = owner;
    this.#clock = clock;
    this.#shelf = shelf;
    this.#buffer = shelf.take(SMALL_BUFFER);
    this.#deadline = wheel.deadline(() => this.#expired());
    this.#sender = new RequestSender({ socket, owner: this, wheel, shelf });
    this.#read();
  }

  /** Sends a request, and passes the response to its options. */
  start(trip: Trip, now?: number): void {
    this.#trip = trip;
    this.#state = "head";
    this.#now = now;
    try {
      this.#sender.send(trip.request);
    } catch (error) {
      return this.#refuse(trip, error as ProxyError);
    }
    this.#now = undefined;
    trip.options.cancellation.add(this.#listener);
  }

  /** Time limit of the next piece of content. */
  #idleMs = 0;

  /** The current time as read by the caller of `start`, until the request is written. */
  #now: number | undefined = undefined;

  // Nothing was sent, so the connection can be reused.
  #refuse(trip: Trip, error: ProxyError): void {
    this.#becomeIdle();
    this.#owner.released(this);
    trip.options.failed(error);
  }

  /** @internal */
  requestLeft(): void {
    if (this.#state === "head") this.#arm(this.#trip!.options.timeouts.responseMs, this.#now);
  }

  /** @internal */
  uploadProgressed(): void {
    if (this.#trip === null) return;
    const { timeouts } = this.#trip.options;
    if (this.#state === "head") {
      this.#arm(this.#sender.waitsForContinue ? timeouts.responseMs : timeouts.idleMs);
    }
  }

  /** @internal */
  requestFailed(error: ProxyError): void {
    this.#fail(error);
  }

  #read(): void {
    const buffer = this.#buffer;
    this.#socket.read(this.#filled === 0 ? buffer : buffer.subarray(this.#filled))
      .then(this.#onRead, this.#onReadFailed);
  }

  readonly #onRead = (count: number | null): void => {
    if (this.#state !== "head" || count === null) return this.#onReadFailed(undefined);
    if (!this.#sender.hasWritten) {
      // No response is possible before its request was sent (RFC 9112 section 9.2).
      return this.#connectionLost(
        this.#trip!,
        this.#failure("http_protocol_error", "bytes came before the request"),
      );
    }
    try {
      this.#readHead(count);
    } catch (error) {
      this.#fail(error as ProxyError);
    }
  };

  readonly #onReadFailed = (error: unknown): void => {
    if (this.#state === "head") {
      const found = "the server closed the connection";
      this.#connectionLost(this.#trip!, this.#failure("connection_terminated", found, error));
    }
    if (this.#state === "idle") this.close("server");
  };

  #readHead(count: number): void {
    const parser = this.#parser;
    this.#filled += count;
    while (parser.parse(this.#buffer, this.#filled)) {
      const { status } = parser;
      if (status >= 200) return this.#respond();
      if (status === 101) {
        if (this.#trip!.request.upgrade === true) return this.#switchProtocol();
        throw malformedResponse("a switch of protocols that was not asked for");
      }
      if (++this.#interim > MAX_INTERIM) throw malformedResponse("interim responses without end");
      this.#takeInterim(status);
      this.#buffer.copyWithin(0, parser.bodyStart, this.#filled);
      this.#filled -= parser.bodyStart;
      parser.begin(0);
    }
    if (this.#filled === this.#buffer.length) this.#grow();
    this.#read();
  }

  #takeInterim(status: number): void {
    if (status === 100) return this.#sender.continue();
    const { options } = this.#trip!;
    if (options.interim === undefined) return;
    this.#fields.begin(this.#parser.lines);
    options.interim(status, this.#fields);
  }

  #grow(): void {
    const grown = new Uint8Array(this.#buffer.length * 2);
    grown.set(this.#buffer);
    this.#buffer = grown;
  }

  #respond(): void {
    const parser = this.#parser;
    const { request, options } = this.#trip!;
    this.#fields.begin(parser.lines);
    // The chunked coding is decoded here, so filters of the response must not see it.
    if (parser.chunked) this.#fields.delete("transfer-encoding");
    // A length without content (HEAD, 304) is forwarded unchanged, once.
    if (parser.lengths > 1) this.#fields.set("content-length", String(parser.contentLength));
    const content = this.#takeContent(request.method, options);
    this.#state = "content";
    this.#stopWaiting();
    options.responded(
      this.#response = new Http1Response(this, parser.status, this.#fields, parser.reason, content),
    );
  }

  #takeContent(method: string, options: SendOptions): ServerContent | WholeBody | null {
    const parser = this.#parser;
    const { bodyStart, contentLength, status } = parser;
    const filled = this.#filled;
    const end = bodyStart + contentLength;
    // Most content arrives with its head, and needs no reader.
    if (contentLength > 0 && end <= filled && mayReceiveContent(method, status)) {
      this.#clean = end === filled;
      return new WholeBody(this.#buffer.subarray(bodyStart, end));
    }
    const reader = responseBodyReader(parser, method);
    if (reader === null) {
      // A server that announces content with 204 may send it, and it would be read as the next response.
      const announced = status === 204 && (parser.chunked || contentLength > 0);
      this.#clean = filled === bodyStart && !announced;
      return null;
    }
    reader.read(this.#buffer, bodyStart, filled);
    this.#clean = reader.done && reader.next === filled;
    const { contentStart, contentEnd } = reader;
    const first = contentEnd > contentStart || reader.done
      ? this.#buffer.subarray(contentStart, contentEnd)
      : null;
    const length = parser.chunked || contentLength === -1 ? null : contentLength;
    this.#idleMs = length === null ? responseIdleMs(this.#fields, options.timeouts) : options.timeouts.idleMs;
    return new ServerContent({
      owner: this,
      socket: this.#socket,
      shelf: this.#shelf,
      reader,
      first,
      length,
    });
  }

  // The connection speaks another protocol from here on. It counts for the pool until it is closed.
  #switchProtocol(): void {
    const { options } = this.#trip!;
    const parser = this.#parser;
    const { bodyStart, status } = parser;
    const first = this.#buffer.slice(bodyStart, this.#filled);
    this.#fields.begin(parser.lines);
    this.#listener[Symbol.dispose]();
    this.#deadline.clear();
    this.#state = "tunnel";
    const tunnel = { socket: this.#socket, first, [Symbol.dispose]: () => this.close("tunnel") };
    const response = new Http1Response(this, status, this.#fields, parser.reason, null, tunnel);
    this.#trip = null;
    options.responded(response);
  }

  /** @internal A read waits for content: the previous piece is no longer lent. */
  contentAwaited(): void {
    if (this.#trip !== null) this.#arm(this.#idleMs);
  }

  /** @internal Content was received; its reader may take any time. */
  contentReceived(): void {
    this.#stopWaiting();
  }

  /** @internal The content was read to its end; `clean` unless bytes followed it. */
  contentEnded(clean: boolean): void {
    this.#clean = clean;
  }

  /**
   * The response is no longer used: the connection serves the next exchange, or is closed.
   *
   * @internal
   */
  release(response: Http1Response, keepsRequest: boolean): void {
    if (response !== this.#response) return;
    this.#response = null;
    if (!this.#clean || !this.#parser.persistent || this.#sender.busy) {
      // A server that has already responded does not want the rest of the request.
      if (this.#sender.busy && !keepsRequest) this.#trip?.request.body?.cancel();
      const reason = this.#state === "tunnel" ? "tunnel" : "not_reusable";
      this.#close();
      this.#owner.closed(this, reason);
      return;
    }
    this.#listener[Symbol.dispose]();
    this.#served++;
    this.#filled = this.#interim = 0;
    this.#parser.begin(0);
    // A large head is no reason to keep a large buffer.
    if (this.#buffer.length > SMALL_BUFFER) this.#buffer = this.#shelf.take(SMALL_BUFFER);
    this.#becomeIdle();
    this.#read();
    this.#owner.released(this);
  }

  #becomeIdle(): void {
    this.#deadline.clear();
    this.#trip = null;
    this.#state = "idle";
  }

  /** Whether any part of a response was received. */
  get #responseBegun(): boolean {
    return this.#filled > 0 || this.#interim > 0;
  }

  #connectionLost(trip: Trip, error: UpstreamError): void {
    const again = this.#served > 0 && !this.#responseBegun && !trip.retried;
    if (again && trip.options.maySendAgain?.(error) === true) {
      this.#close();
      trip.retried = true;
      this.#owner.stale(this, trip);
    } else {
      this.#fail(error);
    }
  }

  #failure(code: UpstreamErrorCode, found: string, cause?: unknown): UpstreamError {
    return new UpstreamError(`Cannot read the response: ${found}`, {
      code,
      phase: this.#state !== "head"
        ? "answered"
        : this.#sender.unsent && !this.#responseBegun
        ? "unsent"
        : "sent",
      reused: this.#served > 0,
      cause,
    });
  }

  // Ends the exchange with an error, and closes the connection.
  #fail(error: ProxyError, reason: ConnectionEnd = "failed"): void {
    const trip = this.#trip;
    const response = this.#response;
    this.#close();
    this.#owner.closed(this, reason);
    if (response !== null) response.fail(error);
    else trip?.options.failed(error);
  }

  // Only the deadline of the whole exchange continues.
  #stopWaiting(): void {
    if (this.#trip!.dueAt === Infinity) this.#deadline.clear();
    else this.#arm(Infinity);
  }

  #arm(delayMs: number, known?: number): void {
    const { dueAt } = this.#trip!;
    const now = known ?? this.#clock.now();
    this.#deadline.set(dueAt === Infinity ? delayMs : Math.min(delayMs, Math.max(dueAt - now, 0)), now);
  }

  #expired(): void {
    const trip = this.#trip;
    if (trip === null) return;
    if (this.#sender.waitsForClient) {
      return this.#fail(new RequestError("The request body came too slowly", 408));
    }
    const late = trip.dueAt !== Infinity && this.#clock.now() >= trip.dueAt;
    this.#fail(
      this.#failure(
        "http_response_timeout",
        late ? "the exchange took longer than it may" : "the server took longer than it may",
      ),
    );
  }

  #close(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#deadline.clear();
    this.#listener[Symbol.dispose]();
    this.#sender.stop();
    this.#trip = this.#response = null;
    closeSocket(this.#socket);
  }

  /** Closes the connection; an exchange on it fails. */
  close(reason: ConnectionEnd): void {
    if (this.#state === "closed") return;
    if (this.#trip !== null) {
      this.#fail(this.#failure("connection_terminated", "the transport was closed"), reason);
    } else {
      this.#close();
      this.#owner.closed(this, reason);
    }
  }

  [Symbol.dispose](): void {
    this.close("retired");
  }
}

/** The connection of a response. */
interface ResponseOwner {
  release(response: Http1Response, keepsRequest: boolean): void;
}

/** A response of a server. */
class Http1Response implements ServerResponse {
  status: number;
  statusText: string;
  readonly headers: HeaderFields;
  readonly body: ServerContent | WholeBody | null;
  readonly tunnel: Tunnel | undefined;
  readonly #owner: ResponseOwner;

  constructor(
    owner: ResponseOwner,
    status: number,
    headers: HeaderFields,
    statusText: string,
    body: ServerContent | WholeBody | null,
    tunnel?: Tunnel,
  ) {
    this.#owner = owner;
    this.status = status;
    this.headers = headers;
    this.statusText = statusText;
    this.body = body;
    this.tunnel = tunnel;
  }

  release(keepsRequest = false): void {
    this.body?.cancel();
    this.tunnel?.[Symbol.dispose]();
    this.#owner.release(this, keepsRequest);
  }

  /** Aborts the content, so that it is not taken for complete. */
  fail(error: ProxyError): void {
    if (this.body instanceof ServerContent) this.body.fail(error);
    else this.body?.cancel();
  }
}

// The sending half of a connection.

/** The connection of a request sender. */
interface RequestSenderOwner {
  /** More of the request was written, or all of it: now the response is awaited. */
  requestLeft(): void;
  /** Content was written, or its next piece is awaited. */
  uploadProgressed(): void;
  /** The request cannot be sent completely, for a reason other than the socket. */
  requestFailed(error: ProxyError): void;
}

/** Parts of a {@linkcode RequestSender}. */
interface RequestSenderInit {
  readonly socket: Deno.Conn;
  readonly owner: RequestSenderOwner;
  readonly wheel: DeadlineWheel;
  readonly shelf: BufferShelf;
}

/** Writes requests, one after another, and knows how much of the current one was written. */
class RequestSender {
  readonly #init: RequestSenderInit;
  readonly #writer: HeadWriter;
  #upload: Upload | null = null;
  #writing: Bytes | null = null;
  #unwritten: Bytes | null = null;
  #begun = false;
  #sent = 0;

  constructor(init: RequestSenderInit) {
    this.#init = init;
    this.#writer = new HeadWriter(NOTHING);
  }

  /**
   * Starts to send.
   *
   * @throws {UpstreamError} `http_request_error` when the request cannot be written; then nothing was sent
   */
  send(request: OutgoingRequest): void {
    this.#sent = 0;
    this.#begun = false;
    const writer = this.#writer;
    const { shelf, owner } = this.#init;
    writer.begin(shelf.take(SMALL_BUFFER));
    writeHead(writer, request);
    const { body } = request;
    if (body !== null) {
      const { whole } = body;
      if (whole === null) return this.#startUpload(request, body);
      if (body.length === null) {
        if (whole.length > ONE_WRITE_BYTES) return this.#startUpload(request, body);
        if (whole.length > 0) writeChunk(writer, whole);
        writeLastChunk(writer, body.trailers);
      } else if (whole.length <= ONE_WRITE_BYTES) writer.copy(whole, 0, whole.length);
      else {
        writer.copy(whole, 0, ONE_WRITE_BYTES);
        this.#unwritten = whole.subarray(ONE_WRITE_BYTES);
      }
    }
    owner.requestLeft();
    this.#write(writer.bytes.subarray(0, writer.length));
  }

  /** Whether some of the request is known to be written. */
  get hasWritten(): boolean {
    return this.#sent > 0 || (this.#upload !== null && this.#upload.written > 0);
  }

  /** Whether nothing of the request can have reached the server. */
  get unsent(): boolean {
    return !this.#begun && this.#upload?.begun !== true;
  }

  /** Whether some of the request is not yet written. */
  get busy(): boolean {
    return this.#upload !== null || this.#writing !== null;
  }

  /** Whether the request waits for content of the client. */
  get waitsForClient(): boolean {
    return this.#upload?.waitingFor === "client";
  }

  /** Whether the content waits for a 100 (Continue). */
  get waitsForContinue(): boolean {
    return this.#upload?.waitingFor === "continue";
  }

  /** The server has sent 100 (Continue). */
  continue(): void {
    this.#upload?.continue();
  }

  /** Sends nothing more. */
  stop(): void {
    this.#writing = this.#unwritten = null;
    this.#upload?.stop();
    this.#upload = null;
  }

  #write(bytes: Bytes): void {
    this.#writing = bytes;
    this.#begun = true;
    this.#init.socket.write(bytes).then(this.#onWritten, this.#onWriteFailed);
  }

  readonly #onWritten = (count: number): void => {
    const bytes = this.#writing;
    if (bytes === null) return;
    this.#sent += count;
    const rest = count < bytes.length ? bytes.subarray(count) : this.#unwritten;
    if (count === bytes.length) this.#writing = this.#unwritten = null;
    if (rest === null) return this.#returnBuffer();
    this.#init.owner.requestLeft();
    this.#write(rest);
  };

  // The read decides the outcome of the exchange: the server may have responded before it closed.
  readonly #onWriteFailed = (): void => {
    if (this.#sent === 0) this.#begun = false;
  };

  // The buffer is returned only when no write uses it.
  #returnBuffer(): void {
    this.#init.shelf.give(this.#writer.bytes);
    this.#writer.begin(NOTHING);
  }

  #startUpload(request: OutgoingRequest, body: RequestBody): void {
    const { socket, wheel, owner } = this.#init;
    const upload = new Upload({
      socket,
      writer: this.#writer,
      body,
      wheel,
      expectsContinue: request.expectsContinue === true,
      onProgress: () => owner.uploadProgressed(),
    });
    this.#upload = upload;
    upload.run().then((complete) => {
      if (!complete || this.#upload !== upload) return;
      this.#upload = null;
      this.#begun = true;
      this.#sent = upload.written;
      this.#returnBuffer();
      owner.requestLeft();
    }, (error) => {
      // The read handles a failure of the socket, as in #onWriteFailed.
      if (this.#upload === upload && error instanceof ProxyError) owner.requestFailed(error);
    });
  }
}

const NOTHING: Bytes = new Uint8Array(0);

function writeHead(writer: HeadWriter, request: OutgoingRequest): void {
  const { method, headers, body, targetBytes = null } = request;
  try {
    if (method === "CONNECT") throw new UnwritableHeadError("the method CONNECT, which makes a tunnel");
    if (targetBytes === null) writer.requestLine(method, request.target);
    else {
      const { lines: { bytes }, targetStart, targetEnd } = targetBytes;
      writer.requestLineOf(method, bytes, targetStart, targetEnd);
    }
    writer.fields(headers);
  } catch (error) {
    if (!(error instanceof UnwritableHeadError)) throw error;
    throw new UpstreamError(`Cannot send the request: it has ${error.message}`, {
      code: "http_request_error",
      phase: "unsent",
    });
  }
  if (body !== null) {
    // With the received framing: a length that the client did not send would depend on how its bytes were split.
    const { length } = body;
    if (length === null) writer.text("transfer-encoding: chunked\r\n");
    else writer.contentLength(length);
    if (request.expectsContinue === true && body.whole === null) writer.text("expect: 100-continue\r\n");
  } else if (method === "POST" || method === "PUT" || method === "PATCH") writer.contentLength(0);
  writer.end();
}
