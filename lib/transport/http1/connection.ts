/** One connection to a server: one exchange after the other. */

import type { Clock } from "../../core/clock.ts";
import type { Deadline, DeadlineWheel } from "../../core/deadline_wheel.ts";
import {
  ClientGoneError,
  ProxyError,
  RequestError,
  UpstreamError,
  type UpstreamErrorCode,
} from "../../core/errors.ts";
import { HeaderFields } from "../../http/header_fields.ts";
import type { RequestBody, UpstreamResponse } from "../transport.ts";
import type { BodyReader } from "./body_reader.ts";
import { BodyStream, type BodyStreamOwner, type PendingRead } from "./body_stream.ts";
import { closeSocket } from "./close_socket.ts";
import { HeadParser } from "./head_parser.ts";
import { HeadWriter } from "./head_writer.ts";
import { LengthReader } from "./length_reader.ts";
import { protocolError } from "./protocol_error.ts";
import { responseBodyReader } from "./response_framing.ts";
import { cancelledError, type RoundTrip } from "./round_trip.ts";
import { Upload } from "./upload.ts";

/** Size of the buffer that an idle connection keeps. */
const BUFFER_BYTES = 16 * 1024;
/** Bodies of a known length up to this are waited for, and handed over whole. */
const WHOLE_BODY_BYTES = 64 * 1024;
/** ... but not longer than this: then what has come is handed over, and the rest as a stream. */
const WHOLE_BODY_MS = 50;
/** How much of a request body in memory leaves in one write with its head. */
const ONE_WRITE_BYTES = 64 * 1024;
/** Most interim responses before the final one. */
const MAX_INTERIM = 16;

type Bytes = Uint8Array<ArrayBuffer>;

/** What a connection has to tell its pool. */
export interface ConnectionOwner {
  /** The connection is ready for another exchange. */
  released(connection: Connection): void;
  /** The connection is closed. */
  closed(connection: Connection): void;
  /** The connection is closed and turned out stale; its exchange starts again on a new one. */
  stale(connection: Connection, trip: RoundTrip): void;
}

/** What a {@linkcode Connection} is made of. */
export interface ConnectionInit {
  readonly socket: Deno.Conn;
  readonly owner: ConnectionOwner;
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
}

/** A socket, the exchange on it, and the read that is always pending. */
export class Connection implements BodyStreamOwner, Disposable {
  /** When it became idle, in the clock's milliseconds. */
  idleSince = 0;
  readonly #socket: Deno.Conn;
  readonly #owner: ConnectionOwner;
  readonly #clock: Clock;
  readonly #wheel: DeadlineWheel;
  readonly #deadline: Deadline;
  readonly #head = new HeadParser();
  readonly #writer = new HeadWriter();
  #buffer: Bytes = new Uint8Array(BUFFER_BYTES);
  #filled = 0;
  #state: "idle" | "head" | "whole" | "stream" | "closed" = "idle";
  #served = 0;
  #interim = 0;
  #trip: RoundTrip | null = null;
  #upload: Upload | null = null;
  #stream: BodyStream | null = null;
  #response: UpstreamResponse | null = null;
  #whole: Bytes | null = null;
  #wholeRead: PendingRead | null = null;
  #writing: Bytes | null = null;
  #unwritten: Bytes | null = null;
  #writeBegun = false;
  #sent = 0;
  #paused = false;

  constructor({ socket, owner, clock, wheel }: ConnectionInit) {
    this.#socket = socket;
    this.#owner = owner;
    this.#clock = clock;
    this.#wheel = wheel;
    this.#deadline = wheel.deadline(() => this.#expired());
    this.#readHead();
  }

  /** Sends a request, and settles its round trip. */
  start(trip: RoundTrip): void {
    this.#trip = trip;
    this.#state = "head";
    this.#interim = 0;
    this.#sent = 0;
    this.#writeBegun = false;
    this.#head.begin(0);
    try {
      this.#writer.write(trip.request);
      this.#send(trip);
    } catch (error) {
      return this.#refuse(trip, error as ProxyError);
    }
    trip.options.cancellation.listen(this.#onCancel);
  }

  // Nothing was sent of a request that cannot be: the connection is as good as before.
  #refuse(trip: RoundTrip, error: ProxyError): void {
    this.#becomeIdle();
    this.#owner.released(this);
    trip.reject(error);
  }

  #send(trip: RoundTrip): void {
    const { body } = trip.request;
    const writer = this.#writer;
    if (body !== null) {
      const { bytes } = body;
      if (bytes === null) return this.#startUpload(trip, body);
      writer.append(bytes.length > ONE_WRITE_BYTES ? bytes.subarray(0, ONE_WRITE_BYTES) : bytes);
      if (bytes.length > ONE_WRITE_BYTES) this.#unwritten = bytes.subarray(ONE_WRITE_BYTES);
    }
    this.#arm(trip.options.timeouts.responseMs);
    this.#write(writer.bytes.subarray(0, writer.length));
  }

  #write(bytes: Bytes): void {
    this.#writing = bytes;
    this.#writeBegun = true;
    this.#socket.write(bytes).then(this.#onWritten, this.#onWriteFailed);
  }

  readonly #onWritten = (count: number): void => {
    const bytes = this.#writing;
    if (bytes === null || this.#state === "closed") return;
    this.#sent += count;
    const rest = count < bytes.length ? bytes.subarray(count) : this.#unwritten;
    if (count === bytes.length) this.#writing = this.#unwritten = null;
    if (rest === null) return;
    if (this.#state === "head") this.#arm(this.#trip!.options.timeouts.responseMs);
    this.#write(rest);
  };

  // The read tells what became of the exchange: the server may have answered before it closed.
  readonly #onWriteFailed = (): void => {
    if (this.#sent === 0) this.#writeBegun = false;
  };

  #startUpload(trip: RoundTrip, body: RequestBody): void {
    const upload = new Upload({
      socket: this.#socket,
      head: this.#writer,
      body,
      wheel: this.#wheel,
      onProgress: () => this.#uploadProgressed(),
    });
    this.#upload = upload;
    upload.run().then((complete) => {
      if (!complete || this.#upload !== upload) return;
      this.#upload = null;
      this.#writeBegun = true;
      this.#sent = upload.written;
      if (this.#state === "head") this.#arm(trip.options.timeouts.responseMs);
    }, (error) => {
      // A failure of the socket is left to the read, as in #onWriteFailed.
      if (this.#upload === upload && error instanceof ProxyError) this.#fail(error);
    });
  }

  #uploadProgressed(): void {
    // A small answer that is awaited whole has a deadline of its own.
    if (this.#trip !== null && this.#state !== "whole") this.#arm(this.#trip.options.timeouts.idleMs);
  }

  /** @internal */
  read(buffer: Bytes): Promise<number | null> {
    return this.#socket.read(buffer);
  }

  #readHead(): void {
    const target = this.#filled === 0 ? this.#buffer : this.#buffer.subarray(this.#filled);
    this.#socket.read(target).then(this.#onRead, this.#onReadFailed);
  }

  readonly #onRead = (count: number | null): void => {
    if (this.#state !== "head" || count === null) this.#onReadFailed(undefined);
    else if (this.#asked) this.#readOn(count);
    // Whatever it is, it is not the answer to a request that has not left (RFC 9112 section 9.2).
    else this.#lost(this.#trip!, this.#failure("http_protocol_error", "bytes came before the request"));
  };

  readonly #onReadFailed = (error: unknown): void => {
    if (this.#state === "head") {
      const found = "the server closed the connection";
      this.#lost(this.#trip!, this.#failure("connection_terminated", found, error));
    }
    if (this.#state === "idle") this[Symbol.dispose]();
  };

  #readOn(count: number): void {
    this.#filled += count;
    try {
      if (!this.#parseHead()) return this.#readMore();
      this.#startBody();
    } catch (error) {
      this.#fail(error as ProxyError);
    }
  }

  #parseHead(): boolean {
    const head = this.#head;
    while (head.parse(this.#buffer, this.#filled)) {
      if (head.status >= 200) return true;
      if (head.status === 101) throw protocolError("a switch of protocols that was not asked for");
      if (++this.#interim > MAX_INTERIM) throw protocolError("interim responses without end");
      this.#buffer.copyWithin(0, head.bodyStart, this.#filled);
      this.#filled -= head.bodyStart;
      head.begin(0);
    }
    return false;
  }

  #readMore(): void {
    if (this.#filled === this.#buffer.length) {
      const grown = new Uint8Array(this.#buffer.length * 2);
      grown.set(this.#buffer);
      this.#buffer = grown;
    }
    this.#readHead();
  }

  #startBody(): void {
    const head = this.#head;
    const reader = responseBodyReader(head, this.#trip!.request.method);
    const { status, statusText } = head;
    const response: UpstreamResponse = {
      status,
      statusText,
      headers: HeaderFields.adopt(head.list),
      body: null,
    };
    if (reader === null) {
      // A server that announces content with 204 may send it, and it would be taken for the next answer.
      const announced = status === 204 && (head.chunked || head.contentLength > 0);
      return this.#finish(response, this.#filled === head.bodyStart && !announced);
    }
    const expected = reader.atMost;
    reader.read(this.#buffer, head.bodyStart, this.#filled);
    const { contentStart, contentEnd } = reader;
    if (reader.done) {
      response.body = this.#buffer.slice(contentStart, contentEnd);
      return this.#finish(response, reader.next === this.#filled);
    }
    if (expected <= WHOLE_BODY_BYTES) {
      const whole = new Uint8Array(expected);
      whole.set(this.#buffer.subarray(contentStart, contentEnd));
      return this.#awaitWhole(response, whole, contentEnd - contentStart);
    }
    const first = contentEnd > contentStart ? this.#buffer.slice(contentStart, contentEnd) : null;
    this.#startStream(response, reader, { first, pending: null });
  }

  #awaitWhole(response: UpstreamResponse, whole: Bytes, filled: number): void {
    this.#state = "whole";
    this.#response = response;
    this.#whole = whole;
    this.#filled = filled;
    this.#arm(WHOLE_BODY_MS);
    this.#readWhole();
  }

  #readWhole(): void {
    const buffer = this.#whole!.subarray(this.#filled);
    const count = this.#socket.read(buffer);
    this.#wholeRead = { buffer, count };
    count.then(this.#onWholeRead, this.#onWholeFailed);
  }

  readonly #onWholeRead = (count: number | null): void => {
    if (this.#state !== "whole") return;
    if (count === null) return this.#onWholeFailed(undefined);
    this.#filled += count;
    const whole = this.#whole!;
    if (this.#filled < whole.length) return this.#readWhole();
    const response = this.#response!;
    response.body = whole;
    this.#finish(response, true);
  };

  readonly #onWholeFailed = (cause: unknown): void => {
    if (this.#state !== "whole") return;
    this.#fail(
      this.#failure("http_response_incomplete", "the connection was lost in the middle of the body", cause),
    );
  };

  #startStream(
    response: UpstreamResponse,
    reader: BodyReader,
    { first, pending }: { first: Bytes | null; pending: PendingRead | null },
  ): void {
    const trip = this.#trip!;
    this.#state = "stream";
    this.#stream = new BodyStream({ owner: this, reader, first, pending, options: trip.options });
    response.body = new ReadableStream(this.#stream, { highWaterMark: 0 });
    if (first !== null) this.paused();
    trip.resolve(response);
  }

  /** @internal */
  progressed(): void {
    this.#paused = false;
    if (this.#trip !== null) this.#arm(this.#trip.options.timeouts.idleMs);
  }

  /** @internal */
  paused(): void {
    if (this.#trip === null) return;
    this.#paused = true;
    this.#arm(this.#trip.options.timeouts.idleMs);
  }

  /** @internal */
  bodyEnded(clean: boolean): void {
    this.#settle(clean);
  }

  /** @internal */
  bodyBroken(): void {
    this.#close();
    this.#owner.closed(this);
  }

  #finish(response: UpstreamResponse, clean: boolean): void {
    const trip = this.#trip!;
    this.#settle(clean);
    trip.resolve(response);
  }

  // The response is complete: the connection serves the next one, or is closed.
  #settle(clean: boolean): void {
    const { cancellation } = this.#trip!.options;
    if (!clean || !this.#head.persistent || this.#upload !== null || this.#writing !== null) {
      this.#close();
      this.#owner.closed(this);
      return;
    }
    cancellation.listen(null);
    this.#served++;
    this.#filled = 0;
    if (this.#buffer.length > BUFFER_BYTES) this.#buffer = new Uint8Array(BUFFER_BYTES);
    this.#becomeIdle();
    this.#readHead();
    this.#owner.released(this);
  }

  #becomeIdle(): void {
    this.#deadline.clear();
    this.#writer.trim();
    this.#trip =
      this.#stream =
      this.#response =
      this.#whole =
      this.#wholeRead =
        null;
    this.#state = "idle";
  }

  #lost(trip: RoundTrip, error: UpstreamError): void {
    if (this.#served > 0 && !this.#heard && !trip.retried && (trip.repeatable || this.#untouched)) {
      this.#close();
      trip.retried = true;
      this.#owner.stale(this, trip);
    } else {
      this.#fail(error);
    }
  }

  // Whether any of the request is known to have left.
  get #asked(): boolean {
    return this.#sent > 0 || (this.#upload !== null && this.#upload.written > 0);
  }

  // Whether the server has begun to answer: then it has surely seen the request.
  get #heard(): boolean {
    return this.#filled > 0 || this.#interim > 0;
  }

  get #unsent(): boolean {
    return !this.#writeBegun && this.#upload?.begun !== true;
  }

  // Nothing was sent, and nothing of the request's body was taken that could not be read again.
  get #untouched(): boolean {
    return this.#unsent && this.#upload?.tookContent !== true;
  }

  #failure(code: UpstreamErrorCode, found: string, cause?: unknown): UpstreamError {
    return new UpstreamError(`Cannot read the response: ${found}`, {
      code,
      phase: this.#state !== "head" ? "answered" : this.#unsent && !this.#heard ? "unsent" : "sent",
      reused: this.#served > 0,
      cause,
    });
  }

  // Ends the exchange with an error, and the connection with it.
  #fail(error: ProxyError): void {
    const trip = this.#trip;
    const stream = this.#stream;
    if (stream !== null) return stream.fail(error);
    this.#close();
    this.#owner.closed(this);
    trip?.reject(error);
  }

  readonly #onCancel = (reason: unknown): void => {
    if (this.#trip !== null) this.#fail(cancelledError(reason));
  };

  #arm(delayMs: number): void {
    const { dueAt } = this.#trip!;
    this.#deadline.set(dueAt === Infinity ? delayMs : Math.min(delayMs, dueAt - this.#clock.now()));
  }

  #expired(): void {
    const trip = this.#trip;
    if (trip === null) return;
    if (trip.dueAt !== Infinity && this.#clock.now() >= trip.dueAt) {
      return this.#fail(this.#failure("http_response_timeout", "the exchange took longer than it may"));
    }
    if (this.#state === "whole") return this.#streamTheRest();
    if (this.#upload?.waitingFor === "client") {
      return this.#fail(new RequestError("The request body came too slowly", 408));
    }
    if (this.#paused) return this.#fail(new ClientGoneError("The client took the response too slowly"));
    this.#fail(this.#failure("http_response_timeout", "the server took longer than it may"));
  }

  #streamTheRest(): void {
    const whole = this.#whole!;
    const first = this.#filled > 0 ? whole.slice(0, this.#filled) : null;
    const reader = new LengthReader(whole.length - this.#filled);
    this.#startStream(this.#response!, reader, { first, pending: this.#wholeRead });
  }

  #close(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#deadline.clear();
    this.#trip?.options.cancellation.listen(null);
    this.#upload?.stop();
    this.#upload = null;
    this.#trip = null;
    closeSocket(this.#socket);
  }

  /** Closes the connection; an exchange on it fails. */
  [Symbol.dispose](): void {
    if (this.#state === "closed") return;
    if (this.#trip !== null) {
      this.#fail(this.#failure("connection_terminated", "the transport was closed"));
    } else {
      this.#close();
      this.#owner.closed(this);
    }
  }
}
