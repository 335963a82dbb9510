/** Messages of WebSockets: put together from what arrives in pieces, and queued as frames to be sent. */

import { applyMask, decodeText, frameBytes, Masks, OPCODE, readClose, writeFrame } from "./frame.ts";
import { FrameParser, type FrameParserOptions } from "./frame_parser.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A message, a ping or pong, or the end. */
export type Incoming =
  | { readonly kind: "message"; readonly data: string | Bytes; readonly bytes: number }
  | { readonly kind: "ping" | "pong"; readonly payload: Bytes }
  /** Code 1005 stands for a close frame without one. */
  | { readonly kind: "close"; readonly code: number; readonly reason: string };

const INPUT_BYTES = 8 * 1024;
/** How much room a message is given at first, whatever length its frame declares. */
const FIRST_MESSAGE_BYTES = 256 * 1024;
const NOTHING: Bytes = new Uint8Array(0);

/** What a {@linkcode MessageReader} takes. */
interface MessageReaderOptions extends FrameParserOptions {
  /** What was received already. */
  readonly first: Bytes;
}

/**
 * Puts frames together (RFC 6455 section 5.4): take what {@linkcode next} gives until there is nothing, then read into
 * {@linkcode room} and tell by {@linkcode filled}.
 *
 * A message is one buffer that grows with the bytes that have arrived; frames cost nothing in addition to their bytes.
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
  /** Bytes of messages that have arrived, those of messages that have not ended among them. */
  dataBytes = 0;

  constructor({ masked, maxMessageBytes, first }: MessageReaderOptions) {
    this.#masked = masked;
    this.#maxMessageBytes = maxMessageBytes;
    this.#parser = new FrameParser({ masked, maxMessageBytes });
    this.#input = new Uint8Array(Math.max(INPUT_BYTES, first.length));
    this.#input.set(first);
    this.#end = first.length;
  }

  /** Where the bytes belong that arrive next; only after {@linkcode next} gave `null`. */
  get room(): Bytes {
    const { rest } = this.#parser;
    // What is left of a long frame goes where it belongs at once; the rest of a short one comes with what follows.
    this.#intoMessage = rest >= INPUT_BYTES;
    if (!this.#intoMessage) return this.#input;
    if (this.#message.length === this.#length) this.#grow(this.#length + 1);
    return this.#message.subarray(this.#length, this.#length + rest);
  }

  /** Tells how many bytes were put into {@linkcode room}. */
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
   * @throws {WebSocketProtocolError} for what RFC 6455 does not allow, and for a message that is too long
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

  /** Takes the parser's piece, which is in place already when it was read into the message. */
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
    // Doubled, so that many short frames are not copied each time; a whole frame takes no more than it says.
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

/** Copies bytes; a view of a few would cost more than they do. */
function copy(source: Bytes, from: number, to: number, target: Bytes, at: number): void {
  if (to - from > 32) target.set(source.subarray(from, to), at);
  else for (let i = from; i < to; i++) target[at + i - from] = source[i]!;
}

// What waits to be sent to a server, as frames; does not send itself.

/** Sizes of the buffers that frames share. */
const FIRST_BLOCK_BYTES = 1024;
const LAST_BLOCK_BYTES = 64 * 1024;

/**
 * Keeps masked frames in order. Short ones share buffers, so that a million of them cost no more than their bytes. Pings
 * and pongs go out before what waits, and there is at most one of each (RFC 6455 section 5.5.3).
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

  /** Bytes that wait, and those that were taken last; without pings and pongs. */
  get bytes(): number {
    return this.#waiting + this.#taken;
  }

  /** Adds a frame behind all others. */
  push(opcode: number, payload: Uint8Array): void {
    const needed = frameBytes(payload.length);
    if (this.#block.length - this.#filled < needed) {
      if (this.#filled > 0) this.#full.push(this.#block.subarray(0, this.#filled));
      // As much as waits already: one frame alone takes what it needs, and many take few buffers.
      const shared = Math.min(Math.max(this.#waiting, FIRST_BLOCK_BYTES), LAST_BLOCK_BYTES);
      this.#block = new Uint8Array(this.bytes === 0 ? needed : Math.max(needed, shared));
      this.#filled = 0;
    }
    this.#filled = writeFrame(this.#block, this.#filled, opcode, payload, this.#masks.next());
    this.#waiting += needed;
  }

  /** Adds a close frame, behind which nothing may be added. */
  close(payload: Uint8Array): void {
    this.push(OPCODE.close, payload);
    this.#closing = true;
  }

  /** Asks the server whether it is there, in place of a ping that has not left. */
  ping(payload: Uint8Array): void {
    this.#ping = payload;
  }

  /** Responds to a ping, in place of a pong that has not left. */
  pong(payload: Uint8Array): void {
    this.#pong = payload;
  }

  /** What is to be written next; only when what was taken before has been written. */
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

  /** Drops what has not been taken. */
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
