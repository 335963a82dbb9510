/** Both ways of a client's connection that was switched to another protocol: bytes go on as they come. */

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

/** What a side is read into at first, and once it has filled that: an idle tunnel costs little. */
const FIRST_BUFFER_BYTES = 2 * 1024;
const BUFFER_BYTES = 16 * 1024;
/** How long a side may take to respond to a close frame. */
const CLOSE_MS = 5000;
/** The same when the proxy stops, and how long a side may take to read the last bytes. */
const LAST_WORDS_MS = 500;

/** What a {@linkcode TunnelRelay} takes. */
interface TunnelRelayOptions extends TunnelOptions {
  readonly client: Socket;
  readonly tunnel: Tunnel;
  /** What the client has sent already; `null` when it has shut down its side. */
  readonly first: Promise<Bytes | null>;
  /** Whether the sides speak WebSocket, whose frames are followed then. */
  readonly framed: boolean;
  /** How long a side may take nothing of what is there for it. */
  readonly writeMs: number;
  /** Whether they have agreed on extensions of it. */
  readonly extended: boolean;
  /** Told of bytes that were sent to the client; of a WebSocket those of messages. */
  readonly sent: (bytes: number) => void;
  /** Told once, when both sides are over. */
  readonly ended: (failure: ProxyError | null) => void;
}

/**
 * Pumps bytes from either side to the other, each at the pace of whoever takes them.
 *
 * Frames of WebSockets are followed and not rewritten, so that extensions, fragments and pings pass. The proxy's own
 * frames (pings, and those that close) stand between two of them, and responses to its pings go no further.
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
    this.#idle = wheel.deadline(() => this.#idleForLong());
    this.#stall = wheel.deadline(() => this.#lookForStalls());
    this.#stall.set(options.writeMs / 2);
    this.#ping = wheel.deadline(() => this.#pingBoth());
    this.#end = wheel.deadline(() => this.#finish());
    this.#keepAlive();
    if (framed && webSocket.pingIntervalMs !== Infinity) this.#ping.set(webSocket.pingIntervalMs);
    this.#stopping = cancellation.listen((reason) => {
      // Of a configuration that was replaced nobody waits for the end: a busy client gets the time to close.
      if (!(reason instanceof StoppingError)) this.#close(1001, "", LAST_WORDS_MS);
      else if (reason.hurried) this.#close(1001, "the proxy stops", LAST_WORDS_MS);
      else this.#close(1001, "the configuration was replaced", CLOSE_MS);
    });
    void this.#pump(this.#client, this.#server, options.first);
    void this.#pump(this.#server, this.#client, Promise.resolve(tunnel.first));
  }

  async #pump(from: Side, to: Side, first: Promise<Bytes | null>): Promise<void> {
    try {
      let bytes = await first;
      from.heard();
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
      if (error instanceof WebSocketProtocolError) await this.#broken(from, to, error);
      else this.#lost(to.lost ? to : from);
    }
  }

  // Whoever accepted the connection closes it first (RFC 6455 section 7.1.1).
  #bothClosed(): void {
    void this.#client.closeWrite();
    this.#end.set(LAST_WORDS_MS);
  }

  /** Sends on what has come; the first `seen` bytes were looked at already. */
  async #forward(from: Side, to: Side, bytes: Bytes, seen: number): Promise<void> {
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
      for (let at = seen; at < bytes.length;) {
        at = parser.next(bytes, at, bytes.length);
        if (parser.event === "data") {
          payload += parser.to - parser.from;
          this.#keepAlive();
        } else if (parser.event === "control") {
          const isOwn = this.#control(from, parser);
          // Nothing counts behind a close frame.
          if (from.closed) bytes = bytes.subarray(0, at);
          if (isOwn) {
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
    // A control frame waits until it is whole: it may be a response to a ping of the proxy.
    const end = place === "control" ? parser.frameStart : bytes.length;
    if (place === "data" && edge > sent && to.waits) {
      await to.write(bytes.subarray(sent, edge), true);
      sent = edge;
    }
    if (end > sent) await to.write(bytes.subarray(sent, end), place !== "data");
    from.hold(bytes, end);
  }

  /** Looks at a control frame; tells whether it is a response to a ping of the proxy. */
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

  // Other protocols may go on in one direction.
  #sideEnded(from: Side, to: Side): void {
    from.over = true;
    if (from.parser === null && !to.over) {
      void to.closeWrite();
      return;
    }
    if (from === this.#server && !from.closed) this.#serverGone("the connection was lost");
    void to.closeWrite();
    if (from.over && to.over) return this.#finish();
    this.#end.set(LAST_WORDS_MS);
  }

  #lost(from: Side): void {
    if (from !== this.#server || !this.#options.framed || this.#client.over) return this.#finish();
    this.#serverGone("the connection was lost");
    void this.#client.closeWrite();
    this.#end.set(LAST_WORDS_MS);
  }

  // A client learns by a code that it is not its own connection which was lost, as far as a frame can stand where it is.
  #serverGone(problem: string): void {
    if (this.#closing) return;
    this.#failure ??= this.#brokenOff(problem);
    if (!this.#options.framed) return;
    this.#closing = true;
    this.#client.close(1011, "the server broke off");
  }

  // Whoever breaks the protocol is told by a close frame, and must be able to read it: what it still sends is read.
  async #broken(from: Side, to: Side, error: WebSocketProtocolError): Promise<void> {
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
      // It is over all the same.
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

  #idleForLong(): void {
    // What is on its way to a slow side is no silence.
    if (this.#client.isWriting || this.#server.isWriting) this.#keepAlive();
    else this.#close(1001, "idle for too long", CLOSE_MS);
  }

  #lookForStalls(): void {
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
        return this.#end.set(LAST_WORDS_MS);
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

  /** Ends it at once; nobody is told. */
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

/** One end of the tunnel: what it sends is parsed, and what is written to it waits for its turn. */
class Side {
  readonly socket: Socket;
  /** Follows the frames that it sends; `null` where there are none. */
  readonly parser: FrameParser | null;
  /** Whether it has sent a close frame, and whether it sends nothing any more. */
  closed = false;
  over = false;
  /** Whether something could not be written to it. */
  lost = false;
  /** Bytes at the front of the buffer that wait for the rest of their frame. */
  held = 0;
  /** What is being written to it. */
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
  /** Whether what was written to it ends between two frames. */
  #atEdge = true;
  #closing = false;
  #shut = false;
  /** Whether it was asked for a sign of life and has given none. */
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

  /** Whether something is on its way to it. */
  get isWriting(): boolean {
    return this.#writing;
  }

  /** For how long it has taken nothing of that. */
  get stalledMs(): number {
    return this.#writing ? this.#wheel.lately - this.#writingSince : 0;
  }

  /** Whether a frame of the proxy's own waits for an edge. */
  get waits(): boolean {
    return this.#waiting.length > 0;
  }

  /** The bytes that are held, and what comes next behind them; good until the next read. */
  async read(): Promise<Bytes | null> {
    if (this.#buffer.length < BUFFER_BYTES && this.#filled) this.#grow();
    this.#reading = true;
    const count = await this.socket.read(this.held === 0 ? this.#buffer : this.#buffer.subarray(this.held));
    this.heard();
    if (count === null) return null;
    const end = this.held + count;
    this.#filled = end === this.#buffer.length;
    return this.#buffer.subarray(0, end);
  }

  /** Something has come. What is not read for a while, a pong among it, is not seen: silence means nothing then. */
  heard(): void {
    this.#reading = this.#silent = false;
  }

  #grow(): void {
    const grown = new Uint8Array(BUFFER_BYTES);
    grown.set(this.#buffer.subarray(0, this.held));
    this.#buffer = grown;
  }

  /** Keeps bytes from a place on, so that what comes next is read behind them. */
  hold(bytes: Bytes, from: number): void {
    this.held = bytes.length - from;
    if (this.held > 0) this.#buffer.set(bytes.subarray(from));
    this.parser!.frameStart = 0;
  }

  /** Writes bytes, and then what waits if they end between two frames; drops them after a close frame. */
  async write(bytes: Bytes, atEdge: boolean): Promise<void> {
    if (this.#writing) await this.written;
    if (bytes.length > 0 && !this.#shut) {
      await (this.written = this.#writeAll(bytes));
      this.#atEdge = atEdge;
    }
    if (this.#atEdge && this.waits) await (this.written = this.#writeWaiting());
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
      this.lost = true;
      throw error;
    } finally {
      this.#writing = false;
    }
  }

  #inject(frame: Bytes): void {
    this.#waiting.push(frame);
    // Whoever writes goes on with it; a failure is found by whoever reads.
    if (this.#atEdge && !this.#writing) this.write(NOTHING, true).catch(() => {});
  }

  /** Sends a close frame at the next edge; nothing goes to it after that. */
  close(code: number, reason: string): void {
    if (this.#closing || this.#shut) return;
    this.#closing = true;
    this.#inject(this.#frame(OPCODE.close, closePayload(code, reason)));
  }

  /** Tells it that nothing more comes, behind what is still to be written. */
  async closeWrite(): Promise<void> {
    this.#shut = true;
    try {
      while (this.#writing) await this.written;
      await this.socket.closeWrite();
    } catch {
      // It is closed all the same.
    }
  }

  /** Asks it whether it is there; numbered, so that a response tells how far it has come. */
  ping(): void {
    if (this.waits) return;
    this.#pings = (this.#pings + 1) & 0xff;
    this.#silent = true;
    this.#patience.asked();
    this.#inject(this.#frame(OPCODE.ping, pingPayload(this.#pings)));
  }

  /** Whether it was asked, has had the time to come to that, and said nothing. */
  get isDead(): boolean {
    return this.#silent && this.#reading && !this.waits && this.#patience.left(this.#wheel.lately) === 0;
  }

  /** Whether a pong is one to a ping of the proxy. */
  isResponse(payload: Uint8Array): boolean {
    const own = pingPayload(payload.at(-1) ?? 0);
    if (payload.length !== own.length || !own.every((byte, i) => byte === payload[i])) return false;
    if (payload.at(-1) === this.#pings) this.#patience.responded(this.#wheel.lately);
    return true;
  }
}

const NOTHING: Bytes = new Uint8Array(0);

/** Unlike what others put into their pings, whose responses have to pass. */
function pingPayload(number: number): Bytes {
  return Uint8Array.of(0x6c, 0x62, 0x70, 0x72, 0x6f, 0x78, 0x79, number);
}
