/** One stream of a connection: a request and its response (RFC 9113 section 5). */

import type { HeaderFields } from "../http/header_fields.ts";
import { CODE, FRAME_BYTES, FRAME_HEAD } from "./frame_type.ts";
import type { Buffers, FrameWriter } from "./frame_writer.ts";
import { checkFields, type HpackEncoder } from "./hpack_encoder.ts";
import type { ContentStream, ReceivedContent } from "./received_content.ts";
import type { ReceivedHead } from "./received_head.ts";

/** Why a stream ended early. */
export interface StreamReset {
  /** The code that came, or went. */
  readonly code: number;
  /** Who ended it: the other side, a fault of the other side, or the whole connection ended. */
  readonly by: "peer" | "fault" | "connection";
  /** The reason, for people. */
  readonly message: string;
  /** Whether the other side says that it has done nothing with it, so that it can be sent again (section 8.7). */
  readonly unprocessed: boolean;
}

/** The owner of a stream. */
export interface StreamOwner {
  /** The head of a response has come, or an interim one; good until the next. Of no concern to a server. */
  onHead(): void;
  /** There is room again for what could not be written. */
  onRoom(): void;
  /** Content of the other side is awaited, and none is there. */
  onContentAwaited(): void;
  /** What is written waits for the other side from now on; see `stalledSince`. */
  onStalled?(): void;
  /** It ended early; nothing can be read or written any more. */
  onReset(reset: StreamReset): void;
}

/** The head of a request that is sent. */
export interface RequestFields {
  readonly method: string;
  readonly scheme: "http" | "https";
  readonly authority: string;
  /** Path and query. */
  readonly target: string;
  /** What an extended CONNECT asks for (RFC 8441). */
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
  /** How much may be sent on all streams, and how much content may wait for the socket still. */
  readonly sendWindow: number;
  readonly dataRoom: number;
  /** Whether streams wait for their turn. */
  readonly othersWait: boolean;
  /** Begins a field block; gives its place. */
  beginBlock(): number;
  /** Ends it. */
  endBlock(start: number, stream: Http2Stream, endStream: boolean): void;
  /** Content was written. */
  wrote(bytes: number): void;
  /** The stream is given its turn when there is room. */
  wait(stream: Http2Stream): void;
  /** One side of a stream has ended. */
  halfEnded(stream: Http2Stream): void;
  /** Ends a stream early. */
  resetStream(stream: Http2Stream, code: number): void;
  /** Takes back a head that is not needed any more. */
  giveHead(head: ReceivedHead): void;
  /** Content was read: the window is updated once it is worth a frame. */
  consume(stream: Http2Stream, bytes: number): void;
}

/** How much a stream writes in a row while others wait. */
const QUANTUM = FRAME_BYTES;

/** What is sent and received on a stream; made by its connection. */
export class Http2Stream implements ContentStream {
  readonly id: number;
  readonly #connection: StreamConnection;
  owner: StreamOwner | null = null;
  /** What has come of the other side's head; `null` before, and once it was given back. */
  head: ReceivedHead | null = null;
  /** Content of the other side; `null` as long as none has begun, and when there is none. */
  content: ReceivedContent | null = null;
  /** Whether the other side sends no more, and whether this one does. */
  remoteEnded = false;
  localEnded = false;
  /** Whether it is over. */
  closed = false;
  /** Since when it waits for the other side to take what is written; `Infinity` when it does not. */
  stalledSince = Infinity;
  /** Whether content of the other side may be less than its head says: that of a response to HEAD. */
  lengthless = false;
  /** @internal How much may be sent, and may come. */
  sendWindow: number;
  receiveWindow: number;
  /** @internal What was read of it, and is not yet in a window update. */
  consumed = 0;
  /** @internal The next one in its slot of the connection, and among those that wait. */
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
   * @param end whether nothing follows
   * @throws {UnwritableFieldError} when a field cannot stand in it; nothing was written then
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
   * @param end whether nothing follows
   * @throws {UnwritableFieldError} when a field cannot stand in it; nothing was written then
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
   * Writes content, as much as there is room for; {@linkcode StreamOwner.onRoom} tells when there is more.
   *
   * @param end whether it ends with `bytes[to)`
   * @returns how far it came
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

  /** Whether so much content would go at once. */
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

  /** Ends what is sent, with trailers or without: name, value, name, value, ... */
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

  /** Ends it early; the owner is not called. Does nothing when it is over. */
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

  /** The owner needs it no more: its memory is released. */
  release(): void {
    const { head, content } = this;
    this.head = null;
    this.owner = null;
    content?.release();
    if (head !== null) this.#connection.giveHead(head);
  }
}

const NOTHING = new Uint8Array(0);

// The streams of a connection that are not over, and the numbers of some that are.

const SLOTS = 64;
/** How many streams are remembered that are over. */
const REMEMBERED = 128;

/** Finds streams by their numbers, without an entry of a `Map` for each; they are chained in a few slots. */
export class StreamTable {
  /** How many there are. */
  size = 0;
  readonly #slots: (Http2Stream | null)[] = new Array(SLOTS).fill(null);
  /** Streams that are over, and those that this side has reset: what was on its way to them is skipped. */
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

  /** Takes out one that is over. */
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

  /** This side has reset a stream. */
  rememberReset(id: number): void {
    this.#reset[this.#resetCount++ % REMEMBERED] = id;
  }

  /** Whether this side has reset it, not long ago. */
  wasReset(id: number): boolean {
    return this.#reset.includes(id);
  }

  /** Whether it ended, not long ago. */
  wasThere(id: number): boolean {
    return this.#over.includes(id);
  }

  /** All of them. */
  all(): Http2Stream[] {
    const all: Http2Stream[] = [];
    for (let stream of this.#slots) {
      for (; stream !== null; stream = stream.chained) all.push(stream);
    }
    return all;
  }
}
