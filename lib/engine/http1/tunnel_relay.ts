/** Both directions of a client's connection that has switched to another protocol: bytes are forwarded as received. */

import type { Deadline, DeadlineWheel } from "../../core/cancellation.ts";
import { type ProxyError, RequestError, StoppingError, UpstreamError } from "../../core/errors.ts";
import type { Bytes } from "../../http/message.ts";
import type { TunnelOptions } from "../../proxy/client_stream.ts";
import type { Tunnel } from "../../transport/transport.ts";

import {
  closePayload,
  maskedFrame,
  OPCODE,
  plainFrame,
  readClose,
  WebSocketProtocolError,
} from "../../transport/websocket/frame.ts";
import { FrameParser } from "../../transport/websocket/frame_parser.ts";
import { Patience } from "../../transport/websocket/web_socket_options.ts";
import type { Socket } from "../engine.ts";

/** Size of the receive buffer of a side, at first and after it was filled once: an idle tunnel needs little memory. */
const FIRST_BUFFER_BYTES = 2 * 1024;
const BUFFER_BYTES = 16 * 1024;
/** How long a side may take to respond to a close frame. */
const CLOSE_MS = 5000;
/** The same when the proxy stops; also how long a side may take to read the last bytes. */
const LINGER_MS = 500;

/** Options of a {@linkcode TunnelRelay}. */
interface TunnelRelayOptions extends TunnelOptions {
  readonly client: Socket;
  readonly tunnel: Tunnel;
  /** Bytes that the client has already sent; `null` when it has half-closed. */
  readonly first: Promise<Bytes | null>;
  /** Whether the protocol is WebSocket, whose frames are parsed. */
  readonly framed: boolean;
  /** How long a side may accept none of the bytes for it. */
  readonly writeMs: number;
  /** Whether WebSocket extensions were negotiated. */
  readonly extended: boolean;
  /** Called with the number of bytes sent to the client; for a WebSocket only bytes of messages. */
  readonly sent: (bytes: number) => void;
  /** Called once, when both sides have ended. */
  readonly ended: (failure: ProxyError | null) => void;
}

/**
 * Copies bytes from either side to the other, each at the pace of its receiver.
 *
 * Frames of WebSockets are parsed but not rewritten, so that extensions, fragments and pings pass. The frames of the
 * proxy (pings and closes) are inserted between two frames, and pongs to its pings are not forwarded.
 */
export class TunnelRelay implements Disposable {
  readonly #options: TunnelRelayOptions;
  readonly #client: Side;
  readonly #server: Side;
  readonly #idle: Deadline;
  readonly #stall: Deadline;
  readonly #ping: Deadline;
  readonly #end: Deadline;
  readonly #stopping: Disposable;
  #failure: ProxyError | null = null;
  #closing = false;
  #over = false;

  constructor(options: TunnelRelayOptions) {
    const { client, tunnel, wheel, webSocket, framed, extended, cancellation } = options;
    this.#options = options;
    const { maxMessageBytes } = webSocket;
    const parser = (masked: boolean): FrameParser | null =>
      framed ? new FrameParser({ masked, maxMessageBytes, extended }) : null;
    this.#client = new Side(client, parser(true), wheel, plainFrame);
    this.#server = new Side(tunnel.socket, parser(false), wheel, maskedFrame);
    this.#idle = wheel.deadline(() => this.#idleExpired());
    this.#stall = wheel.deadline(() => this.#checkStalls());
    this.#stall.set(options.writeMs / 2);
    this.#ping = wheel.deadline(() => this.#pingBoth());
    this.#end = wheel.deadline(() => this.#finish());
    this.#keepAlive();
    if (framed && webSocket.pingIntervalMs !== Infinity) this.#ping.set(webSocket.pingIntervalMs);
    this.#stopping = cancellation.listen((reason) => {
      // The end of a replaced configuration is not urgent: a busy client gets the time to close.
      if (!(reason instanceof StoppingError)) this.#close(1001, "", LINGER_MS);
      else if (reason.hurried) this.#close(1001, "the proxy stops", LINGER_MS);
      else this.#close(1001, "the configuration was replaced", CLOSE_MS);
    });
    void this.#pump(this.#client, this.#server, options.first);
    void this.#pump(this.#server, this.#client, Promise.resolve(tunnel.first));
  }

  async #pump(from: Side, to: Side, first: Promise<Bytes | null>): Promise<void> {
    try {
      let bytes = await first;
      from.received();
      if (bytes !== null && bytes.length > 0) await this.#forward(from, to, bytes, 0);
      while (bytes !== null && !this.#over) {
        const held = from.held;
        bytes = await from.read();
        if (this.#over) return;
        if (bytes !== null) await this.#forward(from, to, bytes, held);
        if (this.#client.closed && this.#server.closed) this.#bothClosed();
      }
      if (!this.#over) this.#sideEnded(from, to);
    } catch (error) {
      if (this.#over) return;
      if (error instanceof WebSocketProtocolError) await this.#closeForViolation(from, to, error);
      else this.#sideLost(to.failed ? to : from);
    }
  }

  // The side that accepted the connection closes it first (RFC 6455 section 7.1.1).
  #bothClosed(): void {
    void this.#client.closeWrite();
    this.#end.set(LINGER_MS);
  }

  /** Forwards received bytes; the first `parsed` bytes were already parsed. */
  async #forward(from: Side, to: Side, bytes: Bytes, parsed: number): Promise<void> {
    const { parser } = from;
    if (parser === null) {
      this.#keepAlive();
      if (to === this.#client) this.#options.sent(bytes.length);
      return await to.write(bytes, false);
    }
    let sent = 0;
    let edge = 0;
    let payload = 0;
    try {
      for (let at = parsed; at < bytes.length;) {
        at = parser.next(bytes, at, bytes.length);
        if (parser.event === "data") {
          payload += parser.to - parser.from;
          this.#keepAlive();
        } else if (parser.event === "control") {
          const isProxyPong = this.#control(from, parser);
          // Bytes after a close frame are ignored.
          if (from.closed) bytes = bytes.subarray(0, at);
          if (isProxyPong) {
            await to.write(bytes.subarray(sent, parser.frameStart), true);
            sent = at;
          }
        }
        if (parser.place === "edge") edge = at;
      }
    } catch (error) {
      await to.write(bytes.subarray(sent, Math.max(sent, parser.frameStart)), true);
      throw error;
    }
    if (payload > 0 && to === this.#client) this.#options.sent(payload);
    await this.#writeFrames(from, to, bytes, sent, edge);
  }

  async #writeFrames(from: Side, to: Side, bytes: Bytes, sent: number, edge: number): Promise<void> {
    const parser = from.parser!;
    const { place } = parser;
    // A control frame waits until it is complete: it may be a pong to a ping of the proxy.
    const end = place === "control" ? parser.frameStart : bytes.length;
    if (place === "data" && edge > sent && to.hasWaiting) {
      await to.write(bytes.subarray(sent, edge), true);
      sent = edge;
    }
    if (end > sent) await to.write(bytes.subarray(sent, end), place !== "data");
    from.hold(bytes, end);
  }

  /** Handles a control frame; returns whether it is a pong to a ping of the proxy. */
  #control(from: Side, { opcode, payload }: FrameParser): boolean {
    if (opcode === OPCODE.close) {
      readClose(payload);
      from.closed = true;
      if (!this.#closing) this.#end.set(CLOSE_MS);
      this.#closing = true;
    } else if (opcode === OPCODE.pong) return from.isResponse(payload);
    else this.#keepAlive();
    return false;
  }

  // Other protocols may continue in one direction.
  #sideEnded(from: Side, to: Side): void {
    from.over = true;
    if (from.parser === null && !to.over) {
      void to.closeWrite();
      return;
    }
    if (from === this.#server && !from.closed) this.#serverGone("the connection was lost");
    void to.closeWrite();
    if (from.over && to.over) return this.#finish();
    this.#end.set(LINGER_MS);
  }

  #sideLost(from: Side): void {
    if (from !== this.#server || !this.#options.framed || this.#client.over) return this.#finish();
    this.#serverGone("the connection was lost");
    void this.#client.closeWrite();
    this.#end.set(LINGER_MS);
  }

  // By a close code, the client learns that the connection to the server was lost, if a frame can be inserted at this
  // point.
  #serverGone(problem: string): void {
    if (this.#closing) return;
    this.#failure ??= this.#brokenOff(problem);
    if (!this.#options.framed) return;
    this.#closing = true;
    this.#client.close(1011, "the server broke off");
  }

  // The side that violates the protocol gets a close frame, and must be able to read it: so its remaining bytes are
  // read.
  async #closeForViolation(from: Side, to: Side, error: WebSocketProtocolError): Promise<void> {
    const byServer = from === this.#server;
    if (!this.#closing) {
      this.#failure ??= byServer
        ? this.#brokenOff(error.message)
        : new RequestError(`The client broke the WebSocket: ${error.message}`);
    }
    this.#closing = true;
    this.#end.set(CLOSE_MS);
    from.close(error.code, "");
    if (byServer) to.close(1011, "the server broke off");
    else to.close(1001, "");
    try {
      await from.written;
      void from.closeWrite();
      while (!this.#over && await from.read() !== null);
    } catch {
      // The connection ends in any case.
    }
    if (!this.#over) this.#sideEnded(from, to);
  }

  #close(code: number, reason: string, withinMs: number): void {
    if (this.#over) return;
    this.#closing = true;
    this.#end.set(withinMs);
    if (!this.#options.framed) return this.#finish();
    this.#client.close(code, reason);
    this.#server.close(code, reason);
  }

  #idleExpired(): void {
    // A side that is still receiving bytes is not idle.
    if (this.#client.isWriting || this.#server.isWriting) this.#keepAlive();
    else this.#close(1001, "idle for too long", CLOSE_MS);
  }

  #checkStalls(): void {
    const { writeMs } = this.#options;
    if (this.#client.stalledMs >= writeMs) return this.#finish();
    if (this.#server.stalledMs >= writeMs) {
      this.#serverGone("the server takes nothing");
      return this.#finish();
    }
    this.#stall.set(writeMs / 2);
  }

  #keepAlive(): void {
    const { idleTimeoutMs } = this.#options.webSocket;
    if (idleTimeoutMs !== Infinity && !this.#closing) this.#idle.set(idleTimeoutMs);
  }

  #pingBoth(): void {
    if (this.#closing || this.#over) return;
    for (const side of [this.#client, this.#server]) {
      if (side.isDead) {
        if (side === this.#client) return this.#finish();
        this.#serverGone("the server does not answer pings");
        void this.#client.closeWrite();
        return this.#end.set(LINGER_MS);
      }
      side.ping();
    }
    this.#ping.set(this.#options.webSocket.pingIntervalMs);
  }

  #brokenOff(problem: string): UpstreamError {
    const what = this.#options.framed ? "WebSocket" : "connection";
    return new UpstreamError(`The ${what} to the server broke off: ${problem}`, {
      code: "connection_terminated",
      phase: "answered",
    });
  }

  #finish(): void {
    if (this.#over) return;
    this[Symbol.dispose]();
    this.#options.ended(this.#failure);
  }

  /** Ends the tunnel at once, without a callback. */
  [Symbol.dispose](): void {
    if (this.#over) return;
    this.#over = true;
    this.#idle.clear();
    this.#stall.clear();
    this.#ping.clear();
    this.#end.clear();
    this.#stopping[Symbol.dispose]();
    this.#options.tunnel[Symbol.dispose]();
  }
}

/** One side of the tunnel: its received bytes are parsed, and writes to it are queued. */
class Side {
  readonly socket: Socket;
  /** Parses the frames that it sends; `null` without frames. */
  readonly parser: FrameParser | null;
  /** Whether it has sent a close frame, and whether it has ended. */
  closed = false;
  over = false;
  /** Whether a write to it has failed. */
  failed = false;
  /** Bytes at the front of the buffer that wait for the rest of their frame. */
  held = 0;
  /** The current write to it. */
  written: Promise<void> = Promise.resolve();
  readonly #wheel: DeadlineWheel;
  readonly #frame: (opcode: number, payload: Uint8Array) => Bytes;
  readonly #patience = new Patience();
  readonly #waiting: Bytes[] = [];
  #buffer: Bytes = new Uint8Array(FIRST_BUFFER_BYTES);
  #filled = false;
  #reading = true;
  #writing = false;
  #writingSince = 0;
  /** Whether the bytes written to it end between two frames. */
  #atEdge = true;
  #closing = false;
  #shut = false;
  /** Whether it was pinged and has not responded. */
  #silent = false;
  #pings = 0;

  constructor(
    socket: Socket,
    parser: FrameParser | null,
    wheel: DeadlineWheel,
    frame: (opcode: number, payload: Uint8Array) => Bytes,
  ) {
    this.socket = socket;
    this.parser = parser;
    this.#wheel = wheel;
    this.#frame = frame;
  }

  /** Whether a write to it is in progress. */
  get isWriting(): boolean {
    return this.#writing;
  }

  /** For how long it has accepted no bytes of that write. */
  get stalledMs(): number {
    return this.#writing ? this.#wheel.lately - this.#writingSince : 0;
  }

  /** Whether a frame of the proxy waits for the end of the current frame. */
  get hasWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** The held bytes and the next received ones; valid until the next read. */
  async read(): Promise<Bytes | null> {
    if (this.#buffer.length < BUFFER_BYTES && this.#filled) this.#grow();
    this.#reading = true;
    const count = await this.socket.read(this.held === 0 ? this.#buffer : this.#buffer.subarray(this.held));
    this.received();
    if (count === null) return null;
    const end = this.held + count;
    this.#filled = end === this.#buffer.length;
    return this.#buffer.subarray(0, end);
  }

  /** Bytes were received. While the proxy does not read, a pong may wait unread: silence means nothing then. */
  received(): void {
    this.#reading = this.#silent = false;
  }

  #grow(): void {
    const grown = new Uint8Array(BUFFER_BYTES);
    grown.set(this.#buffer.subarray(0, this.held));
    this.#buffer = grown;
  }

  /** Keeps the bytes from an index on, so that the next bytes are read after them. */
  hold(bytes: Bytes, from: number): void {
    this.held = bytes.length - from;
    if (this.held > 0) this.#buffer.set(bytes.subarray(from));
    this.parser!.frameStart = 0;
  }

  /** Writes bytes, and then waiting frames if the bytes end between two frames; drops the bytes after a close frame. */
  async write(bytes: Bytes, atEdge: boolean): Promise<void> {
    if (this.#writing) await this.written;
    if (bytes.length > 0 && !this.#shut) {
      await (this.written = this.#writeAll(bytes));
      this.#atEdge = atEdge;
    }
    if (this.#atEdge && this.hasWaiting) await (this.written = this.#writeWaiting());
  }

  async #writeWaiting(): Promise<void> {
    for (let frame = this.#waiting.shift(); frame !== undefined; frame = this.#waiting.shift()) {
      await this.#writeAll(frame);
    }
    if (this.#closing) this.#shut = true;
  }

  async #writeAll(bytes: Bytes): Promise<void> {
    this.#writing = true;
    try {
      for (let done = 0; done < bytes.length;) {
        this.#writingSince = this.#wheel.lately;
        const count = await this.socket.write(done === 0 ? bytes : bytes.subarray(done));
        this.#patience.sent(count, this.#wheel.lately);
        done += count;
      }
    } catch (error) {
      this.failed = true;
      throw error;
    } finally {
      this.#writing = false;
    }
  }

  #inject(frame: Bytes): void {
    this.#waiting.push(frame);
    // A write in progress continues with it; a failure is noticed by the read.
    if (this.#atEdge && !this.#writing) this.write(NOTHING, true).catch(() => {});
  }

  /** Sends a close frame between two frames; nothing is sent after it. */
  close(code: number, reason: string): void {
    if (this.#closing || this.#shut) return;
    this.#closing = true;
    this.#inject(this.#frame(OPCODE.close, closePayload(code, reason)));
  }

  /** Ends the sending direction, after the pending writes. */
  async closeWrite(): Promise<void> {
    this.#shut = true;
    try {
      while (this.#writing) await this.written;
      await this.socket.closeWrite();
    } catch {
      // The connection is closed in any case.
    }
  }

  /** Sends a ping; numbered, so that a pong shows how far the side has read. */
  ping(): void {
    if (this.hasWaiting) return;
    this.#pings = (this.#pings + 1) & 0xff;
    this.#silent = true;
    this.#patience.asked();
    this.#inject(this.#frame(OPCODE.ping, pingPayload(this.#pings)));
  }

  /** Whether it was pinged, has had the time to read the ping, and has not responded. */
  get isDead(): boolean {
    return this.#silent && this.#reading && !this.hasWaiting && this.#patience.left(this.#wheel.lately) === 0;
  }

  /** Whether a pong responds to a ping of the proxy. */
  isResponse(payload: Uint8Array): boolean {
    const own = pingPayload(payload.at(-1) ?? 0);
    if (payload.length !== own.length || !own.every((byte, i) => byte === payload[i])) return false;
    if (payload.at(-1) === this.#pings) this.#patience.responded(this.#wheel.lately);
    return true;
  }
}

const NOTHING: Bytes = new Uint8Array(0);

/** Different from the payloads of other pings, whose pongs must be forwarded. */
function pingPayload(number: number): Bytes {
  return Uint8Array.of(0x6c, 0x62, 0x70, 0x72, 0x6f, 0x78, 0x79, number);
}
