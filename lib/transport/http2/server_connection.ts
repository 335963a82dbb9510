/** One connection to a server: a socket, and many streams on it. */

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

/** Bounds of the head of a response: those of HTTP/1.1. */
const MAX_HEAD_BYTES = 64 * 1024;
const MAX_FIELDS = 200;
/** How much of a response is kept that its client has not read: at a round trip of 20 ms it is what limits it to 12 MB/s. */
const STREAM_WINDOW = 256 * 1024;
/** A connection that was silent for so long is asked for a sign of life before a request is trusted to it. */
const SILENCE_MS = 1000;
/** How long it may take over that; a new connection costs less than waiting for longer. */
const PONG_MS = 1000;
/** After so many resets it takes no more requests: servers end connections for less than a thousand of them. */
const MAX_RESETS = 100;

/** Whoever keeps connections. */
export interface ServerConnectionOwner {
  /** It has room for another request, or has none left to serve. */
  changed(connection: ServerConnection): void;
  /** It is closed. */
  closed(connection: ServerConnection, failure: ConnectionFailure, end: ConnectionEnd): void;
  /** A request is sent again. */
  again(trip: Trip): void;
  /** An exchange is over and may serve another request. */
  over(exchange: Http2Exchange): void;
}

/** What a {@linkcode ServerConnection} is made of. */
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
  /** How long the server may take for its SETTINGS. */
  readonly connectMs: number;
}

/**
 * Reads and writes for all streams: what is written in one turn of the event loop leaves in one write, and nothing more is
 * written until the socket has taken that.
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
  /** Whether it serves what it has begun, and nothing more. */
  #retired = false;
  #resets = 0;
  /** Streams that were reset, and that count for the server until it has read that; and how many it will have with its next pong. */
  #unheard = 0;
  #asked = 0;
  #heardAt: number;
  #arrived: Http2Exchange[] = [];
  #changed = false;
  #receiving = false;
  #scheduled = false;
  #writing: Bytes | null = null;
  #written = 0;
  /** The last stream that was opened, that may have left, and that had left before the write that runs. */
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
    this.#heardAt = clock.now();
    this.#buffer = shelf.take(LARGE_BUFFER);
    this.#codec = new Http2Connection({
      side: "client",
      owner: this,
      buffers: shelf,
      heads,
      now: () => clock.now(),
      maxHeadBytes: MAX_HEAD_BYTES,
      maxFields: MAX_FIELDS,
      // Clients that do not read must not keep others from being read for: twice as much as all of them can hold, since room is
      // told of once half of it is used up.
      streamWindow: STREAM_WINDOW,
      connectionWindow: Math.min(2 * maxStreams * STREAM_WINDOW, MAX_31_BITS),
    });
    this.#deadline = wheel.deadline(() => this.#expired());
    this.#deadline.set(connectMs);
    this.#codec.begin();
    this.#read();
  }

  /** Whether the server has said what it allows. */
  get isOpen(): boolean {
    return this.#state === "ready" || this.#state === "checking";
  }

  get isClosed(): boolean {
    return this.#state === "closed";
  }

  /** Whether the server has ever said so. */
  wasOpen = false;

  /** Whether it is asked for a sign of life. */
  get isChecking(): boolean {
    return this.#state === "checking";
  }

  /** Whether it takes another request, as far as is known. */
  get hasRoom(): boolean {
    return this.#state === "ready" && !this.#retired && this.#codec.active < this.#maxStreams &&
      this.#codec.canOpen && !this.#mayBeFull;
  }

  /** Whether the server takes WebSockets on streams (RFC 8441). */
  get takesWebSockets(): boolean {
    return this.#codec.peerExtendedConnect;
  }

  /** Whether it serves nothing. */
  get isIdle(): boolean {
    return this.#state === "ready" && this.#codec.active === 0;
  }

  /** How many requests it takes at the same time. */
  get capacity(): number {
    return Math.min(this.#maxStreams, this.#codec.peerMaxStreams);
  }

  /**
   * Whether a request may be trusted to it now: one that has been silent is asked for a sign of life first, and its owner is
   * told when that has come.
   */
  isAlive(now: number): boolean {
    if (this.#codec.active > 0 || now - this.#heardAt < SILENCE_MS) return true;
    this.#state = "checking";
    this.#codec.ping();
    this.#deadline.set(PONG_MS, now);
    return false;
  }

  /** Keeps it for so long while it is idle. */
  keep(idleMs: number): void {
    this.#deadline.set(idleMs);
  }

  // --- what exchanges want --------------------------------------------------------------------------------------------

  /** @internal */
  open(owner: StreamOwner): Http2Stream {
    const stream = this.#codec.open(owner);
    this.#lastStream = stream.id;
    if (this.#unheard > 0) this.#askWhetherHeard();
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
    this.#unheard++;
    this.#askWhetherHeard();
  }

  // Node.js refuses a stream by ENHANCE_YOUR_CALM, so that it cannot be sent again, when it reads its head together with the reset
  // that has made room for it.
  get #mayBeFull(): boolean {
    return this.#codec.active + this.#unheard >= this.#codec.peerMaxStreams;
  }

  // No sooner than it matters: some servers of gRPC end connections on which pings come too often.
  #askWhetherHeard(): void {
    if (this.#asked > 0 || this.#unheard === 0 || !this.#mayBeFull) return;
    this.#asked = this.#unheard;
    this.#codec.ping();
  }

  /** @internal A server that is silent for all of a request's time may be gone without a word: nothing more is trusted to it. */
  wasLate(since: number): void {
    if (this.#heardAt <= since || this.#codec.blockSince < Infinity) this.retire();
  }

  /** @internal */
  again(trip: Trip): void {
    this.#owner.again(trip);
  }

  /** @internal */
  over(exchange: Http2Exchange): void {
    this.#owner.over(exchange);
  }

  // --- what the codec tells -------------------------------------------------------------------------------------------

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
    if (this.#asked > 0) {
      this.#unheard -= this.#asked;
      this.#asked = 0;
      this.#changed = true;
      this.#askWhetherHeard();
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
    this.#heardAt = this.#clock.now();
    this.#receiving = true;
    this.#codec.receive(this.#buffer, 0, count);
    this.#receiving = false;
    if (this.#arrived.length > 0) this.#respond();
    if (this.#state === "connecting" && this.#codec.settled) this.#settled();
    if (this.isClosed) return;
    if (this.#changed) this.#tell();
    this.#read();
  };

  // What came with a head in one read is there by now: most responses are whole.
  #respond(): void {
    const arrived = this.#arrived;
    this.#arrived = [];
    this.hasServed = true;
    for (const exchange of arrived) {
      try {
        exchange.respond();
      } catch {
        // Whoever throws when told of a response loses that, and nothing else.
        exchange.abandon();
      }
    }
  }

  #settled(): void {
    if (this.capacity === 0) {
      return this.#close("connection_terminated", "the server allows no request on a connection", "failed");
    }
    this.#state = "ready";
    this.wasOpen = true;
    this.#deadline.clear();
    this.#changed = true;
  }

  #tell(): void {
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
    if (this.#changed) this.#tell();
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

  /** Serves what it has begun, and is closed then. */
  retire(): void {
    if (this.#retired) return;
    this.#retired = true;
    this.#changed = true;
    this.#schedule();
  }

  /** Says that it ends, and closes it. */
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
    // The last words; whether they arrive is of no importance.
    if (this.#writing === null && this.#codec.hasOutput) {
      this.#socket.write(this.#codec.takeOutput()).catch(() => {});
    }
    closeSocket(this.#socket);
    this.#codec.dispose(message);
    this.#owner.closed(this, this.failure, end);
  }

  /** Closes it; what is on it fails. */
  [Symbol.dispose](): void {
    this.#close("connection_terminated", "the transport was closed", "retired");
  }
}
