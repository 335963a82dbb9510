/** A WebSocket to a server, over a connection that has switched protocols. */

import type { Deadline, DeadlineWheel } from "../../core/cancellation.ts";
import type { Tunnel } from "../transport.ts";
import { closePayload, OPCODE, WebSocketProtocolError } from "./frame.ts";
import { FrameQueue, type Incoming, MessageReader } from "./messages.ts";
import { Patience } from "./web_socket_options.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** How long the server may take to respond to a close frame, after it can have received it. */
const CLOSE_MS = 5000;
/** How long the server may take to close the connection after both sides have sent close frames. */
const LINGER_MS = 500;

/** Receives the events of a {@linkcode ServerWebSocket}. */
export interface ServerWebSocketListener {
  /** A message; reading pauses until a returned promise is fulfilled. */
  message(data: string | Bytes, bytes: number): Promise<void> | void;
  /** Something was received other than a pong to a ping of the proxy. */
  alive(): void;
  /**
   * No more messages follow; called once. Code 1005 is a close frame without a code; 1006 is an end without a close
   * frame, or a close by the proxy for a fault of the server (`problem`).
   */
  ended(code: number, reason: string, problem: string | null): void;
  /** The connection is closed; called once, after {@linkcode ended}. */
  closed(): void;
}

/** Options of a {@linkcode ServerWebSocket}. */
interface ServerWebSocketOptions {
  readonly tunnel: Tunnel;
  readonly wheel: DeadlineWheel;
  readonly listener: ServerWebSocketListener;
  /** Most bytes of a message from the server. */
  readonly maxMessageBytes: number;
  /** Interval of pings to the server, which is also its time to respond; `Infinity` for none. */
  readonly pingIntervalMs: number;
}

/** The client's side of RFC 6455. */
export class ServerWebSocket implements Disposable {
  readonly #tunnel: Tunnel;
  readonly #wheel: DeadlineWheel;
  readonly #listener: ServerWebSocketListener;
  readonly #pingIntervalMs: number;
  readonly #reader: MessageReader;
  readonly #queue = new FrameQueue();
  readonly #patience = new Patience();
  readonly #closeDeadline: Deadline;
  readonly #pingDeadline: Deadline;
  #writing = false;
  #onWritten: (() => void) | null = null;
  #pings = 0;
  #silent = false;
  #seenBytes = 0;
  #held = false;
  #closing = false;
  #hurried = false;
  #ended = false;
  #over = false;

  constructor({ tunnel, wheel, listener, maxMessageBytes, pingIntervalMs }: ServerWebSocketOptions) {
    this.#tunnel = tunnel;
    this.#wheel = wheel;
    this.#listener = listener;
    this.#pingIntervalMs = pingIntervalMs;
    this.#reader = new MessageReader({ masked: false, maxMessageBytes, first: tunnel.first });
    this.#closeDeadline = wheel.deadline(() => this.#closeExpired());
    this.#pingDeadline = wheel.deadline(() => this.#ping());
  }

  /** Bytes that wait to be sent. */
  get bufferedBytes(): number {
    return this.#queue.bytes;
  }

  /** Starts to read. */
  start(): void {
    if (this.#pingIntervalMs !== Infinity) this.#pingDeadline.set(this.#pingIntervalMs);
    this.#run();
  }

  /** Sends a message after the waiting ones. */
  send(data: Uint8Array, text: boolean): void {
    if (this.#closing || this.#over) return;
    this.#queue.push(text ? OPCODE.text : OPCODE.binary, data);
    this.#flush();
  }

  /**
   * Closes after the waiting frames were sent; 1005 sends no code. The listener is called when it is done.
   *
   * @param withinMs deadline of the close; without it, a server that is slow to receive earlier frames gets time for
   * them
   */
  close(code: number, reason: string, withinMs?: number): void {
    if (this.#over) return;
    // A WebSocket that is already closing gets no more time, but may get less.
    if (!this.#closing || withinMs !== undefined) this.#closeDeadline.set(withinMs ?? CLOSE_MS);
    if (withinMs !== undefined) this.#hurried = true;
    if (this.#closing) return;
    this.#closing = true;
    this.#queue.close(closePayload(code, reason));
    this.#flush();
  }

  #closeExpired(): void {
    const isBusy = this.#patience.left(this.#wheel.lately) > 0;
    if (isBusy && !this.#hurried) this.#closeDeadline.set(CLOSE_MS);
    else this.#end(1006, "", null);
  }

  async #run(): Promise<void> {
    try {
      for (;;) {
        for (let incoming = this.#reader.next(); incoming !== null; incoming = this.#reader.next()) {
          const taken = this.#take(incoming);
          if (taken instanceof Promise) await this.#hold(taken);
          if (this.#ended || this.#over) return;
        }
        if (this.#reader.dataBytes > this.#seenBytes) this.#noteActivity();
        if (!await this.#read()) return this.#end(1006, "", "the connection was lost");
      }
    } catch (error) {
      if (error instanceof WebSocketProtocolError) this.#refuse(error);
      else this.#end(1006, "", error instanceof Error ? error.message : String(error));
    }
  }

  async #read(): Promise<boolean> {
    const count = await this.#tunnel.socket.read(this.#reader.room);
    if (count === null) return false;
    this.#silent = false;
    this.#reader.filled(count);
    return true;
  }

  #noteActivity(): void {
    this.#seenBytes = this.#reader.dataBytes;
    this.#listener.alive();
  }

  #take(incoming: Incoming): Promise<void> | void {
    switch (incoming.kind) {
      case "message":
        this.#noteActivity();
        return this.#listener.message(incoming.data, incoming.bytes);
      case "ping":
        this.#queue.pong(incoming.payload);
        this.#flush();
        return this.#noteActivity();
      case "pong": {
        const isLast = incoming.payload.length === 1 && incoming.payload[0] === this.#pings;
        if (isLast) this.#patience.responded(this.#wheel.lately);
        return;
      }
      case "close":
        this.#respondToClose(incoming.code, incoming.reason);
    }
  }

  // Bytes from the server, such as a pong, are not read meanwhile: its silence means nothing.
  async #hold(taken: Promise<void>): Promise<void> {
    this.#held = true;
    await taken;
    this.#held = this.#silent = false;
  }

  // The side that accepted the connection closes it first (RFC 6455 section 7.1.1). If the proxy closed it without
  // waiting, the stream of an HTTP/2 connection would be reset, and the server would see a failure instead of a clean
  // close.
  #respondToClose(code: number, reason: string): void {
    if (!this.#closing) this.#closeNext(closePayload(code, reason));
    this.#ended = this.#hurried = true;
    this.#pingDeadline.clear();
    this.#listener.ended(code, reason, null);
    this.#whenWritten(() => {
      if (this.#over) return;
      this.#closeDeadline.set(LINGER_MS);
      this.#linger();
    });
  }

  // Sends the reason to the server. If the connection were closed while the server still sends, it might never
  // receive the frame: the system resets connections that are closed with unread bytes.
  #refuse(error: WebSocketProtocolError): void {
    this.#closeNext(closePayload(error.code, ""));
    this.#listener.ended(1006, "", error.message);
    this.#whenWritten(() => this.#linger());
  }

  /** Sends a close frame next and drops waiting frames, which the server would ignore. */
  #closeNext(payload: Bytes): void {
    this.#ended = this.#hurried = true;
    this.#pingDeadline.clear();
    this.#closeDeadline.set(CLOSE_MS);
    this.#closing = true;
    this.#queue.clear();
    this.#queue.close(payload);
    this.#flush();
  }

  #whenWritten(then: () => void): void {
    this.#onWritten = then;
    if (!this.#writing) then();
  }

  async #linger(): Promise<void> {
    const { socket } = this.#tunnel;
    const dropped = new Uint8Array(8 * 1024);
    try {
      await socket.closeWrite();
      while (!this.#over && await socket.read(dropped) !== null);
    } catch {
      // The connection is closed in any case.
    }
    this.#end(1006, "", null);
  }

  #ping(): void {
    if (this.#closing) return;
    // A ping may wait for earlier frames, and its pong for bytes that are not read now.
    const isBusy = this.#held || this.#patience.left(this.#wheel.lately) > 0;
    if (this.#silent && !isBusy) return this.#end(1006, "", "the server does not respond to pings");
    this.#silent = true;
    // Numbered, so that a pong shows how far the server has read.
    this.#pings = (this.#pings + 1) & 0xff;
    this.#queue.ping(Uint8Array.of(this.#pings));
    this.#patience.asked();
    this.#pingDeadline.set(this.#pingIntervalMs);
    this.#flush();
  }

  async #flush(): Promise<void> {
    if (this.#writing) return;
    this.#writing = true;
    const { socket } = this.#tunnel;
    try {
      for (let frames = this.#queue.take(); frames !== null; frames = this.#queue.take()) {
        for (let sent = 0; sent < frames.length;) {
          const count = await socket.write(frames.subarray(sent));
          this.#patience.sent(count, this.#wheel.lately);
          sent += count;
        }
      }
    } catch {
      // The read determines how the connection ended.
      this.#queue.clear();
    }
    this.#writing = false;
    this.#onWritten?.();
  }

  #end(code: number, reason: string, problem: string | null): void {
    if (this.#over) return;
    this[Symbol.dispose]();
    if (!this.#ended) {
      this.#ended = true;
      this.#listener.ended(code, reason, problem);
    }
    this.#listener.closed();
  }

  /** Closes the connection at once, without a close frame; the listener is not called. */
  [Symbol.dispose](): void {
    if (this.#over) return;
    this.#over = true;
    this.#queue.clear();
    this.#closeDeadline.clear();
    this.#pingDeadline.clear();
    this.#tunnel[Symbol.dispose]();
  }
}
