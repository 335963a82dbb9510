/** A WebSocket to a server, over a connection that the server has given over to it. */

import type { Deadline, DeadlineWheel } from "../../core/deadline_wheel.ts";
import type { Tunnel } from "../transport.ts";
import { encodeFrame, Masks } from "./encode_frame.ts";
import { MAX_CONTROL_BYTES, OPCODE, WebSocketProtocolError } from "./frame.ts";
import { FrameReader } from "./frame_reader.ts";
import { MessageReader } from "./message_reader.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** How long the server may take to answer a frame of closing. */
const CLOSE_MS = 5000;

/** What a {@linkcode ServerWebSocket} tells. */
export interface ServerWebSocketListener {
  /** A message; nothing more is read before a promise that is returned is fulfilled. */
  message(data: string | Bytes, bytes: number): Promise<void> | void;
  /** A ping or a pong: the server is there. */
  alive(): void;
  /**
   * The connection is over; called once. Code 1005 is a frame of closing without a code, 1006 an end without such a
   * frame or one of the proxy's own making because of what the server did (`problem`).
   */
  closed(code: number, reason: string, problem: string | null): void;
}

/** What a {@linkcode ServerWebSocket} takes. */
export interface ServerWebSocketOptions {
  readonly tunnel: Tunnel;
  readonly wheel: DeadlineWheel;
  readonly listener: ServerWebSocketListener;
  /** Most bytes of a message from the server. */
  readonly maxMessageBytes: number;
  /** How often the server is asked whether it is there; it has as long to answer. `Infinity` is never. */
  readonly pingIntervalMs: number;
}

/** The client's side of RFC 6455. */
export class ServerWebSocket implements Disposable {
  readonly #tunnel: Tunnel;
  readonly #listener: ServerWebSocketListener;
  readonly #pingIntervalMs: number;
  readonly #messages: MessageReader;
  readonly #masks = new Masks();
  readonly #encoder = new TextEncoder();
  readonly #closeDeadline: Deadline;
  readonly #pingDeadline: Deadline;
  #queue: Bytes[] = [];
  #queuedBytes = 0;
  #writing = false;
  #pinged = false;
  #closing = false;
  #over = false;

  constructor(options: ServerWebSocketOptions) {
    const { tunnel, wheel, listener, maxMessageBytes, pingIntervalMs } = options;
    this.#tunnel = tunnel;
    this.#listener = listener;
    this.#pingIntervalMs = pingIntervalMs;
    const { socket, first } = tunnel;
    const frames = new FrameReader({
      read: (buffer) => socket.read(buffer),
      first,
      maxBytes: maxMessageBytes,
    });
    this.#messages = new MessageReader(frames, maxMessageBytes);
    this.#closeDeadline = wheel.deadline(() => this.#end(1006, "", null));
    this.#pingDeadline = wheel.deadline(() => this.#ping());
  }

  /** Bytes that wait to be sent. */
  get bufferedBytes(): number {
    return this.#queuedBytes;
  }

  /** Begins to read. */
  start(): void {
    if (this.#pingIntervalMs !== Infinity) this.#pingDeadline.set(this.#pingIntervalMs);
    this.#run();
  }

  /** Sends a message as soon as those before it have left. */
  send(data: string | Uint8Array): void {
    if (this.#closing || this.#over) return;
    if (typeof data === "string") this.#enqueue(OPCODE.text, this.#encoder.encode(data));
    else this.#enqueue(OPCODE.binary, data);
  }

  /**
   * Closes after what waits to be sent; without a code when it is 1005. The listener is told when it is done.
   *
   * @param withinMs how long that may take
   */
  close(code: number, reason: string, withinMs = CLOSE_MS): void {
    if (this.#over) return;
    // One that is closing already gets no more time, but may get less.
    if (!this.#closing || withinMs < CLOSE_MS) this.#closeDeadline.set(withinMs);
    if (this.#closing) return;
    this.#closing = true;
    this.#enqueue(OPCODE.close, closePayload(code, this.#encoder.encode(reason)));
  }

  async #run(): Promise<void> {
    try {
      while (!this.#over) {
        const incoming = await this.#messages.next();
        if (incoming === null) return this.#end(1006, "", "the connection was lost");
        this.#pinged = false;
        switch (incoming.kind) {
          case "message": {
            const taken = this.#listener.message(incoming.data, incoming.bytes);
            if (taken instanceof Promise) await taken;
            break;
          }
          case "ping":
            this.#enqueue(OPCODE.pong, incoming.payload);
            this.#listener.alive();
            break;
          case "pong":
            this.#listener.alive();
            break;
          case "close":
            return this.#answerClose(incoming.code, incoming.reason);
        }
      }
    } catch (error) {
      if (error instanceof WebSocketProtocolError) this.#refuse(error);
      else this.#end(1006, "", error instanceof Error ? error.message : String(error));
    }
  }

  #answerClose(code: number, reason: string): void {
    if (this.#closing) return this.#end(code, reason, null);
    this.#closing = true;
    this.#enqueue(OPCODE.close, closePayload(code, this.#encoder.encode(reason)));
    this.#whenWritten(() => this.#end(code, reason, null));
  }

  // The server is told why, and heard no more.
  #refuse(error: WebSocketProtocolError): void {
    this.#closing = true;
    this.#enqueue(OPCODE.close, closePayload(error.code, new Uint8Array(0)));
    this.#whenWritten(() => this.#end(1006, "", error.message));
  }

  #whenWritten(then: () => void): void {
    this.#closeDeadline.set(CLOSE_MS);
    this.#onWritten = then;
    if (!this.#writing) then();
  }

  #onWritten: (() => void) | null = null;

  #ping(): void {
    if (this.#over || this.#closing) return;
    if (this.#pinged) return this.#end(1006, "", "the server does not answer pings");
    this.#pinged = true;
    this.#enqueue(OPCODE.ping, new Uint8Array(0));
    this.#pingDeadline.set(this.#pingIntervalMs);
  }

  #enqueue(opcode: number, payload: Uint8Array): void {
    if (this.#over) return;
    const frame = encodeFrame(opcode, payload, this.#masks.next());
    this.#queue.push(frame);
    this.#queuedBytes += frame.length;
    if (!this.#writing) this.#flush();
  }

  async #flush(): Promise<void> {
    this.#writing = true;
    const { socket } = this.#tunnel;
    try {
      while (this.#queue.length > 0) {
        const frames = this.#queue;
        this.#queue = [];
        for (const frame of frames) {
          for (let sent = 0; sent < frame.length;) sent += await socket.write(frame.subarray(sent));
          this.#queuedBytes -= frame.length;
        }
      }
      this.#writing = false;
      this.#onWritten?.();
    } catch {
      // The read tells what became of the connection.
      this.#writing = false;
      this.#queue = [];
      this.#onWritten?.();
    }
  }

  #end(code: number, reason: string, problem: string | null): void {
    if (this.#over) return;
    this[Symbol.dispose]();
    this.#listener.closed(code, reason, problem);
  }

  /** Closes the connection at once, without a word; the listener is not told. */
  [Symbol.dispose](): void {
    if (this.#over) return;
    this.#over = true;
    this.#queue = [];
    this.#closeDeadline.clear();
    this.#pingDeadline.clear();
    this.#tunnel[Symbol.dispose]();
  }
}

function closePayload(code: number, reason: Bytes): Bytes {
  if (code === 1005) return new Uint8Array(0);
  const payload = new Uint8Array(Math.min(2 + reason.length, MAX_CONTROL_BYTES));
  payload[0] = code >> 8;
  payload[1] = code & 0xff;
  payload.set(reason.subarray(0, payload.length - 2), 2);
  return payload;
}
