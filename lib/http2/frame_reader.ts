/** Reads frames from received bytes, which may be split anywhere (RFC 9113 sections 4 and 6). */

import { CODE, FLAG, FRAME, FRAME_BYTES, FRAME_HEAD, Http2Error, MAX_31_BITS } from "./frame_type.ts";
import { copyBytes } from "./hpack_decoder.ts";

/** Receives frames; each of its methods may throw an {@linkcode Http2Error}. */
export interface FrameHandler {
  /** A DATA frame begins; returns whether its content is wanted. */
  onData(id: number, length: number, end: boolean): boolean;
  /** A part of the content, lent. */
  onContent(id: number, bytes: Uint8Array, from: number, to: number): void;
  /** How many bytes of a DATA frame are padding. */
  onPadding(id: number, bytes: number): void;
  /** The last DATA frame of a stream has ended. */
  onDataEnd(id: number): void;
  /** A complete field block, lent. `dependsOn` is its parent stream; 0 for none. */
  onBlock(id: number, bytes: Uint8Array, from: number, to: number, end: boolean, dependsOn: number): void;
  onReset(id: number, code: number): void;
  onSettings(bytes: Uint8Array, from: number, to: number): void;
  onWindowUpdate(id: number, increment: number): void;
  onPing(ack: boolean, bytes: Uint8Array, from: number): void;
  onGoAway(lastStream: number, code: number): void;
  onOtherFrame(): void;
}

/** The client connection preface (section 3.4). */
export const PREFACE: Uint8Array = new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
/** Most CONTINUATION frames of one field block, in addition to one for each KiB of its largest size. */
const MORE_BLOCK_FRAMES = 16;

/** Reads the frames of one direction. Copies only frames that a read has split, and field blocks of several frames. */
export class FrameReader {
  readonly #handler: FrameHandler;
  readonly #maxBlock: number;
  /** Missing bytes of the preface. */
  #prefaceLeft: number;
  #settled = false;
  readonly #head = new Uint8Array(FRAME_HEAD);
  #headFilled = 0;
  #length = 0;
  #type = 0;
  #flags = 0;
  #id = 0;
  /** Missing bytes of the payload; for DATA those of its content, and of its padding. */
  #left = 0;
  #paddingLeft = 0;
  #paddingKnown = false;
  #wanted = true;
  #gathered: Uint8Array = NOTHING;
  #gatheredLength = 0;
  #block: Uint8Array = NOTHING;
  #blockLength = 0;
  #blockFrames = 0;
  /** The stream whose field block is incomplete; 0 when there is none. */
  #blockStream = 0;
  #blockEnds = false;
  #blockDepends = 0;

  /** @param maxHeadBytes a field block of more than twice as many bytes ends the connection */
  constructor(handler: FrameHandler, awaitsPreface: boolean, maxHeadBytes: number) {
    this.#handler = handler;
    this.#prefaceLeft = awaitsPreface ? PREFACE.length : 0;
    this.#maxBlock = Math.max(2 * maxHeadBytes, FRAME_BYTES);
  }

  /** Whether the peer has begun something other than content and not completed it. */
  get pending(): boolean {
    return !this.#settled || this.#blockStream !== 0 ||
      (this.#headFilled > 0 && (this.#headFilled < FRAME_HEAD || this.#type !== FRAME.DATA));
  }

  /** @throws {Http2Error} after which nothing more can be read */
  read(bytes: Uint8Array, from: number, to: number): void {
    let at = from;
    if (this.#prefaceLeft > 0) at = this.#readPreface(bytes, at, to);
    while (at < to) {
      if (this.#headFilled < FRAME_HEAD) {
        at = this.#readHead(bytes, at, to);
        if (this.#headFilled < FRAME_HEAD) return;
        this.#begin();
      }
      at = this.#type === FRAME.DATA ? this.#readData(bytes, at, to) : this.#readPayload(bytes, at, to);
    }
  }

  #readPreface(bytes: Uint8Array, from: number, to: number): number {
    let at = from;
    for (; at < to && this.#prefaceLeft > 0; at++, this.#prefaceLeft--) {
      if (bytes[at] !== PREFACE[PREFACE.length - this.#prefaceLeft]) throw protocolError("no HTTP/2");
    }
    return at;
  }

  #readHead(bytes: Uint8Array, from: number, to: number): number {
    let at = from;
    while (at < to && this.#headFilled < FRAME_HEAD) this.#head[this.#headFilled++] = bytes[at++]!;
    return at;
  }

  #begin(): void {
    const head = this.#head;
    this.#length = this.#left = (head[0]! << 16) | (head[1]! << 8) | head[2]!;
    this.#type = head[3]!;
    this.#flags = head[4]!;
    this.#id = readUint32(head, 5) & MAX_31_BITS;
    this.#gatheredLength = 0;
    if (this.#length > FRAME_BYTES) throw new Http2Error(CODE.FRAME_SIZE_ERROR, "a frame that is too large");
    if (!this.#settled) {
      if (this.#type !== FRAME.SETTINGS || (this.#flags & FLAG.ACK) !== 0) {
        throw protocolError("something else than SETTINGS at first");
      }
      this.#settled = true;
    }
    const inBlock = this.#blockStream !== 0;
    if (inBlock !== (this.#type === FRAME.CONTINUATION) || (inBlock && this.#id !== this.#blockStream)) {
      throw protocolError(inBlock ? "a frame within a field block" : "CONTINUATION without HEADERS");
    }
    if (this.#type === FRAME.DATA) return this.#beginData();
    if (this.#length === 0) this.#endFrame(NOTHING, 0, 0);
  }

  #beginData(): void {
    if (this.#id === 0) throw protocolError("DATA on stream 0");
    const padded = (this.#flags & FLAG.PADDED) !== 0;
    if (padded && this.#length === 0) {
      throw new Http2Error(CODE.FRAME_SIZE_ERROR, "padding without its length");
    }
    this.#paddingKnown = !padded;
    this.#paddingLeft = 0;
    this.#wanted = this.#handler.onData(this.#id, this.#length, (this.#flags & FLAG.END_STREAM) !== 0);
    if (this.#length === 0) this.#endData();
  }

  #readData(bytes: Uint8Array, from: number, to: number): number {
    let at = from;
    if (this.#headFilled === 0) return at;
    if (!this.#paddingKnown && at < to) {
      this.#paddingKnown = true;
      this.#paddingLeft = bytes[at++]!;
      if (this.#paddingLeft >= this.#length) throw protocolError("more padding than the frame is long");
      this.#left = this.#length - 1 - this.#paddingLeft;
      if (this.#wanted) this.#handler.onPadding(this.#id, 1 + this.#paddingLeft);
      if (this.#left === 0 && (this.#flags & FLAG.END_STREAM) === 0) this.#handler.onOtherFrame();
    }
    const end = Math.min(to, at + this.#left);
    if (end > at) {
      if (this.#wanted) this.#handler.onContent(this.#id, bytes, at, end);
      this.#left -= end - at;
      at = end;
    }
    if (this.#left > 0) return at;
    const skipped = Math.min(to - at, this.#paddingLeft);
    this.#paddingLeft -= skipped;
    if (this.#paddingLeft === 0) this.#endData();
    return at + skipped;
  }

  #endData(): void {
    this.#headFilled = 0;
    if (this.#wanted && (this.#flags & FLAG.END_STREAM) !== 0) this.#handler.onDataEnd(this.#id);
  }

  #readPayload(bytes: Uint8Array, from: number, to: number): number {
    if (this.#headFilled === 0) return from;
    if (this.#gatheredLength === 0 && to - from >= this.#length) {
      this.#endFrame(bytes, from, from + this.#length);
      return from + this.#length;
    }
    if (this.#gathered.length < this.#length) this.#gathered = new Uint8Array(this.#length);
    const end = Math.min(to, from + this.#left);
    copyBytes(bytes, from, end, this.#gathered, this.#gatheredLength);
    this.#gatheredLength += end - from;
    this.#left -= end - from;
    if (this.#left === 0) {
      const gathered = this.#gathered;
      this.#gathered = NOTHING;
      this.#endFrame(gathered, 0, this.#length);
    }
    return end;
  }

  #endFrame(bytes: Uint8Array, from: number, to: number): void {
    this.#headFilled = 0;
    const handler = this.#handler;
    const id = this.#id;
    switch (this.#type) {
      case FRAME.HEADERS:
        return this.#headers(bytes, from, to);
      case FRAME.CONTINUATION:
        return this.#continuation(bytes, from, to);
      case FRAME.PRIORITY:
        this.#expect("PRIORITY", 5, true);
        if ((readUint32(bytes, from) & MAX_31_BITS) === id) {
          throw protocolError("a stream that depends on itself");
        }
        return handler.onOtherFrame();
      case FRAME.RST_STREAM:
        this.#expect("RST_STREAM", 4, true);
        return handler.onReset(id, readUint32(bytes, from) >>> 0);
      case FRAME.SETTINGS:
        return this.#settings(bytes, from, to);
      case FRAME.PUSH_PROMISE:
        throw protocolError("PUSH_PROMISE");
      case FRAME.PING:
        this.#expect("PING", 8, false);
        return handler.onPing((this.#flags & FLAG.ACK) !== 0, bytes, from);
      case FRAME.GOAWAY:
        if (this.#length < 8) throw new Http2Error(CODE.FRAME_SIZE_ERROR, "a GOAWAY of a wrong size");
        if (id !== 0) throw protocolError("GOAWAY on a stream");
        return handler.onGoAway(readUint32(bytes, from) & MAX_31_BITS, readUint32(bytes, from + 4) >>> 0);
      case FRAME.WINDOW_UPDATE:
        if (this.#length !== 4) {
          throw new Http2Error(CODE.FRAME_SIZE_ERROR, "a WINDOW_UPDATE of a wrong size");
        }
        return handler.onWindowUpdate(id, readUint32(bytes, from) & MAX_31_BITS);
      default:
        handler.onOtherFrame();
    }
  }

  #expect(name: string, length: number, onStream: boolean): void {
    if (this.#length !== length) throw new Http2Error(CODE.FRAME_SIZE_ERROR, `a ${name} of a wrong size`);
    if ((this.#id !== 0) !== onStream) {
      throw protocolError(onStream ? `${name} on stream 0` : `${name} on a stream`);
    }
  }

  #settings(bytes: Uint8Array, from: number, to: number): void {
    const ack = (this.#flags & FLAG.ACK) !== 0;
    if (this.#id !== 0) throw protocolError("SETTINGS on a stream");
    if (ack ? this.#length > 0 : this.#length % 6 > 0) {
      throw new Http2Error(CODE.FRAME_SIZE_ERROR, "a SETTINGS of a wrong size");
    }
    if (ack) this.#handler.onOtherFrame();
    else this.#handler.onSettings(bytes, from, to);
  }

  #headers(bytes: Uint8Array, from: number, to: number): void {
    if (this.#id === 0) throw protocolError("HEADERS on stream 0");
    let at = from;
    let end = to;
    if ((this.#flags & FLAG.PADDED) !== 0) {
      if (at === to) throw new Http2Error(CODE.FRAME_SIZE_ERROR, "padding without its length");
      end -= bytes[at++]!;
    }
    this.#blockDepends = 0;
    if ((this.#flags & FLAG.PRIORITY) !== 0) {
      if (to - at < 5) throw new Http2Error(CODE.FRAME_SIZE_ERROR, "a priority of a wrong size");
      this.#blockDepends = readUint32(bytes, at) & MAX_31_BITS;
      at += 5;
    }
    if (at > end) throw protocolError("more padding than the frame is long");
    this.#blockEnds = (this.#flags & FLAG.END_STREAM) !== 0;
    const whole = (this.#flags & FLAG.END_HEADERS) !== 0;
    if (whole) return this.#endBlock(bytes, at, end);
    this.#blockStream = this.#id;
    this.#blockLength = this.#blockFrames = 0;
    this.#appendBlock(bytes, at, end);
  }

  #continuation(bytes: Uint8Array, from: number, to: number): void {
    const mostFrames = MORE_BLOCK_FRAMES + (this.#maxBlock >> 10);
    if (this.#blockLength + to - from > this.#maxBlock || ++this.#blockFrames > mostFrames) {
      throw new Http2Error(CODE.ENHANCE_YOUR_CALM, "a field block that is too long");
    }
    this.#appendBlock(bytes, from, to);
    const whole = (this.#flags & FLAG.END_HEADERS) !== 0;
    if (!whole) return;
    const block = this.#block;
    this.#blockStream = 0;
    this.#block = NOTHING;
    this.#endBlock(block, 0, this.#blockLength);
  }

  #appendBlock(bytes: Uint8Array, from: number, to: number): void {
    const needed = this.#blockLength + to - from;
    if (needed > this.#block.length) {
      const grown = new Uint8Array(Math.max(needed, this.#block.length * 2, FRAME_BYTES));
      grown.set(this.#block.subarray(0, this.#blockLength));
      this.#block = grown;
    }
    copyBytes(bytes, from, to, this.#block, this.#blockLength);
    this.#blockLength = needed;
  }

  #endBlock(bytes: Uint8Array, from: number, to: number): void {
    this.#handler.onBlock(this.#id, bytes, from, to, this.#blockEnds, this.#blockDepends);
  }
}

const NOTHING: Uint8Array = new Uint8Array(0);

function readUint32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}

function protocolError(found: string): Http2Error {
  return new Http2Error(CODE.PROTOCOL_ERROR, found);
}
