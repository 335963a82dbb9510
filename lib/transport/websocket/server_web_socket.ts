/** A WebSocket to a server, over a connection that the server has given over to it. */

import type { Deadline, DeadlineWheel } from "../../core/cancellation.ts";
import type { Tunnel } from "../transport.ts";
import { closePayload, OPCODE, WebSocketProtocolError } from "./frame.ts";
import { FrameQueue, type Incoming, MessageReader } from "./messages.ts";
import { Patience } from "./web_socket_options.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** How long the server may take to respond to a close frame, once it can have come to it. */
const CLOSE_MS = 5000;
/** How long it may take to close the connection once both sides have sent theirs. */
const LAST_WORDS_MS = 500;

/** Receives what a {@linkcode ServerWebSocket} has to say. */
export interface ServerWebSocketListener {
  /** A message; nothing more is read before a promise that is returned is fulfilled. */
  message(data: string | Bytes, bytes: number): Promise<void> | void;
  /** Something came that is no response to a ping of the proxy. */
  alive(): void;
  /**
   * No message comes any more; called once. Code 1005 is a close frame without a code, 1006 an end without such a frame
   * or one of the proxy's own making because of what the server did (`problem`).
   */
  ended(code: number, reason: string, problem: string | null): void;
  /** The connection is closed; called once, after {@linkcode ended}. */
  closed(): void;
}

/** What a {@linkcode ServerWebSocket} takes. */
interface ServerWebSocketOptions {
  readonly tunnel: Tunnel;
  readonly wheel: DeadlineWheel;
  readonly listener: ServerWebSocketListener;
  /** Most bytes of a message from the server. */
  readonly maxMessageBytes: number;
  /** How often the server is asked whether it is there; it has as long to respond. `Infinity` is never. */
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
    this.#closeDeadline = wheel.deadline(() => this.#giveUpClosing());
    this.#pingDeadline = wheel.deadline(() => this.#ping());
  }

  /** Bytes that wait to be sent. */
  get bufferedBytes(): number {
    return this.#queue.bytes;
  }

  /** Begins to read. */
  start(): void {
    if (this.#pingIntervalMs !== Infinity) this.#pingDeadline.set(this.#pingIntervalMs);
    this.#run();
  }

  /** Sends a message as soon as those before it have left. */
  send(data: Uint8Array, text: boolean): void {
    if (this.#closing || this.#over) return;
    this.#queue.push(text ? OPCODE.text : OPCODE.binary, data);
    this.#flush();
  }

  /**
   * Closes after what waits to be sent; without a code when it is 1005. The listener hears when it is done.
   *
   * @param withinMs how long that may take; without it, a server that takes slowly what was sent before has the time for it
   */
  close(code: number, reason: string, withinMs?: number): void {
    if (this.#over) return;
    // One that is closing already gets no more time, but may get less.
    if (!this.#closing || withinMs !== undefined) this.#closeDeadline.set(withinMs ?? CLOSE_MS);
    if (withinMs !== undefined) this.#hurried = true;
    if (this.#closing) return;
    this.#closing = true;
    this.#queue.close(closePayload(code, reason));
    this.#flush();
  }

  #giveUpClosing(): void {
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
        if (this.#reader.dataBytes > this.#seenBytes) this.#noteLife();
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

  #noteLife(): void {
    this.#seenBytes = this.#reader.dataBytes;
    this.#listener.alive();
  }

  #take(incoming: Incoming): Promise<void> | void {
    switch (incoming.kind) {
      case "message":
        this.#noteLife();
        return this.#listener.message(incoming.data, incoming.bytes);
      case "ping":
        this.#queue.pong(incoming.payload);
        this.#flush();
        return this.#noteLife();
      case "pong": {
        const isLast = incoming.payload.length === 1 && incoming.payload[0] === this.#pings;
        if (isLast) this.#patience.responded(this.#wheel.lately);
        return;
      }
      case "close":
        this.#respondToClose(incoming.code, incoming.reason);
    }
  }

  // What the server has sent meanwhile, a pong among it, is not seen: its silence means nothing.
  async #hold(taken: Promise<void>): Promise<void> {
    this.#held = true;
    await taken;
    this.#held = this.#silent = false;
  }

  // Whoever accepted the connection closes it first (RFC 6455 section 7.1.1). Were it closed without waiting for that, the
  // stream of an HTTP/2 connection would be reset, and the server would take a WebSocket that has ended well for one that broke off.
  #respondToClose(code: number, reason: string): void {
    if (!this.#closing) this.#closeInTurn(closePayload(code, reason));
    this.#ended = this.#hurried = true;
    this.#pingDeadline.clear();
    this.#listener.ended(code, reason, null);
    this.#whenWritten(() => {
      if (this.#over) return;
      this.#closeDeadline.set(LAST_WORDS_MS);
      this.#linger();
    });
  }

  // The server is told why. Were the connection closed while it goes on sending, the frame might never reach it: the
  // system resets connections that are closed with something unread.
  #refuse(error: WebSocketProtocolError): void {
    this.#closeInTurn(closePayload(error.code, ""));
    this.#listener.ended(1006, "", error.message);
    this.#whenWritten(() => this.#linger());
  }

  /** Has a close frame leave next: what waits is for a server that listens. */
  #closeInTurn(payload: Bytes): void {
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
      // It is closed all the same.
    }
    this.#end(1006, "", null);
  }

  #ping(): void {
    if (this.#closing) return;
    // A ping may have to wait for what was sent before it, and its pong for what is not read now.
    const isBusy = this.#held || this.#patience.left(this.#wheel.lately) > 0;
    if (this.#silent && !isBusy) return this.#end(1006, "", "the server does not respond to pings");
    this.#silent = true;
    // Numbered, so that a pong tells how far the server has come.
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
      // The read finds out what became of the connection.
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

  /** Closes the connection at once, without a word; the listener is not told. */
  [Symbol.dispose](): void {
    if (this.#over) return;
    this.#over = true;
    this.#queue.clear();
    this.#closeDeadline.clear();
    this.#pingDeadline.clear();
    this.#tunnel[Symbol.dispose]();
  }
}
