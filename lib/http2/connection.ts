/**
 * HTTP/2 without any I/O (RFC 9113): one connection, of either side.
 *
 * ```text
 * const connection = new Http2Connection({ side: "server", owner, buffers, heads, now, maxHeadBytes, maxFields, ... });
 * connection.begin();                       queues the preface and SETTINGS
 * connection.receive(bytes, from, to);      parses received bytes, split anywhere; calls the owner back
 * owner.onOutput()                          output waits: write connection.takeOutput(), once a turn of the event loop,
 *                                           then return the buffer with connection.outputWritten(bytes)
 *
 * server: owner.onStream(stream)            a request: stream.head (ReceivedHead), stream.content (a Body, or null);
 *                                           set stream.owner (StreamOwner) there
 *         stream.respond(status, fields, length, end), then new SentContent(stream, owner).send(body)
 * client: stream = connection.open(streamOwner), stream.request({ method, scheme, authority, target, fields, ... }, end),
 *         SentContent as above; streamOwner.onHead() for each head of a response (status of stream.head), then stream.content;
 *         connection.canOpen: whether one more stream may be opened; owner.onStreamEnd(): that may have changed
 *
 * stream.reset(code) ends a stream early, stream.release() releases its memory; both sides call it once.
 * connection.shutDown() announces the end (GOAWAY), connection.fail(code) ends it, connection.dispose(message) ends all streams.
 * ```
 *
 * Flow control: received content is kept until it is read (ReceivedContent), and only then the window is updated;
 * sent content waits for the windows of the peer, and until the output is taken (SentContent, `onRoom`).
 * The owner checks deadlines: `stream.stalledSince`, `content.awaitedSince` and `connection.blockSince` are start times.
 */

import type { Bytes } from "../http/message.ts";
import {
  CODE,
  codeName,
  FIRST_WINDOW,
  FLAG,
  FloodBudget,
  FRAME_BYTES,
  FRAME_HEAD,
  Http2Error,
  MAX_31_BITS,
  PeerSettings,
  SETTING,
} from "./frame_type.ts";
import { type FrameHandler, FrameReader, PREFACE } from "./frame_reader.ts";
import { type Buffers, FrameWriter } from "./frame_writer.ts";
import { type HeadBounds, type HeadShelf, ReceivedHead } from "./received_head.ts";
import { HpackDecoder } from "./hpack_decoder.ts";
import { HpackEncoder } from "./hpack_encoder.ts";
import { ReceivedContent } from "./received_content.ts";
import {
  Http2Stream,
  type StreamConnection,
  type StreamOwner,
  type StreamReset,
  StreamTable,
} from "./stream.ts";

/** The owner of a connection. */
export interface ConnectionOwner {
  /** Output waits to be written; called once until it is taken. */
  onOutput(): void;
  /** A client has sent a request; called on the server side, after all bytes of a read are parsed. */
  onStream(stream: Http2Stream): void;
  /** A stream has ended in both directions, or was reset. */
  onStreamEnd(stream: Http2Stream): void;
  /** The peer has sent GOAWAY: it accepts no further streams. */
  onGoAway(code: number): void;
  /** The connection cannot continue: write the waiting output, and close it. */
  onFailure(error: Http2Error): void;
  /** The peer has acknowledged {@linkcode Http2Connection.ping}. */
  onPong?(): void;
}

/** Options of an {@linkcode Http2Connection}. */
export interface Http2ConnectionOptions extends HeadBounds {
  readonly side: "server" | "client";
  readonly owner: ConnectionOwner;
  readonly buffers: Buffers;
  readonly heads: HeadShelf;
  /** The current time in milliseconds. */
  readonly now: () => number;
  /** Most streams that the peer may have open at the same time. @default {128} */
  readonly maxStreams?: number;
  /** Most unread content of one stream, in bytes. @default {65535} */
  readonly streamWindow?: number;
  /** Most unread content of all streams, in bytes. @default {1048576} */
  readonly connectionWindow?: number;
  /** Whether clients may request another protocol on a stream (RFC 8441). @default {false} */
  readonly extendedConnect?: boolean;
}

/** Most content, in bytes, that may wait for the socket; frames other than DATA may exceed it. */
const MOST_OUTPUT = 64 * 1024;
const LEAST_ROOM = 1024;
/** Useless frames: burst, and rate per second. */
const IDLE_FRAMES = 1000;
const IDLE_FRAMES_A_SECOND = 100;
/** Streams that were reset by the peer or for its faults: burst, and rate per second. */
const RESETS = 200;
const RESETS_A_SECOND = 33;
/** The cost of a head that is far too large, in resets: eight in a row end the connection. */
const EXCESSIVE_HEAD_COST = RESETS / 8;
/** Most output, in bytes, that waits for a client that makes this side write but reads nothing. */
const MOST_WAITING = 512 * 1024;
/** The PING whose acknowledgement shows that the client has received the GOAWAY. */
const LAST_PING = Uint8Array.of(0x6c, 0x62, 0x70, 0x72, 0x6f, 0x78, 0x79, 0);
/** The PING that checks whether the peer is alive. */
const ALIVE_PING = Uint8Array.of(0x6c, 0x62, 0x70, 0x72, 0x6f, 0x78, 0x79, 1);

/** Both directions of a connection, and the streams on it. */
export class Http2Connection implements FrameHandler, StreamConnection {
  readonly isServer: boolean;
  readonly buffers: Buffers;
  readonly now: () => number;
  /** @internal The output for the socket, and the encoder of field blocks in it. */
  readonly output: FrameWriter;
  readonly encoder: HpackEncoder;
  /** @internal How much content may be sent on all streams. */
  sendWindow = FIRST_WINDOW;
  /** Since when a preface, a frame or a field block is incomplete; `Infinity` when none is. DATA frames do not count. */
  blockSince = Infinity;
  /** Whether the SETTINGS of the peer were received. */
  settled = false;
  /** Whether the peer accepts no further streams, or this side does not. */
  goingAway = false;
  failed = false;
  readonly #options: Http2ConnectionOptions;
  readonly #owner: ConnectionOwner;
  readonly #reader: FrameReader;
  readonly #peer: PeerSettings;
  readonly #decoder = new HpackDecoder();
  readonly #scratch = new ReceivedHead();
  readonly #maxStreams: number;
  readonly #streamWindow: number;
  readonly #connectionWindow: number;
  readonly #idleFrames: FloodBudget;
  readonly #resets: FloodBudget;
  #receiveWindow: number;
  #consumed = 0;
  /** The last stream that the peer has opened, and the next one that this side opens. */
  #lastStream = 0;
  #nextStream = 1;
  /** The last stream that is accepted; once the connection ends, less than the peer might open. */
  #lastTaken = MAX_31_BITS;
  readonly #streams = new StreamTable();
  #arrived: Http2Stream[] = [];
  #firstWaiting: Http2Stream | null = null;
  #lastWaiting: Http2Stream | null = null;
  #announced = false;

  constructor(options: Http2ConnectionOptions) {
    const { side, owner, buffers, now } = options;
    const { maxStreams = 128, streamWindow = FIRST_WINDOW, connectionWindow = 1024 * 1024 } = options;
    this.#options = options;
    this.#owner = owner;
    this.isServer = side === "server";
    this.#peer = new PeerSettings(this.isServer);
    this.buffers = buffers;
    this.now = now;
    this.output = new FrameWriter(buffers);
    this.encoder = new HpackEncoder(this.output);
    this.#reader = new FrameReader(this, this.isServer, options.maxHeadBytes);
    this.#maxStreams = maxStreams;
    this.#streamWindow = streamWindow;
    this.#connectionWindow = this.#receiveWindow = connectionWindow;
    if (this.isServer) this.blockSince = now();
    this.#idleFrames = new FloodBudget(IDLE_FRAMES, IDLE_FRAMES_A_SECOND, now());
    this.#resets = new FloodBudget(RESETS, RESETS_A_SECOND, now());
  }

  /** Writes the connection preface (section 3.4). */
  begin(): void {
    const { maxHeadBytes, extendedConnect = false } = this.#options;
    const { output } = this;
    const settings = [SETTING.MAX_HEADER_LIST_SIZE, maxHeadBytes];
    if (this.isServer) {
      settings.push(SETTING.MAX_CONCURRENT_STREAMS, this.#maxStreams);
      if (extendedConnect) settings.push(SETTING.ENABLE_CONNECT_PROTOCOL, 1);
    } else {
      output.reserve(PREFACE.length);
      output.copy(PREFACE, 0, PREFACE.length);
      settings.push(SETTING.ENABLE_PUSH, 0);
    }
    if (this.#streamWindow !== FIRST_WINDOW) settings.push(SETTING.INITIAL_WINDOW_SIZE, this.#streamWindow);
    output.settings(settings);
    if (this.#connectionWindow > FIRST_WINDOW) output.windowUpdate(0, this.#connectionWindow - FIRST_WINDOW);
    this.#announce();
  }

  /** Processes received bytes; calls the owner back and never throws an {@linkcode Http2Error}. */
  receive(bytes: Uint8Array, from: number, to: number): void {
    if (this.failed) return;
    try {
      this.#reader.read(bytes, from, to);
      if (!this.#reader.pending) this.blockSince = Infinity;
      else if (this.blockSince === Infinity) this.blockSince = this.now();
      if (this.output.length > MOST_WAITING) throw excess("frames that want responses, and reads none");
    } catch (error) {
      if (!(error instanceof Http2Error)) throw error;
      this.#fail(error);
    }
    this.#reportArrived();
  }

  // Streams that were reset by the same read are never reported.
  #reportArrived(): void {
    if (this.#arrived.length === 0) return;
    const arrived = this.#arrived;
    this.#arrived = [];
    for (const stream of arrived) {
      if (!stream.closed && !this.failed) this.#owner.onStream(stream);
      else stream.release();
    }
  }

  /** Takes the output, which must be written now; from then on there is room for more. */
  takeOutput(): Bytes {
    this.#announced = false;
    const taken = this.output.take();
    this.#resumeStreams();
    return taken;
  }

  /** Returns the buffer of output that was written to the socket. */
  outputWritten(taken: Bytes): void {
    this.output.give(taken);
  }

  /** Whether output waits to be written. */
  get hasOutput(): boolean {
    return this.output.length > 0;
  }

  #announce(): void {
    if (this.#announced) return;
    this.#announced = true;
    this.#owner.onOutput();
  }

  // --- what streams write -------------------------------------------------------------------------------------------

  /** @internal How much more content may wait for the socket. */
  get dataRoom(): number {
    const room = MOST_OUTPUT - FRAME_HEAD - this.output.length;
    // Frames of a few bytes would cost more than waiting for the next write.
    return room < LEAST_ROOM ? 0 : room;
  }

  /** @internal Whether streams wait for their turn to write. */
  get othersWait(): boolean {
    return this.#firstWaiting !== null;
  }

  /** @internal Content was written. */
  wrote(bytes: number): void {
    this.sendWindow -= bytes;
    this.#idleFrames.earn(3);
    this.#announce();
  }

  /** @internal Queues a stream, which gets its turn when there is room. */
  wait(stream: Http2Stream): void {
    if (stream.waits) return;
    stream.waits = true;
    if (this.#lastWaiting === null) this.#firstWaiting = stream;
    else this.#lastWaiting.nextWaiting = stream;
    this.#lastWaiting = stream;
  }

  // In order; a stream that cannot finish queues again.
  #resumeStreams(): void {
    while (this.#firstWaiting !== null && this.sendWindow > 0 && this.dataRoom > 0) {
      const stream = this.#firstWaiting;
      this.#firstWaiting = stream.nextWaiting;
      if (this.#firstWaiting === null) this.#lastWaiting = null;
      stream.nextWaiting = null;
      stream.waits = false;
      if (!stream.closed) stream.owner?.onRoom();
    }
  }

  /** @internal Begins a field block; returns its index in the output. */
  beginBlock(): number {
    const { output } = this;
    const start = output.length;
    output.reserve(FRAME_HEAD);
    output.length += FRAME_HEAD;
    this.encoder.begin();
    return start;
  }

  /** @internal Ends a field block. */
  endBlock(start: number, stream: Http2Stream, endStream: boolean): void {
    this.output.endBlock(start, FRAME_BYTES, stream.id, endStream);
    this.#announce();
    if (!endStream) return;
    stream.localEnded = true;
    this.halfEnded(stream);
  }

  /** @internal One direction of a stream has ended. */
  halfEnded(stream: Http2Stream): void {
    if (!stream.localEnded || !stream.remoteEnded) return;
    // Clients of gRPC cancel every request whose deadline expires. So completed requests earn resets.
    this.#resets.earn(1);
    this.#close(stream);
  }

  /** @internal Ends a stream early. */
  resetStream(stream: Http2Stream, code: number): void {
    if (stream.closed) return;
    this.#writeReset(stream.id, code);
    this.#close(stream);
  }

  #writeReset(id: number, code: number): void {
    this.#streams.rememberReset(id);
    this.output.rstStream(id, code);
    this.#announce();
  }

  // --- streams ------------------------------------------------------------------------------------------------------

  /** How many streams are open. */
  get active(): number {
    return this.#streams.size;
  }

  /** How many streams the peer allows at the same time. */
  get peerMaxStreams(): number {
    return this.#peer.maxStreams;
  }

  /** Whether the peer accepts an extended CONNECT (RFC 8441). */
  get peerExtendedConnect(): boolean {
    return this.#peer.extendedConnect;
  }

  /** Whether this side may open one more stream. */
  get canOpen(): boolean {
    return !this.isServer && !this.goingAway && !this.failed && this.active < this.#peer.maxStreams &&
      this.#nextStream < MAX_31_BITS;
  }

  /** Opens a stream. Its request must be written at once, since stream numbers must be sent in order. */
  open(owner: StreamOwner): Http2Stream {
    const stream = this.#add(this.#nextStream);
    this.#nextStream += 2;
    stream.owner = owner;
    return stream;
  }

  #add(id: number): Http2Stream {
    const stream = new Http2Stream(this, id, this.#peer.streamWindow, this.#streamWindow);
    this.#streams.add(stream);
    return stream;
  }

  #close(stream: Http2Stream): void {
    if (stream.closed) return;
    stream.closed = true;
    stream.stalledSince = Infinity;
    this.#streams.remove(stream);
    this.#owner.onStreamEnd(stream);
  }

  /** All open streams. */
  streams(): Http2Stream[] {
    return this.#streams.all();
  }

  /** @internal Takes back a head that is no longer used. */
  giveHead(head: ReceivedHead): void {
    this.#options.heads.give(head);
  }

  /** @internal Content was read: the window is updated when the amount is worth a frame. */
  consume(stream: Http2Stream, bytes: number): void {
    if (bytes === 0 || this.failed) return;
    this.#consumed += bytes;
    if (this.#consumed >= this.#connectionWindow >> 1) {
      this.output.windowUpdate(0, this.#consumed);
      this.#receiveWindow += this.#consumed;
      this.#consumed = 0;
      this.#announce();
    }
    // A server that has sent the whole response needs no more content.
    if (stream.remoteEnded || stream.closed || (this.isServer && stream.localEnded)) return;
    stream.consumed += bytes;
    if (stream.consumed < this.#streamWindow >> 1) return;
    this.output.windowUpdate(stream.id, stream.consumed);
    stream.receiveWindow += stream.consumed;
    stream.consumed = 0;
    this.#announce();
  }

  // --- received frames ----------------------------------------------------------------------------------------------

  /** @internal */
  onData(id: number, length: number, end: boolean): boolean {
    this.#receiveWindow -= length;
    if (this.#receiveWindow < 0) throw new Http2Error(CODE.FLOW_CONTROL_ERROR, "more than the window allows");
    if (length === 0 && !end) this.#spendIdle("empty DATA frames");
    const stream = this.#streams.find(id);
    if (stream !== null && !stream.remoteEnded) {
      stream.receiveWindow -= length;
      if (stream.receiveWindow >= 0 && stream.content !== null) return true;
      const code = stream.content === null ? CODE.PROTOCOL_ERROR : CODE.FLOW_CONTROL_ERROR;
      this.#streamFault(stream, code, "content that nobody has asked for");
    } else if (stream !== null) this.#streamFault(stream, CODE.STREAM_CLOSED, "DATA behind the end");
    else this.#expectKnown(id, "DATA");
    this.#skip(length);
    return false;
  }

  /** Counts unwanted content as read. */
  #skip(bytes: number): void {
    this.#consumed += bytes;
    if (this.#consumed < this.#connectionWindow >> 1) return;
    this.output.windowUpdate(0, this.#consumed);
    this.#receiveWindow += this.#consumed;
    this.#consumed = 0;
    this.#announce();
  }

  /** @internal A part of the content of a DATA frame. */
  onContent(id: number, bytes: Uint8Array, from: number, to: number): void {
    const stream = this.#streams.find(id);
    const content = stream?.content ?? null;
    if (stream === null || content === null) return this.#skip(to - from);
    if (to - from > content.left) {
      this.#streamFault(stream, CODE.PROTOCOL_ERROR, "more content than its head says");
      return this.#skip(to - from);
    }
    content.append(bytes, from, to);
  }

  /** @internal Padding counts for the windows (section 6.1). */
  onPadding(id: number, bytes: number): void {
    const stream = this.#streams.find(id);
    if (stream === null) this.#skip(bytes);
    else this.consume(stream, bytes);
  }

  /** @internal */
  onDataEnd(id: number): void {
    const stream = this.#streams.find(id);
    if (stream !== null) this.#endRemote(stream, []);
  }

  #endRemote(stream: Http2Stream, trailers: readonly string[]): void {
    const { content } = stream;
    if (content !== null && content.left > 0 && content.left !== Infinity && !stream.lengthless) {
      return this.#streamFault(stream, CODE.PROTOCOL_ERROR, "less content than its head says");
    }
    stream.remoteEnded = true;
    content?.finish(trailers);
    this.halfEnded(stream);
  }

  /** @internal A complete field block. */
  onBlock(id: number, bytes: Uint8Array, from: number, to: number, end: boolean, dependsOn: number): void {
    const stream = this.#streams.find(id);
    const isNew = stream === null && this.isServer && id > this.#lastStream;
    if (isNew) {
      if ((id & 1) === 0) throw new Http2Error(CODE.PROTOCOL_ERROR, "a stream with an even number");
      this.#lastStream = id;
    } else if (stream === null) this.#expectKnown(id, "HEADERS");
    const first = isNew || (stream !== null && stream.content === null && !stream.remoteEnded);
    const head = first ? stream?.head ?? this.#options.heads.take() : this.#scratch;
    head.begin(this.#options);
    this.#decoder.decode(bytes, from, to, head);
    head.end();
    if (dependsOn === id) head.malformed ??= "a stream that depends on itself";
    if (isNew) this.#request(id, head, end);
    else if (stream === null) this.#spendReset("HEADERS on streams that are over");
    else if (stream.remoteEnded) this.#streamFault(stream, CODE.STREAM_CLOSED, "HEADERS behind the end");
    else if (first) this.#response(stream, head, end);
    else this.#trailers(stream, head, end);
    if (head.excessive) this.#spendReset("heads that are far too large", EXCESSIVE_HEAD_COST);
  }

  #request(id: number, head: ReceivedHead, end: boolean): void {
    if (this.active >= this.#maxStreams || id > this.#lastTaken) {
      this.giveHead(head);
      if (id > this.#lastTaken) return;
      this.#spendReset("more streams than it may");
      return this.#writeReset(id, CODE.REFUSED_STREAM);
    }
    const stream = this.#add(id);
    stream.head = head;
    stream.remoteEnded = end;
    if (!end) stream.content = new ReceivedContent(stream, head.contentLength);
    else if (head.contentLength > 0) head.malformed ??= "a Content-Length without content";
    this.#arrived.push(stream);
  }

  #response(stream: Http2Stream, head: ReceivedHead, end: boolean): void {
    stream.head = head;
    if (end) stream.remoteEnded = true;
    else if (!head.isInterim) stream.content = new ReceivedContent(stream, head.contentLength);
    stream.owner?.onHead();
    if (end) this.halfEnded(stream);
  }

  #trailers(stream: Http2Stream, head: ReceivedHead, end: boolean): void {
    if (head.hasPseudo) head.malformed ??= "pseudo fields in trailers";
    if (!end) head.malformed ??= "a second head";
    if (head.excess !== null) head.malformed ??= "trailers that are too long";
    if (head.malformed !== null) return this.#streamFault(stream, CODE.PROTOCOL_ERROR, head.malformed);
    this.#endRemote(stream, head.trailers());
  }

  /**
   * Checks a frame for an unknown stream: it may have been sent before the peer knew that the stream ended, or the
   * stream never existed.
   */
  #expectKnown(id: number, what: string): void {
    if (id > this.#lastOpened(id)) {
      throw new Http2Error(CODE.PROTOCOL_ERROR, `${what} on a stream that is idle`);
    }
    if (id > this.#lastTaken || this.#streams.wasReset(id)) return;
    if (this.#streams.wasThere(id)) {
      throw new Http2Error(CODE.STREAM_CLOSED, `${what} on a stream that is over`);
    }
    if (what === "HEADERS") throw new Http2Error(CODE.PROTOCOL_ERROR, "a stream with a lower number");
  }

  #lastOpened(id: number): number {
    const ownParity = this.isServer ? 0 : 1;
    return (id & 1) === ownParity ? (this.isServer ? 0 : this.#nextStream - 2) : this.#lastStream;
  }

  /** @internal */
  onReset(id: number, code: number): void {
    const stream = this.#streams.find(id);
    if (stream === null) {
      if (id > this.#lastOpened(id)) {
        throw new Http2Error(CODE.PROTOCOL_ERROR, "RST_STREAM on a stream that is idle");
      }
      return this.#spendIdle("RST_STREAM on streams that are over");
    }
    this.#spendReset("requests that it calls off");
    const message = `the stream was reset (${codeName(code)})`;
    this.#end(stream, { code, by: "peer", message, unprocessed: code === CODE.REFUSED_STREAM });
  }

  #end(stream: Http2Stream, reset: StreamReset): void {
    const { owner } = stream;
    this.#close(stream);
    owner?.onReset(reset);
  }

  /** Resets a stream on which the peer violates the protocol (section 5.4.2). */
  #streamFault(stream: Http2Stream, code: number, found: string): void {
    this.#spendReset(found);
    this.#writeReset(stream.id, code);
    const message = `${codeName(code)}: it sent ${found}`;
    this.#end(stream, { code, by: "fault", message, unprocessed: false });
  }

  #spendIdle(what: string): void {
    if (!this.#idleFrames.spend(this.now())) throw excess(what);
  }

  // Each costs a request that was begun, or the frame that ends it.
  #spendReset(what: string, cost = 1): void {
    if (this.isServer && !this.#resets.spend(this.now(), cost)) throw excess(what);
  }

  /** @internal The settings in a SETTINGS frame. */
  onSettings(bytes: Uint8Array, from: number, to: number): void {
    this.#spendIdle("SETTINGS");
    const peer = this.#peer;
    const before = peer.streamWindow;
    peer.read(bytes, from, to);
    if (peer.leastTableBytes !== Infinity) {
      this.encoder.resize(peer.leastTableBytes);
      this.encoder.resize(peer.tableBytes);
    }
    this.settled = true;
    this.output.settingsAck();
    this.#announce();
    const delta = peer.streamWindow - before;
    if (delta !== 0) this.#moveWindows(delta);
  }

  #moveWindows(delta: number): void {
    for (const stream of this.streams()) {
      stream.sendWindow += delta;
      if (stream.sendWindow > MAX_31_BITS) {
        throw new Http2Error(CODE.FLOW_CONTROL_ERROR, "settings that make a window too large");
      }
      this.#unblock(stream);
    }
  }

  #unblock(stream: Http2Stream): void {
    if (!stream.blocked || stream.sendWindow <= 0) return;
    stream.blocked = false;
    this.wait(stream);
    this.#resumeStreams();
  }

  /** @internal */
  onWindowUpdate(id: number, increment: number): void {
    this.#spendIdle("WINDOW_UPDATE frames that nothing needs");
    if (id === 0) {
      if (increment === 0) throw new Http2Error(CODE.PROTOCOL_ERROR, "a WINDOW_UPDATE by 0");
      this.sendWindow += increment;
      if (this.sendWindow > MAX_31_BITS) {
        throw new Http2Error(CODE.FLOW_CONTROL_ERROR, "a window that is too large");
      }
      return this.#resumeStreams();
    }
    const stream = this.#streams.find(id);
    if (stream === null) {
      if (id <= this.#lastOpened(id)) return;
      throw new Http2Error(CODE.PROTOCOL_ERROR, "WINDOW_UPDATE on a stream that is idle");
    }
    if (increment === 0) return this.#streamFault(stream, CODE.PROTOCOL_ERROR, "a WINDOW_UPDATE by 0");
    stream.sendWindow += increment;
    if (stream.sendWindow > MAX_31_BITS) {
      return this.#streamFault(stream, CODE.FLOW_CONTROL_ERROR, "a window that is too large");
    }
    this.#unblock(stream);
  }

  /** @internal */
  onPing(ack: boolean, bytes: Uint8Array, from: number): void {
    this.#spendIdle("PING frames");
    if (!ack) {
      this.output.ping(FLAG.ACK, bytes, from);
      return this.#announce();
    }
    // The client has received the GOAWAY: the requests that it sent before are accepted, and no more.
    if (LAST_PING.every((byte, i) => byte === bytes[from + i])) this.#sendLastGoAway();
    else if (ALIVE_PING.every((byte, i) => byte === bytes[from + i])) this.#owner.onPong?.();
  }

  /** Sends a PING; the owner is notified of the response. */
  ping(): void {
    this.output.ping(0, ALIVE_PING, 0);
    this.#announce();
  }

  /** @internal */
  onGoAway(lastStream: number, code: number): void {
    this.goingAway = true;
    if (!this.isServer) {
      for (const stream of this.streams()) {
        if (stream.id <= lastStream) continue;
        const message = `the connection ends (${codeName(code)})`;
        this.#end(stream, { code, by: "connection", message, unprocessed: true });
      }
    }
    this.#owner.onGoAway(code);
  }

  /** @internal A frame without effect. */
  onOtherFrame(): void {
    this.#spendIdle("frames without meaning");
  }

  // --- the end ------------------------------------------------------------------------------------------------------

  /**
   * Announces the end (GOAWAY); open streams continue. A client may send requests for one more round trip, because it
   * may not have received the GOAWAY yet (section 6.8).
   */
  shutDown(): void {
    if (this.goingAway || this.failed) return;
    this.goingAway = true;
    this.output.goAway(this.isServer ? MAX_31_BITS : 0, CODE.NO_ERROR);
    if (this.isServer) this.output.ping(0, LAST_PING, 0);
    this.#announce();
  }

  #sendLastGoAway(): void {
    if (!this.goingAway || this.#lastTaken !== MAX_31_BITS) return;
    this.#lastTaken = this.#lastStream;
    this.output.goAway(this.#lastStream, CODE.NO_ERROR);
    this.#announce();
  }

  /** Ends the connection for a reason of this side; waiting output must still be written. */
  fail(code: number): void {
    if (this.failed) return;
    this.failed = true;
    this.output.goAway(this.#lastStream, code);
    this.#announce();
  }

  #fail(error: Http2Error): void {
    if (this.failed) return;
    this.fail(error.code);
    this.#owner.onFailure(error);
  }

  /** The connection is closed: ends all streams. */
  dispose(message: string): void {
    this.failed = true;
    for (const stream of this.streams()) {
      this.#end(stream, { code: CODE.NO_ERROR, by: "connection", message, unprocessed: false });
    }
  }
}

function excess(what: string): Http2Error {
  return new Http2Error(CODE.ENHANCE_YOUR_CALM, `too many ${what}`.replace("too many a ", "a "));
}
