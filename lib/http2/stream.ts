/** One stream of a connection: a request and its response (RFC 9113 section 5). */

import type { HeaderFields } from "../http/header_fields.ts";
import { CODE, FRAME_BYTES, FRAME_HEAD } from "./frame_type.ts";
import type { Buffers, FrameWriter } from "./frame_writer.ts";
import { checkFields, type HpackEncoder } from "./hpack_encoder.ts";
import type { ContentStream, ReceivedContent } from "./received_content.ts";
import type { ReceivedHead } from "./received_head.ts";

/** Why a stream ended early. */
export interface StreamReset {
  /** The received or sent code. */
  readonly code: number;
  /** Who ended it: the peer, this side for a fault of the peer, or the end of the whole connection. */
  readonly by: "peer" | "fault" | "connection";
  /** The reason, for logs and messages. */
  readonly message: string;
  /** Whether the peer declares that it has not processed the request, so that it can be sent again (section 8.7). */
  readonly unprocessed: boolean;
}

/** The owner of a stream. */
export interface StreamOwner {
  /** The head of a response was received, or an interim one; valid until the next. Not called for a server. */
  onHead(): void;
  /** There is room again for content that could not be written. */
  onRoom(): void;
  /** A read waits for content of the peer. */
  onContentAwaited(): void;
  /** Written content waits for the peer from now on; see `stalledSince`. */
  onStalled?(): void;
  /** The stream ended early; nothing can be read or written any more. */
  onReset(reset: StreamReset): void;
}

/** The head of a request to send. */
export interface RequestFields {
  readonly method: string;
  readonly scheme: "http" | "https";
  readonly authority: string;
  /** Path and query. */
  readonly target: string;
  /** The protocol of an extended CONNECT (RFC 8441). */
  readonly protocol?: string | undefined;
  readonly fields: HeaderFields;
  /** `content-length`; `null` for none. */
  readonly length: number | null;
  /** Whether the content waits until the server asks for it. @default {false} */
  readonly expectsContinue?: boolean;
}

/** The connection, as its streams see it. */
export interface StreamConnection {
  readonly output: FrameWriter;
  readonly encoder: HpackEncoder;
  readonly buffers: Buffers;
  readonly now: () => number;
  /** How much may be sent on all streams, and how much more content may wait for the socket. */
  readonly sendWindow: number;
  readonly dataRoom: number;
  /** Whether streams wait for their turn to write. */
  readonly othersWait: boolean;
  /** Begins a field block; returns its index in the output. */
  beginBlock(): number;
  /** Ends a field block. */
  endBlock(start: number, stream: Http2Stream, endStream: boolean): void;
  /** Content was written. */
  wrote(bytes: number): void;
  /** Queues a stream, which gets its turn when there is room. */
  wait(stream: Http2Stream): void;
  /** One direction of a stream has ended. */
  halfEnded(stream: Http2Stream): void;
  /** Ends a stream early. */
  resetStream(stream: Http2Stream, code: number): void;
  /** Takes back a head that is no longer used. */
  giveHead(head: ReceivedHead): void;
  /** Content was read: the window is updated when the amount is worth a frame. */
  consume(stream: Http2Stream, bytes: number): void;
}

/** How many bytes a stream writes in a row while others wait. */
const QUANTUM = FRAME_BYTES;

/** One stream, made by its connection. */
export class Http2Stream implements ContentStream {
  readonly id: number;
  readonly #connection: StreamConnection;
  owner: StreamOwner | null = null;
  /** The received head of the peer; `null` before it, and after it was released. */
  head: ReceivedHead | null = null;
  /** Content of the peer; `null` before it begins, and when there is none. */
  content: ReceivedContent | null = null;
  /** Whether the peer has ended its direction, and whether this side has. */
  remoteEnded = false;
  localEnded = false;
  /** Whether the stream has ended. */
  closed = false;
  /** Since when written content waits for the peer; `Infinity` when none does. */
  stalledSince = Infinity;
  /** Whether the content of the peer may be shorter than declared: that of a response to HEAD. */
  lengthless = false;
  /** @internal How much may be sent, and may be received. */
  sendWindow: number;
  receiveWindow: number;
  /** @internal Bytes that were read and not yet returned in a WINDOW_UPDATE. */
  consumed = 0;
  /** @internal The next stream in its slot of the table, and in the queue of waiting streams. */
  chained: Http2Stream | null = null;
  nextWaiting: Http2Stream | null = null;
  /** @internal Whether it waits for room in the connection, or for its own window. */
  waits = false;
  blocked = false;

  /** @internal */
  constructor(connection: StreamConnection, id: number, sendWindow: number, receiveWindow: number) {
    this.#connection = connection;
    this.id = id;
    this.sendWindow = sendWindow;
    this.receiveWindow = receiveWindow;
  }

  /**
   * Writes the head of a response, or an interim one.
   *
   * @param length `content-length`; `null` for none
   * @param end whether the message ends with it
   * @throws {UnwritableFieldError} when a field is not allowed; then nothing was written
   */
  respond(status: number, fields: HeaderFields, length: number | null, end: boolean): void {
    if (this.closed) return;
    checkFields(fields.list);
    const connection = this.#connection;
    const { encoder } = connection;
    const start = connection.beginBlock();
    encoder.status(status);
    encoder.fields(fields);
    if (length !== null) encoder.contentLength(length);
    connection.endBlock(start, this, end);
  }

  /**
   * Writes the head of a request.
   *
   * @param end whether the message ends with it
   * @throws {UnwritableFieldError} when a field is not allowed; then nothing was written
   */
  request(
    { method, scheme, authority, target, protocol, fields, length, expectsContinue }: RequestFields,
    end: boolean,
  ): void {
    if (this.closed) return;
    checkFields(fields.list);
    const connection = this.#connection;
    const { encoder } = connection;
    const start = connection.beginBlock();
    encoder.request(method, scheme, authority, target);
    if (protocol !== undefined) encoder.protocol(protocol);
    encoder.fields(fields);
    if (length !== null) encoder.contentLength(length);
    if (expectsContinue === true) encoder.expectContinue();
    connection.endBlock(start, this, end);
  }

  /**
   * Writes as much content as there is room for; {@linkcode StreamOwner.onRoom} is called when there is room for
   * more.
   *
   * @param end whether the content ends at `to`
   * @returns the index after the last written byte
   */
  write(bytes: Uint8Array, from: number, to: number, end: boolean): number {
    if (this.closed) return from;
    const connection = this.#connection;
    const { output } = connection;
    let at = from;
    do {
      if (at - from >= QUANTUM && connection.othersWait) break;
      const most = Math.min(
        to - at,
        FRAME_BYTES,
        this.sendWindow,
        connection.sendWindow,
        connection.dataRoom,
      );
      if (most <= 0 && to > at) break;
      const next = at + most;
      output.data(this.id, bytes, at, next, end && next === to);
      this.sendWindow -= most;
      connection.wrote(most);
      at = next;
    } while (at < to);
    if (at > from) this.stalledSince = Infinity;
    if (at < to) this.#wait();
    else if (end) this.#ended();
    return at;
  }

  /** Whether this many bytes of content could be written at once. */
  hasRoomFor(bytes: number): boolean {
    const connection = this.#connection;
    const { sendWindow } = this;
    const needed = bytes + Math.ceil(bytes / FRAME_BYTES) * FRAME_HEAD;
    return bytes <= sendWindow && bytes <= connection.sendWindow && !connection.othersWait &&
      needed <= connection.dataRoom;
  }

  #wait(): void {
    const connection = this.#connection;
    if (this.stalledSince === Infinity) {
      this.stalledSince = connection.now();
      this.owner?.onStalled?.();
    }
    if (this.sendWindow <= 0) this.blocked = true;
    else connection.wait(this);
  }

  /** Ends the sent content, with trailers (name, value, name, value, ...) or without. */
  end(trailers: readonly string[] = []): void {
    if (this.closed) return;
    const connection = this.#connection;
    if (trailers.length === 0) {
      connection.output.data(this.id, NOTHING, 0, 0, true);
      connection.wrote(0);
      return this.#ended();
    }
    checkFields(trailers);
    const start = connection.beginBlock();
    connection.encoder.trailers(trailers);
    connection.endBlock(start, this, true);
  }

  #ended(): void {
    this.localEnded = true;
    this.#connection.halfEnded(this);
  }

  /** Ends the stream early; the owner is not called. Does nothing when it has ended. */
  reset(code: number = CODE.CANCEL): void {
    this.#connection.resetStream(this, code);
  }

  /** @internal */
  get buffers(): Buffers {
    return this.#connection.buffers;
  }

  /** @internal */
  get now(): () => number {
    return this.#connection.now;
  }

  /** @internal */
  onRead(bytes: number): void {
    this.#connection.consume(this, bytes);
  }

  /** @internal */
  onAwaited(): void {
    this.owner?.onContentAwaited();
  }

  /** The owner no longer needs the stream: its memory is released. */
  release(): void {
    const { head, content } = this;
    this.head = null;
    this.owner = null;
    content?.release();
    if (head !== null) this.#connection.giveHead(head);
  }
}

const NOTHING = new Uint8Array(0);

// The open streams of a connection, and the numbers of recently ended ones.

const SLOTS = 64;
/** How many ended streams are remembered. */
const REMEMBERED = 128;

/** Finds streams by number, without a `Map` entry for each; they are chained in a few slots. */
export class StreamTable {
  /** How many streams are open. */
  size = 0;
  readonly #slots: (Http2Stream | null)[] = new Array(SLOTS).fill(null);
  /** Streams that have ended, and those that this side has reset: late frames for the latter are skipped. */
  readonly #over = new Int32Array(REMEMBERED);
  readonly #reset = new Int32Array(REMEMBERED);
  #overCount = 0;
  #resetCount = 0;

  find(id: number): Http2Stream | null {
    let stream = this.#slots[(id >> 1) % SLOTS]!;
    while (stream !== null && stream.id !== id) stream = stream.chained!;
    return stream;
  }

  add(stream: Http2Stream): void {
    const slot = (stream.id >> 1) % SLOTS;
    stream.chained = this.#slots[slot]!;
    this.#slots[slot] = stream;
    this.size++;
  }

  /** Removes a stream that has ended. */
  remove(stream: Http2Stream): void {
    const slot = (stream.id >> 1) % SLOTS;
    if (this.#slots[slot] === stream) this.#slots[slot] = stream.chained;
    else {
      let before = this.#slots[slot]!;
      while (before.chained !== stream) before = before.chained!;
      before.chained = stream.chained;
    }
    stream.chained = null;
    this.size--;
    this.#over[this.#overCount++ % REMEMBERED] = stream.id;
  }

  /** Remembers that this side has reset a stream. */
  rememberReset(id: number): void {
    this.#reset[this.#resetCount++ % REMEMBERED] = id;
  }

  /** Whether this side has reset the stream recently. */
  wasReset(id: number): boolean {
    return this.#reset.includes(id);
  }

  /** Whether the stream has ended recently. */
  wasThere(id: number): boolean {
    return this.#over.includes(id);
  }

  /** All open streams. */
  all(): Http2Stream[] {
    const all: Http2Stream[] = [];
    for (let stream of this.#slots) {
      for (; stream !== null; stream = stream.chained) all.push(stream);
    }
    return all;
  }
}
