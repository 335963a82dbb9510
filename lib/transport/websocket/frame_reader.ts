/** Frames as a server sends them. */

import { type Frame, MAX_CONTROL_BYTES, WebSocketProtocolError } from "./frame.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const BUFFER_BYTES = 8 * 1024;
/** How much room a frame is given at first, whatever length it declares. */
const FIRST_PAYLOAD_BYTES = 256 * 1024;

/** What a {@linkcode FrameReader} takes. */
export interface FrameReaderOptions {
  readonly read: (buffer: Bytes) => Promise<number | null>;
  /** What was read already. */
  readonly first: Bytes;
  /** Most bytes of a frame. */
  readonly maxBytes: number;
}

/** Takes frames off a socket, one after the other. */
export class FrameReader {
  readonly #read: (buffer: Bytes) => Promise<number | null>;
  readonly #maxBytes: number;
  #buffer: Bytes = new Uint8Array(BUFFER_BYTES);
  #start = 0;
  #end = 0;

  constructor({ read, first, maxBytes }: FrameReaderOptions) {
    this.#read = read;
    this.#maxBytes = maxBytes;
    if (first.length === 0) return;
    if (first.length > BUFFER_BYTES) this.#buffer = new Uint8Array(first.length);
    this.#buffer.set(first);
    this.#end = first.length;
  }

  /**
   * The next frame; `null` when the connection ended, even in the middle of one.
   *
   * @throws {WebSocketProtocolError} for what RFC 6455 section 5 does not allow a server, and for a frame that is too long
   */
  async next(): Promise<Frame | null> {
    if (!await this.#fill(2)) return null;
    const first = this.#buffer[this.#start]!;
    const second = this.#buffer[this.#start + 1]!;
    const opcode = first & 0x0f;
    const fin = (first & 0x80) !== 0;
    if ((first & 0x70) !== 0) throw new WebSocketProtocolError("a frame has bits that were not agreed on");
    if ((second & 0x80) !== 0) throw new WebSocketProtocolError("a frame of a server is masked");
    const short = second & 0x7f;
    if (opcode >= 0x8 && (!fin || short > MAX_CONTROL_BYTES)) {
      throw new WebSocketProtocolError("a frame of control is too long or in pieces");
    }
    const extra = short === 127 ? 8 : short === 126 ? 2 : 0;
    if (!await this.#fill(2 + extra)) return null;
    const length = extra === 0 ? short : this.#length(this.#start + 2, extra);
    if (length > this.#maxBytes) throw tooBig(this.#maxBytes);
    this.#start += 2 + extra;
    const payload = await this.#payload(length);
    return payload === null ? null : { opcode, fin, payload };
  }

  #length(at: number, count: number): number {
    let length = 0;
    for (let i = 0; i < count; i++) length = length * 256 + this.#buffer[at + i]!;
    return length;
  }

  async #payload(length: number): Promise<Bytes | null> {
    const buffered = Math.min(length, this.#end - this.#start);
    if (buffered === length) {
      const whole = this.#buffer.slice(this.#start, this.#start + length);
      this.#start += length;
      return whole;
    }
    let payload = new Uint8Array(Math.min(length, Math.max(FIRST_PAYLOAD_BYTES, buffered)));
    payload.set(this.#buffer.subarray(this.#start, this.#end));
    this.#start = this.#end = 0;
    for (let filled = buffered; filled < length;) {
      if (filled === payload.length) {
        const grown = new Uint8Array(Math.min(length, payload.length * 2));
        grown.set(payload);
        payload = grown;
      }
      const count = await this.#read(payload.subarray(filled));
      if (count === null) return null;
      filled += count;
    }
    return payload;
  }

  /** Waits until so many bytes are in the buffer; `false` when the connection ended before. */
  async #fill(count: number): Promise<boolean> {
    while (this.#end - this.#start < count) {
      if (this.#start === this.#end) this.#start = this.#end = 0;
      else if (this.#start + count > this.#buffer.length) {
        this.#buffer.copyWithin(0, this.#start, this.#end);
        this.#end -= this.#start;
        this.#start = 0;
      }
      const read = await this.#read(this.#buffer.subarray(this.#end));
      if (read === null) return false;
      this.#end += read;
    }
    return true;
  }
}

/** What is said of a message that is longer than allowed. */
export function tooBig(maxBytes: number): WebSocketProtocolError {
  return new WebSocketProtocolError(`a message is longer than ${maxBytes} bytes`, 1009);
}
