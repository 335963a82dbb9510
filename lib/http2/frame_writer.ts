/** The frames that wait for their socket, in one buffer, which is written at once. */

import type { Bytes } from "../http/message.ts";
import { FLAG, FRAME, FRAME_HEAD } from "./frame_type.ts";
import { copyBytes } from "./hpack_decoder.ts";

/** Lends buffers, as a `BufferShelf` does. */
export interface Buffers {
  take(size: number): Bytes;
  give(buffer: Bytes): void;
}

/** Sizes of buffers: the output rarely exceeds the first. */
const SIZES = [16 * 1024, 64 * 1024, 256 * 1024] as const;

/** Writes frames; holds a buffer only while output waits in it. */
export class FrameWriter {
  bytes: Bytes = NOTHING;
  length = 0;
  readonly #buffers: Buffers;

  constructor(buffers: Buffers) {
    this.#buffers = buffers;
  }

  /** Makes room for `more` bytes. */
  reserve(more: number): void {
    const needed = this.length + more;
    if (needed <= this.bytes.length) return;
    const size = SIZES.find((each) => each >= needed) ?? needed * 2;
    const grown = this.#buffers.take(size);
    if (this.length > 0) grown.set(this.bytes.subarray(0, this.length));
    if (this.bytes.length > 0) this.#buffers.give(this.bytes);
    this.bytes = grown;
  }

  /** Returns the output to be written, and starts again; the buffer is returned by {@linkcode FrameWriter.give}. */
  take(): Bytes {
    const taken = this.bytes.subarray(0, this.length);
    this.bytes = NOTHING;
    this.length = 0;
    return taken;
  }

  /** Takes back the buffer of written output. */
  give(taken: Bytes): void {
    if (taken.buffer.byteLength > 0) this.#buffers.give(new Uint8Array(taken.buffer));
  }

  /** Writes a frame header. */
  head(length: number, type: number, flags: number, stream: number): void {
    this.reserve(FRAME_HEAD + length);
    this.headAt(this.length, length, type, flags, stream);
    this.length += FRAME_HEAD;
  }

  /** Writes a frame header at an index. */
  headAt(at: number, length: number, type: number, flags: number, stream: number): void {
    const { bytes } = this;
    bytes[at] = length >> 16;
    bytes[at + 1] = length >> 8;
    bytes[at + 2] = length;
    bytes[at + 3] = type;
    bytes[at + 4] = flags;
    bytes[at + 5] = stream >>> 24;
    bytes[at + 6] = stream >> 16;
    bytes[at + 7] = stream >> 8;
    bytes[at + 8] = stream;
  }

  /** Writes four bytes. */
  uint32(value: number): void {
    const { bytes, length } = this;
    bytes[length] = value >>> 24;
    bytes[length + 1] = value >> 16;
    bytes[length + 2] = value >> 8;
    bytes[length + 3] = value;
    this.length = length + 4;
  }

  /** Copies bytes for which there is room. */
  copy(source: Uint8Array, from: number, to: number): void {
    copyBytes(source, from, to, this.bytes, this.length);
    this.length += to - from;
  }

  data(stream: number, source: Uint8Array, from: number, to: number, end: boolean): void {
    this.head(to - from, FRAME.DATA, end ? FLAG.END_STREAM : 0, stream);
    this.copy(source, from, to);
  }

  /** @param pairs setting, value, setting, value, ... */
  settings(pairs: readonly number[]): void {
    this.head(pairs.length * 3, FRAME.SETTINGS, 0, 0);
    for (let i = 0; i < pairs.length; i += 2) {
      this.bytes[this.length++] = pairs[i]! >> 8;
      this.bytes[this.length++] = pairs[i]!;
      this.uint32(pairs[i + 1]!);
    }
  }

  settingsAck(): void {
    this.head(0, FRAME.SETTINGS, FLAG.ACK, 0);
  }

  ping(flags: number, source: Uint8Array, from: number): void {
    this.head(8, FRAME.PING, flags, 0);
    this.copy(source, from, from + 8);
  }

  rstStream(stream: number, code: number): void {
    this.head(4, FRAME.RST_STREAM, 0, stream);
    this.uint32(code);
  }

  goAway(lastStream: number, code: number): void {
    this.head(8, FRAME.GOAWAY, 0, 0);
    this.uint32(lastStream);
    this.uint32(code);
  }

  windowUpdate(stream: number, increment: number): void {
    this.head(4, FRAME.WINDOW_UPDATE, 0, stream);
    this.uint32(increment);
  }

  /**
   * Turns the bytes after `start`, a complete field block, into HEADERS and as many CONTINUATION frames as needed;
   * `start` has room for the header of the first frame.
   */
  endBlock(start: number, maxFrame: number, stream: number, endStream: boolean): void {
    const total = this.length - start - FRAME_HEAD;
    const ends = endStream ? FLAG.END_STREAM : 0;
    if (total <= maxFrame) return this.headAt(start, total, FRAME.HEADERS, ends | FLAG.END_HEADERS, stream);
    const more = Math.ceil(total / maxFrame) - 1;
    this.reserve(more * FRAME_HEAD);
    for (let i = more; i > 0; i--) {
      const from = start + FRAME_HEAD + i * maxFrame;
      const to = Math.min(from + maxFrame, start + FRAME_HEAD + total);
      const place = from + (i - 1) * FRAME_HEAD;
      this.bytes.copyWithin(place + FRAME_HEAD, from, to);
      this.headAt(place, to - from, FRAME.CONTINUATION, i === more ? FLAG.END_HEADERS : 0, stream);
    }
    this.headAt(start, maxFrame, FRAME.HEADERS, ends, stream);
    this.length += more * FRAME_HEAD;
  }
}

const NOTHING: Bytes = new Uint8Array(0);
