/** Messages of WebSockets: assembled from received pieces, and queued as frames to be sent. */

import { applyMask, decodeText, frameBytes, Masks, OPCODE, readClose, writeFrame } from "./frame.ts";
import { FrameParser, type FrameParserOptions } from "./frame_parser.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A message, a ping, a pong, or a close. */
export type Incoming =
  | { readonly kind: "message"; readonly data: string | Bytes; readonly bytes: number }
  | { readonly kind: "ping" | "pong"; readonly payload: Bytes }
  /** Code 1005 represents a close frame without a code. */
  | { readonly kind: "close"; readonly code: number; readonly reason: string };

const INPUT_BYTES = 8 * 1024;
/** Largest initial buffer of a message, whatever length its frame declares. */
const FIRST_MESSAGE_BYTES = 256 * 1024;
const NOTHING: Bytes = new Uint8Array(0);

/** Options of a {@linkcode MessageReader}. */
interface MessageReaderOptions extends FrameParserOptions {
  /** Bytes that were already received. */
  readonly first: Bytes;
}

/**
 * Assembles messages from frames (RFC 6455 section 5.4). Call {@linkcode next} until it returns `null`; then read
 * into {@linkcode room} and call {@linkcode filled}.
 *
 * A message is one buffer that grows with the received bytes; frames cost nothing in addition to their bytes.
 */
export class MessageReader {
  readonly #parser: FrameParser;
  readonly #masked: boolean;
  readonly #maxMessageBytes: number;
  #input: Bytes;
  #start = 0;
  #end: number;
  #message: Bytes = NOTHING;
  #length = 0;
  #intoMessage = false;
  #whole = false;
  /** Received bytes of messages, including incomplete ones. */
  dataBytes = 0;

  constructor({ masked, maxMessageBytes, first }: MessageReaderOptions) {
    this.#masked = masked;
    this.#maxMessageBytes = maxMessageBytes;
    this.#parser = new FrameParser({ masked, maxMessageBytes });
    this.#input = new Uint8Array(Math.max(INPUT_BYTES, first.length));
    this.#input.set(first);
    this.#end = first.length;
  }

  /** Buffer for the next bytes; only after {@linkcode next} has returned `null`. */
  get room(): Bytes {
    const { rest } = this.#parser;
    // The rest of a long frame is read directly into the message; the rest of a short one with the bytes after it.
    this.#intoMessage = rest >= INPUT_BYTES;
    if (!this.#intoMessage) return this.#input;
    if (this.#message.length === this.#length) this.#grow(this.#length + 1);
    return this.#message.subarray(this.#length, this.#length + rest);
  }

  /** Notes how many bytes were read into {@linkcode room}. */
  filled(count: number): void {
    if (this.#intoMessage) {
      this.#parser.next(this.#message, this.#length, this.#length + count);
      this.#append(this.#message);
    } else {
      this.#start = 0;
      this.#end = count;
    }
  }

  /**
   * The next message, ping, pong or close; `null` when more bytes are needed.
   *
   * @throws {WebSocketProtocolError} for a violation of RFC 6455, and for a message that is too long
   */
  next(): Incoming | null {
    if (this.#whole) return this.#finish();
    const parser = this.#parser;
    while (this.#start < this.#end) {
      this.#start = parser.next(this.#input, this.#start, this.#end);
      if (parser.event === "control") return this.#readControl();
      if (parser.event === "data") {
        this.#append(this.#input);
        if (this.#whole) return this.#finish();
      }
    }
    return null;
  }

  /** Appends the parser's piece, which is already in place when it was read into the message. */
  #append(source: Bytes): void {
    const { from, to, offset, messageEnd } = this.#parser;
    const count = to - from;
    if (this.#masked) applyMask(source, from, to, this.#parser.mask, offset);
    if (source !== this.#message) {
      if (this.#message.length < this.#length + count) this.#grow(this.#length + count);
      copy(source, from, to, this.#message, this.#length);
    }
    this.#length += count;
    this.dataBytes += count;
    this.#whole = messageEnd;
  }

  #grow(needed: number): void {
    const { messageBytes } = this.#parser;
    const declared = Math.min(messageBytes, FIRST_MESSAGE_BYTES);
    // Doubled, so that many short frames are not copied each time; a final frame needs no more than its length.
    const doubled = Math.min(this.#message.length * 2, this.#maxMessageBytes);
    const size = Math.max(needed, declared, doubled);
    const grown = new Uint8Array(this.#parser.final ? Math.min(size, messageBytes) : size);
    grown.set(this.#message.subarray(0, this.#length));
    this.#message = grown;
  }

  #finish(): Incoming {
    const whole = this.#message.subarray(0, this.#length);
    const bytes = this.#length;
    this.#message = NOTHING;
    this.#length = 0;
    this.#whole = false;
    return { kind: "message", data: this.#parser.text ? decodeText(whole) : whole, bytes };
  }

  #readControl(): Incoming {
    const { opcode, payload } = this.#parser;
    if (opcode === OPCODE.ping) return { kind: "ping", payload: payload.slice() };
    if (opcode === OPCODE.pong) return { kind: "pong", payload: payload.slice() };
    return { kind: "close", ...readClose(payload) };
  }
}

/** Copies bytes; for a few bytes a view would cost more than copying. */
function copy(source: Bytes, from: number, to: number, target: Bytes, at: number): void {
  if (to - from > 32) target.set(source.subarray(from, to), at);
  else for (let i = from; i < to; i++) target[at + i - from] = source[i]!;
}

// Frames that wait to be sent to a server; the queue does not send itself.

/** Sizes of the buffers that frames share. */
const FIRST_BLOCK_BYTES = 1024;
const LAST_BLOCK_BYTES = 64 * 1024;

/**
 * Keeps masked frames in order. Short frames share buffers, so that a million of them cost no more than their bytes.
 * Pings and pongs are sent before waiting frames, and at most one of each waits (RFC 6455 section 5.5.3).
 */
export class FrameQueue {
  readonly #masks = new Masks();
  #full: Bytes[] = [];
  #block: Bytes = NOTHING;
  #filled = 0;
  #waiting = 0;
  #taken = 0;
  #ping: Uint8Array | null = null;
  #pong: Uint8Array | null = null;
  #closing = false;
  #closed = false;

  /** Waiting bytes, and those taken last; without pings and pongs. */
  get bytes(): number {
    return this.#waiting + this.#taken;
  }

  /** Appends a frame. */
  push(opcode: number, payload: Uint8Array): void {
    const needed = frameBytes(payload.length);
    if (this.#block.length - this.#filled < needed) {
      if (this.#filled > 0) this.#full.push(this.#block.subarray(0, this.#filled));
      // As much as already waits: a single frame gets a buffer of its size, and many frames share few buffers.
      const shared = Math.min(Math.max(this.#waiting, FIRST_BLOCK_BYTES), LAST_BLOCK_BYTES);
      this.#block = new Uint8Array(this.bytes === 0 ? needed : Math.max(needed, shared));
      this.#filled = 0;
    }
    this.#filled = writeFrame(this.#block, this.#filled, opcode, payload, this.#masks.next());
    this.#waiting += needed;
  }

  /** Appends a close frame, after which nothing may be added. */
  close(payload: Uint8Array): void {
    this.push(OPCODE.close, payload);
    this.#closing = true;
  }

  /** Queues a ping; replaces one that was not yet taken. */
  ping(payload: Uint8Array): void {
    this.#ping = payload;
  }

  /** Queues a pong; replaces one that was not yet taken. */
  pong(payload: Uint8Array): void {
    this.#pong = payload;
  }

  /** Takes the next bytes to write; only when those taken before were written. */
  take(): Bytes | null {
    this.#taken = 0;
    if (this.#closed) return null;
    if (this.#ping !== null || this.#pong !== null) return this.#takeControl();
    let next = this.#full.shift();
    if (next === undefined) {
      if (this.#filled === 0) return null;
      next = this.#block.subarray(0, this.#filled);
      this.#block = NOTHING;
      this.#filled = 0;
    }
    this.#taken = next.length;
    this.#waiting -= next.length;
    this.#closed = this.#closing && this.#waiting === 0;
    return next;
  }

  /** Drops frames that were not taken. */
  clear(): void {
    this.#full = [];
    this.#block = NOTHING;
    this.#filled = this.#waiting = 0;
    this.#ping = this.#pong = null;
  }

  #takeControl(): Bytes {
    const ping = this.#ping;
    const pong = this.#pong;
    const pongBytes = pong === null ? 0 : frameBytes(pong.length);
    const frames = new Uint8Array(pongBytes + (ping === null ? 0 : frameBytes(ping.length)));
    if (pong !== null) writeFrame(frames, 0, OPCODE.pong, pong, this.#masks.next());
    if (ping !== null) writeFrame(frames, pongBytes, OPCODE.ping, ping, this.#masks.next());
    this.#ping = this.#pong = null;
    return frames;
  }
}
