/** Follows the frames in a stream of bytes, of either direction. */

import { applyMask, MAX_CONTROL_BYTES, OPCODE, WebSocketProtocolError } from "./frame.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What a {@linkcode FrameParser} takes. */
export interface FrameParserOptions {
  /** Whether every frame must be masked, as those of clients, or none may be, as those of servers (section 5.1). */
  readonly masked: boolean;
  /** Most bytes of a message, in however many frames it comes. */
  readonly maxMessageBytes: number;
  /** Whether both sides have agreed on extensions, which may use the reserved bits. @default {false} */
  readonly extended?: boolean;
}

/** Where a {@linkcode FrameParser} stands: between two frames, or within one of a kind; a header that is not whole counts as control. */
type FramePlace = "edge" | "data" | "control";

/** What {@linkcode FrameParser.next} has come to. */
type FrameEvent =
  /** The end of the bytes; there is nothing to do. */
  | "more"
  /** A piece of a message: the bytes between `from` and `to`, or nothing but the end of the message. */
  | "data"
  /** A whole control frame: `opcode` and `payload`. */
  | "control";

/** Most frames of a message, since empty ones are not bounded by bytes: 16 MiB by 64 bytes, as test suites send it. */
export const MAX_MESSAGE_FRAMES = 262_144;

/** The longest header: two bytes, a length of eight, a mask of four. */
const MAX_HEADER_BYTES = 14;

/**
 * Finds where frames begin and end, and refuses what RFC 6455 section 5 does not allow.
 *
 * It reads nothing and keeps nothing of messages: whoever has the bytes may forward them as they are, or put messages
 * together. However the bytes are split, the outcome is the same.
 */
export class FrameParser {
  readonly #masked: boolean;
  readonly #extended: boolean;
  readonly #maxMessageBytes: number;
  readonly #header: Bytes = new Uint8Array(MAX_HEADER_BYTES);
  #headerBytes = 0;
  #headerLength = 2;
  readonly #control: Bytes = new Uint8Array(MAX_CONTROL_BYTES);
  #inPayload = false;
  #inMessage = false;
  #length = 0;
  #rest = 0;
  #frames = 0;
  #closed = false;

  /** Where the frame begins that is, or was, read last; below 0 for one that began in bytes before. */
  frameStart = 0;
  /** What the last call has come to. */
  event: FrameEvent = "more";
  /** Kind of the frame. */
  opcode = 0;
  /** Whether the message ends with the frame. */
  final = false;
  /** What the control frame carries, without its mask; good until the next call. */
  payload: Bytes = this.#control.subarray(0, 0);
  /** Where the piece of a message begins. */
  from = 0;
  /** Where the piece of a message ends. */
  to = 0;
  /** Where the piece begins within its frame; its mask goes by that. */
  offset = 0;
  /** Whether the message is a text. */
  text = false;
  /** Bytes of the message so far, with the whole frame that is being read. */
  messageBytes = 0;
  /** Whether the message ends with the piece. */
  messageEnd = false;

  constructor({ masked, maxMessageBytes, extended = false }: FrameParserOptions) {
    this.#extended = extended;
    this.#masked = masked;
    this.#maxMessageBytes = maxMessageBytes;
  }

  /** The four bytes that the frame is masked with; good until the next call. */
  get mask(): Bytes {
    return this.#header.subarray(this.#headerLength - 4, this.#headerLength);
  }

  /** Where it stands in the bytes that it was given. */
  get place(): FramePlace {
    if (this.#inPayload) return this.opcode >= OPCODE.close ? "control" : "data";
    return this.#headerBytes > 0 ? "control" : "edge";
  }

  /** How many bytes of the data frame are still to come. */
  get rest(): number {
    return this.#inPayload && this.opcode < OPCODE.close ? this.#rest : 0;
  }

  /**
   * Goes on to the end of a piece, of a control frame, or of the bytes. Whatever is behind a close frame is skipped.
   *
   * @returns how far it has come
   * @throws {WebSocketProtocolError} for what is not allowed, and for what is too long; it cannot go on after that
   */
  next(bytes: Uint8Array, start: number, end: number): number {
    this.event = "more";
    if (this.#closed) return end;
    let at = start;
    do {
      if (!this.#inPayload) at = this.#readHeader(bytes, at, end);
      if (!this.#inPayload) return at;
      at = this.opcode >= OPCODE.close ? this.#readControl(bytes, at, end) : this.#readData(at, end);
      // An empty frame in the middle of a message is nothing that anybody has to know of.
    } while (this.event === "more" && at < end);
    return at;
  }

  #readHeader(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    if (this.#headerBytes === 0) this.frameStart = at;
    while (at < end) {
      this.#header[this.#headerBytes++] = bytes[at++]!;
      if (this.#headerBytes === 1) this.#takeFirst(this.#header[0]!);
      else if (this.#headerBytes === 2) this.#takeSecond(this.#header[1]!);
      if (this.#headerBytes === this.#headerLength) return this.#beginPayload(at);
    }
    return at;
  }

  #takeFirst(byte: number): void {
    if ((byte & 0x70) !== 0 && !this.#extended) {
      throw new WebSocketProtocolError("a frame has bits that were not agreed on");
    }
    const opcode = byte & 0x0f;
    this.final = (byte & 0x80) !== 0;
    this.opcode = opcode;
    if (opcode >= OPCODE.close) {
      if (opcode > OPCODE.pong) throw unknownKind(opcode);
      if (!this.final) throw new WebSocketProtocolError("a control frame is in pieces");
    } else if (opcode > OPCODE.binary) throw unknownKind(opcode);
    else if (opcode === OPCODE.continuation) {
      if (!this.#inMessage) throw new WebSocketProtocolError("a message goes on that did not begin");
    } else if (this.#inMessage) throw new WebSocketProtocolError("a message begins within another");
    // The shortest header that there can be; the second byte tells of a longer one.
    this.#headerLength = 2;
  }

  #takeSecond(byte: number): void {
    const masked = (byte & 0x80) !== 0;
    if (masked !== this.#masked) {
      throw new WebSocketProtocolError(
        masked ? "a frame of a server is masked" : "a frame of a client is not masked",
      );
    }
    const length = byte & 0x7f;
    if (this.opcode >= OPCODE.close && length > MAX_CONTROL_BYTES) {
      throw new WebSocketProtocolError(`a control frame is longer than ${MAX_CONTROL_BYTES} bytes`);
    }
    this.#headerLength = 2 + (length === 127 ? 8 : length === 126 ? 2 : 0) + (masked ? 4 : 0);
  }

  #beginPayload(at: number): number {
    this.#headerBytes = 0;
    this.#length = this.#rest = this.#readLength();
    this.#inPayload = true;
    if (this.opcode >= OPCODE.close) return at;
    if (!this.#inMessage) {
      this.#inMessage = true;
      this.text = this.opcode === OPCODE.text;
      this.messageBytes = this.#frames = 0;
    }
    this.messageBytes += this.#length;
    if (this.messageBytes > this.#maxMessageBytes) {
      throw new WebSocketProtocolError(`a message is longer than ${this.#maxMessageBytes} bytes`, 1009);
    }
    if (++this.#frames > MAX_MESSAGE_FRAMES) {
      throw new WebSocketProtocolError(`a message is in more than ${MAX_MESSAGE_FRAMES} frames`, 1008);
    }
    return at;
  }

  #readLength(): number {
    const header = this.#header;
    const short = header[1]! & 0x7f;
    if (short < 126) return short;
    const bytes = short === 126 ? 2 : 8;
    // Above 2^53 it is not exact, and too long for anybody.
    let length = 0;
    for (let i = 0; i < bytes; i++) length = length * 256 + header[2 + i]!;
    if (bytes === 8 && header[2]! >= 0x80) {
      throw new WebSocketProtocolError("the length of a frame has its highest bit set");
    }
    if (length < (bytes === 2 ? 126 : 65536)) {
      throw new WebSocketProtocolError("the length of a frame is written in more bytes than it takes");
    }
    return length;
  }

  #readControl(bytes: Uint8Array, start: number, end: number): number {
    const count = Math.min(this.#rest, end - start);
    const from = this.#length - this.#rest;
    this.#control.set(bytes.subarray(start, start + count), from);
    if (this.#masked) applyMask(this.#control, from, from + count, this.mask, from);
    this.#rest -= count;
    if (this.#rest === 0) {
      this.#inPayload = false;
      this.#closed = this.opcode === OPCODE.close;
      this.payload = this.#control.subarray(0, this.#length);
      this.event = "control";
    }
    return start + count;
  }

  #readData(start: number, end: number): number {
    const count = Math.min(this.#rest, end - start);
    this.from = start;
    this.to = start + count;
    this.offset = this.#length - this.#rest;
    this.#rest -= count;
    this.#inPayload = this.#rest > 0;
    this.messageEnd = this.final && !this.#inPayload;
    if (this.messageEnd) this.#inMessage = false;
    if (count > 0 || this.messageEnd) this.event = "data";
    return this.to;
  }
}

function unknownKind(opcode: number): WebSocketProtocolError {
  return new WebSocketProtocolError(`a frame is of kind ${opcode}, which does not exist`);
}
