/** One connection to a server: a socket with many streams. */

import type { Clock } from "../../core/clock.ts";
import type { Deadline, DeadlineWheel } from "../../core/cancellation.ts";
import type { UpstreamErrorCode } from "../../core/errors.ts";
import type { ConnectionEnd } from "../../observe/metrics/meters.ts";
import type { Bytes } from "../../http/message.ts";
import { type BufferShelf, LARGE_BUFFER } from "../../http1/head_writer.ts";
import { type ConnectionOwner, Http2Connection } from "../../http2/connection.ts";
import { type Http2Error, MAX_31_BITS } from "../../http2/frame_type.ts";
import type { HeadShelf } from "../../http2/received_head.ts";
import type { Http2Stream, StreamOwner } from "../../http2/stream.ts";
import type { Trip } from "../http1/connection.ts";
import { closeSocket } from "../http1/dial.ts";
import type { ConnectionFailure, ExchangeHost, Http2Exchange } from "./http2_exchange.ts";

/** Limits of the head of a response: those of HTTP/1.1. */
const MAX_HEAD_BYTES = 64 * 1024;
const MAX_FIELDS = 200;
/** Most unread content of one response. With a round trip of 20 ms it limits a response to 12 MB/s. */
const STREAM_WINDOW = 256 * 1024;
/** A connection that was silent for so long is checked before it gets a request. */
const SILENCE_MS = 1000;
/** How long the check may take; a new connection costs less than waiting longer. */
const PONG_MS = 1000;
/** After so many resets the connection gets no more requests: servers close connections for less than a thousand. */
const MAX_RESETS = 100;

/** The owner of the connections. */
export interface ServerConnectionOwner {
  /** The connection may have room for another request, or has become idle. */
  changed(connection: ServerConnection): void;
  /** The connection is closed. */
  closed(connection: ServerConnection, failure: ConnectionFailure, end: ConnectionEnd): void;
  /** Sends a request again. */
  again(trip: Trip): void;
  /** The exchange has ended and can serve another request. */
  over(exchange: Http2Exchange): void;
}

/** Parts of a {@linkcode ServerConnection}. */
interface ServerConnectionInit {
  readonly socket: Deno.Conn;
  readonly secure: boolean;
  readonly owner: ServerConnectionOwner;
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
  readonly shelf: BufferShelf;
  readonly heads: HeadShelf;
  /** Most requests at the same time. */
  readonly maxStreams: number;
  /** Deadline of the SETTINGS of the server. */
  readonly connectMs: number;
}

/**
 * Reads and writes for all streams. The output of one turn of the event loop is sent in one write, and nothing more
 * is written until the socket has accepted it.
 */
export class ServerConnection implements ConnectionOwner, ExchangeHost, Disposable {
  readonly secure: boolean;
  failure: ConnectionFailure | null = null;
  hasServed = false;
  readonly #socket: Deno.Conn;
  readonly #owner: ServerConnectionOwner;
  readonly #clock: Clock;
  readonly #deadline: Deadline;
  readonly #maxStreams: number;
  readonly #codec: Http2Connection;
  readonly #buffer: Bytes;
  #state: "connecting" | "ready" | "checking" | "closed" = "connecting";
  /** Whether it accepts no new requests. */
  #retired = false;
  #resets = 0;
  /**
   * Reset streams that may still count for the server, because it may not have read the reset; and how many of them
   * the next acknowledged PING covers.
   */
  #unconfirmedResets = 0;
  #resetsInPing = 0;
  #lastReceivedAt: number;
  #arrived: Http2Exchange[] = [];
  #changed = false;
  #receiving = false;
  #scheduled = false;
  #writing: Bytes | null = null;
  #written = 0;
  /** The last opened stream, the last stream that may have been sent, and the same before the current write. */
  #lastStream = 0;
  #leftStream = 0;
  #leftBefore = 0;

  constructor(
    { socket, secure, owner, clock, wheel, shelf, heads, maxStreams, connectMs }: ServerConnectionInit,
  ) {
    this.secure = secure;
    this.#socket = socket;
    this.#owner = owner;
    this.#clock = clock;
    this.#maxStreams = maxStreams;
    this.#lastReceivedAt = clock.now();
    this.#buffer = shelf.take(LARGE_BUFFER);
    this.#codec = new Http2Connection({
      side: "client",
      owner: this,
      buffers: shelf,
      heads,
      now: () => clock.now(),
      maxHeadBytes: MAX_HEAD_BYTES,
      maxFields: MAX_FIELDS,
      // A client that does not read must not block others: twice the sum of all stream windows, since the window is
      // updated after half of it was used.
      streamWindow: STREAM_WINDOW,
      connectionWindow: Math.min(2 * maxStreams * STREAM_WINDOW, MAX_31_BITS),
    });
    this.#deadline = wheel.deadline(() => this.#expired());
    this.#deadline.set(connectMs);
    this.#codec.begin();
    this.#read();
  }

  /** Whether the SETTINGS of the server were received. */
  get isOpen(): boolean {
    return this.#state === "ready" || this.#state === "checking";
  }

  get isClosed(): boolean {
    return this.#state === "closed";
  }

  /** When they were received, in the clock's milliseconds; `Infinity` before. */
  openedAt = Infinity;

  /** Whether the connection is being checked by a PING. */
  get isChecking(): boolean {
    return this.#state === "checking";
  }

  /** Whether it can serve another request, as far as known. */
  get hasRoom(): boolean {
    return this.#state === "ready" && !this.#retired && this.#codec.active < this.#maxStreams &&
      this.#codec.canOpen && !this.#mayBeFull;
  }

  /** Whether the server accepts WebSockets on streams (RFC 8441). */
  get takesWebSockets(): boolean {
    return this.#codec.peerExtendedConnect;
  }

  /** Whether it serves no request. */
  get isIdle(): boolean {
    return this.#state === "ready" && this.#codec.active === 0;
  }

  /** Most requests at the same time. */
  get capacity(): number {
    return Math.min(this.#maxStreams, this.#codec.peerMaxStreams);
  }

  /**
   * Whether a request may use it now. A silent connection is checked by a PING first, and its owner is called when
   * the server has responded.
   */
  isAlive(now: number): boolean {
    if (this.#codec.active > 0 || now - this.#lastReceivedAt < SILENCE_MS) return true;
    this.#state = "checking";
    this.#codec.ping();
    this.#deadline.set(PONG_MS, now);
    return false;
  }

  /** Keeps the idle connection for this long. */
  keep(idleMs: number): void {
    this.#deadline.set(idleMs);
  }

  // --- calls of exchanges ---------------------------------------------------------------------------------------------

  /** @internal */
  open(owner: StreamOwner): Http2Stream {
    const stream = this.#codec.open(owner);
    this.#lastStream = stream.id;
    if (this.#unconfirmedResets > 0) this.#confirmResets();
    return stream;
  }

  /** @internal */
  mayHaveLeft(stream: Http2Stream): boolean {
    return stream.id <= this.#leftStream;
  }

  /** @internal */
  arrived(exchange: Http2Exchange): void {
    this.#arrived.push(exchange);
  }

  /** @internal */
  wasReset(): void {
    if (++this.#resets >= MAX_RESETS) return this.retire();
    this.#unconfirmedResets++;
    this.#confirmResets();
  }

  // Node.js refuses a stream with ENHANCE_YOUR_CALM, which does not allow a retry, if it reads the head of the stream
  // together with the reset that made room for it.
  get #mayBeFull(): boolean {
    return this.#codec.active + this.#unconfirmedResets >= this.#codec.peerMaxStreams;
  }

  // Not before it matters: some gRPC servers close connections with too frequent PINGs.
  #confirmResets(): void {
    if (this.#resetsInPing > 0 || this.#unconfirmedResets === 0 || !this.#mayBeFull) return;
    this.#resetsInPing = this.#unconfirmedResets;
    this.#codec.ping();
  }

  /**
   * @internal If a server was silent for the whole time of a request, the connection may be dead: it gets no more
   * requests.
   */
  wasLate(since: number): void {
    if (this.#lastReceivedAt <= since || this.#codec.blockSince < Infinity) this.retire();
  }

  /** @internal */
  again(trip: Trip): void {
    this.#owner.again(trip);
  }

  /** @internal */
  over(exchange: Http2Exchange): void {
    this.#owner.over(exchange);
  }

  // --- calls of the codec ---------------------------------------------------------------------------------------------

  /** @internal */
  onOutput(): void {
    this.#schedule();
  }

  /** @internal Servers open no streams. */
  onStream(): void {}

  /** @internal */
  onStreamEnd(): void {
    this.#changed = true;
    if (!this.#receiving) this.#schedule();
  }

  /** @internal */
  onGoAway(): void {
    this.#changed = true;
  }

  /** @internal */
  onPong(): void {
    if (this.#resetsInPing > 0) {
      this.#unconfirmedResets -= this.#resetsInPing;
      this.#resetsInPing = 0;
      this.#changed = true;
      this.#confirmResets();
    }
    if (this.#state !== "checking") return;
    this.#state = "ready";
    this.#deadline.clear();
    this.#changed = true;
  }

  /** @internal */
  onFailure(error: Http2Error): void {
    this.#close("http_protocol_error", error.message, "failed");
  }

  // --- the socket -----------------------------------------------------------------------------------------------------

  #read(): void {
    this.#socket.read(this.#buffer).then(this.#onRead, this.#onReadFailed);
  }

  readonly #onRead = (count: number | null): void => {
    if (this.#state === "closed") return;
    if (count === null) {
      return this.#close("connection_terminated", "the server closed the connection", "server");
    }
    this.#lastReceivedAt = this.#clock.now();
    this.#receiving = true;
    this.#codec.receive(this.#buffer, 0, count);
    this.#receiving = false;
    if (this.#arrived.length > 0) this.#respond();
    if (this.#state === "connecting" && this.#codec.settled) this.#settled();
    if (this.isClosed) return;
    if (this.#changed) this.#notifyOwner();
    this.#read();
  };

  // Content that was read together with a head is parsed by now: most responses are complete.
  #respond(): void {
    const arrived = this.#arrived;
    this.#arrived = [];
    this.hasServed = true;
    for (const exchange of arrived) {
      try {
        exchange.respond();
      } catch {
        // A receiver that throws loses the response, and nothing else.
        exchange.abandon();
      }
    }
  }

  #settled(): void {
    if (this.capacity === 0) {
      return this.#close("connection_terminated", "the server allows no request on a connection", "failed");
    }
    this.#state = "ready";
    this.openedAt = this.#lastReceivedAt;
    this.#deadline.clear();
    this.#changed = true;
  }

  #notifyOwner(): void {
    this.#changed = false;
    if (this.#state === "closed") return;
    if (this.#codec.active === 0 && (this.#retired || this.#codec.goingAway)) {
      return this.end(this.#codec.goingAway ? "server" : "not_reusable");
    }
    this.#owner.changed(this);
  }

  readonly #onReadFailed = (error: unknown): void => {
    const found = error instanceof Error ? `the connection was lost (${error.message})` : "it was lost";
    this.#close("connection_terminated", found, this.#codec.active > 0 ? "failed" : "server");
  };

  #schedule(): void {
    if (this.#scheduled || this.#state === "closed") return;
    this.#scheduled = true;
    queueMicrotask(this.#onTurn);
  }

  readonly #onTurn = (): void => {
    this.#scheduled = false;
    if (this.#changed) this.#notifyOwner();
    this.#flush();
  };

  #flush(): void {
    if (this.#state === "closed" || this.#writing !== null || !this.#codec.hasOutput) return;
    this.#leftBefore = this.#leftStream;
    this.#leftStream = this.#lastStream;
    this.#writing = this.#codec.takeOutput();
    this.#written = 0;
    this.#write(this.#writing);
  }

  #write(bytes: Bytes): void {
    this.#socket.write(bytes).then(this.#onWritten, this.#onWriteFailed);
  }

  readonly #onWritten = (count: number): void => {
    const bytes = this.#writing!;
    this.#written += count;
    if (this.#state === "closed") return;
    if (this.#written < bytes.length) return this.#write(bytes.subarray(this.#written));
    this.#writing = null;
    this.#codec.outputWritten(bytes);
    this.#flush();
  };

  readonly #onWriteFailed = (error: unknown): void => {
    if (this.#state === "closed") return;
    if (this.#written === 0) this.#leftStream = this.#leftBefore;
    this.#onReadFailed(error);
  };

  // --- the end --------------------------------------------------------------------------------------------------------

  #expired(): void {
    switch (this.#state) {
      case "connecting":
        return this.#close("connection_timeout", "the server does not begin to speak HTTP/2", "failed");
      case "checking":
        return this.#close("connection_terminated", "the server gives no sign of life", "failed");
      case "ready":
        if (this.isIdle) this.end("idle");
    }
  }

  /** Accepts no new requests, and is closed when the running ones have ended. */
  retire(): void {
    if (this.#retired) return;
    this.#retired = true;
    this.#changed = true;
    this.#schedule();
  }

  /** Sends GOAWAY and closes the connection. */
  end(end: ConnectionEnd): void {
    if (this.#state === "closed") return;
    this.#codec.shutDown();
    this.#close("connection_terminated", "the connection was not needed any more", end);
  }

  #close(code: UpstreamErrorCode, message: string, end: ConnectionEnd): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.failure = { code, message };
    this.#deadline.clear();
    // The last output, such as GOAWAY; its delivery does not matter.
    if (this.#writing === null && this.#codec.hasOutput) {
      this.#socket.write(this.#codec.takeOutput()).catch(() => {});
    }
    closeSocket(this.#socket);
    this.#codec.dispose(message);
    this.#owner.closed(this, this.failure, end);
  }

  /** Closes the connection; its requests fail. */
  [Symbol.dispose](): void {
    this.#close("connection_terminated", "the transport was closed", "retired");
  }
}
