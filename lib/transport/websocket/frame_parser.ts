/** Parses the frames in a stream of bytes, of either direction. */

import { applyMask, MAX_CONTROL_BYTES, OPCODE, WebSocketProtocolError } from "./frame.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Options of a {@linkcode FrameParser}. */
export interface FrameParserOptions {
  /** Whether every frame must be masked, as those of clients, or none may be, as those of servers (section 5.1). */
  readonly masked: boolean;
  /** Most bytes of a message, in any number of frames. */
  readonly maxMessageBytes: number;
  /** Whether both sides have negotiated extensions, which may use the reserved bits. @default {false} */
  readonly extended?: boolean;
}

/**
 * Position of a {@linkcode FrameParser}: between two frames, or within a frame of a kind; an incomplete header counts
 * as control.
 */
type FramePlace = "edge" | "data" | "control";

/** Result of {@linkcode FrameParser.next}. */
type FrameEvent =
  /** The end of the bytes; nothing to do. */
  | "more"
  /** A piece of a message: the bytes between `from` and `to`, or only the end of the message. */
  | "data"
  /** A complete control frame: `opcode` and `payload`. */
  | "control";

/**
 * Most frames of a message, since empty frames are not limited by bytes: 16 MiB in frames of 64 bytes, as test suites
 * send it.
 */
export const MAX_MESSAGE_FRAMES = 262_144;

/** The longest header: two bytes, a length of eight, a mask of four. */
const MAX_HEADER_BYTES = 14;

/**
 * Finds the boundaries of frames, and refuses violations of RFC 6455 section 5.
 *
 * It stores no messages: the caller may forward the bytes unchanged, or assemble messages. The result does not depend
 * on how the bytes are split.
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

  /** Where the current or last frame begins; below 0 for a frame that began in earlier bytes. */
  frameStart = 0;
  /** Result of the last call. */
  event: FrameEvent = "more";
  /** Opcode of the frame. */
  opcode = 0;
  /** Whether the message ends with the frame. */
  final = false;
  /** Payload of the control frame, unmasked; valid until the next call. */
  payload: Bytes = this.#control.subarray(0, 0);
  /** Where the piece of a message begins. */
  from = 0;
  /** Where the piece of a message ends. */
  to = 0;
  /** Index of the piece within the payload of its frame, for the mask. */
  offset = 0;
  /** Whether the message is a text. */
  text = false;
  /** Bytes of the message so far, including the whole current frame. */
  messageBytes = 0;
  /** Whether the message ends with the piece. */
  messageEnd = false;

  constructor({ masked, maxMessageBytes, extended = false }: FrameParserOptions) {
    this.#extended = extended;
    this.#masked = masked;
    this.#maxMessageBytes = maxMessageBytes;
  }

  /** The mask of the frame; valid until the next call. */
  get mask(): Bytes {
    return this.#header.subarray(this.#headerLength - 4, this.#headerLength);
  }

  /** Position at the end of the parsed bytes. */
  get place(): FramePlace {
    if (this.#inPayload) return this.opcode >= OPCODE.close ? "control" : "data";
    return this.#headerBytes > 0 ? "control" : "edge";
  }

  /** How many bytes of the current data frame are missing. */
  get rest(): number {
    return this.#inPayload && this.opcode < OPCODE.close ? this.#rest : 0;
  }

  /**
   * Parses to the end of a piece, of a control frame, or of the bytes. Bytes after a close frame are skipped.
   *
   * @returns the index after the parsed bytes
   * @throws {WebSocketProtocolError} for a violation, and for a message that is too long; the parser cannot continue
   * then
   */
  next(bytes: Uint8Array, start: number, end: number): number {
    this.event = "more";
    if (this.#closed) return end;
    let at = start;
    do {
      if (!this.#inPayload) at = this.#readHeader(bytes, at, end);
      if (!this.#inPayload) return at;
      at = this.opcode >= OPCODE.close ? this.#readControl(bytes, at, end) : this.#readData(at, end);
      // An empty frame in the middle of a message is skipped.
    } while (this.event === "more" && at < end);
    return at;
  }

  #readHeader(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    if (this.#headerBytes === 0) this.frameStart = at;
    while (at < end) {
      this.#header[this.#headerBytes++] = bytes[at++]!;
      if (this.#headerBytes === 1) this.#readFirstByte(this.#header[0]!);
      else if (this.#headerBytes === 2) this.#readSecondByte(this.#header[1]!);
      if (this.#headerBytes === this.#headerLength) return this.#beginPayload(at);
    }
    return at;
  }

  #readFirstByte(byte: number): void {
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
    // The shortest possible header; the second byte decides the length.
    this.#headerLength = 2;
  }

  #readSecondByte(byte: number): void {
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
    // Above 2^53 the number is not exact, but too long in any case.
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
