/** Messages as a server sends them, put together from frames. */

import { type Frame, isCloseCode, OPCODE, WebSocketProtocolError } from "./frame.ts";
import { type FrameReader, tooBig } from "./frame_reader.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A message, a ping or pong, or the end. */
export type Incoming =
  | { readonly kind: "message"; readonly data: string | Bytes; readonly bytes: number }
  | { readonly kind: "ping"; readonly payload: Bytes }
  | { readonly kind: "pong" }
  /** Code 1005 stands for a frame of closing without one. */
  | { readonly kind: "close"; readonly code: number; readonly reason: string };

/** Puts frames together (RFC 6455 section 5.4). */
export class MessageReader {
  readonly #frames: FrameReader;
  readonly #maxBytes: number;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  #opcode = 0;
  #parts: Bytes[] = [];
  #bytes = 0;

  constructor(frames: FrameReader, maxBytes: number) {
    this.#frames = frames;
    this.#maxBytes = maxBytes;
  }

  /**
   * What comes next; `null` when the connection ended without a frame of closing.
   *
   * @throws {WebSocketProtocolError} for what a server must not send, and for a message that is too long
   */
  async next(): Promise<Incoming | null> {
    for (;;) {
      const frame = await this.#frames.next();
      if (frame === null) return null;
      const incoming = this.#take(frame);
      if (incoming !== null) return incoming;
    }
  }

  #take(frame: Frame): Incoming | null {
    switch (frame.opcode) {
      case OPCODE.text:
      case OPCODE.binary:
        if (this.#opcode !== 0) throw new WebSocketProtocolError("a message begins within another");
        this.#opcode = frame.opcode;
        return this.#takeData(frame);
      case OPCODE.continuation:
        if (this.#opcode === 0) throw new WebSocketProtocolError("a message goes on that did not begin");
        return this.#takeData(frame);
      case OPCODE.ping:
        return { kind: "ping", payload: frame.payload };
      case OPCODE.pong:
        return { kind: "pong" };
      case OPCODE.close:
        return this.#readClose(frame.payload);
      default:
        throw new WebSocketProtocolError("a frame is of a kind that does not exist");
    }
  }

  #takeData({ fin, payload }: Frame): Incoming | null {
    this.#bytes += payload.length;
    if (this.#bytes > this.#maxBytes) throw tooBig(this.#maxBytes);
    this.#parts.push(payload);
    if (!fin) return null;
    const { length } = this.#parts;
    const whole = length === 1 ? payload : concatenated(this.#parts, this.#bytes);
    const data = this.#opcode === OPCODE.text ? this.#text(whole) : whole;
    const bytes = this.#bytes;
    this.#opcode = this.#bytes = 0;
    this.#parts = [];
    return { kind: "message", data, bytes };
  }

  #text(bytes: Bytes): string {
    try {
      return this.#decoder.decode(bytes);
    } catch {
      throw new WebSocketProtocolError("a text is not UTF-8", 1007);
    }
  }

  #readClose(payload: Bytes): Incoming {
    if (payload.length === 0) return { kind: "close", code: 1005, reason: "" };
    const code = payload.length === 1 ? 0 : payload[0]! * 256 + payload[1]!;
    if (!isCloseCode(code)) throw new WebSocketProtocolError("a frame of closing has no good code");
    return { kind: "close", code, reason: this.#text(payload.subarray(2)) };
  }
}

function concatenated(parts: readonly Bytes[], bytes: number): Bytes {
  const whole = new Uint8Array(bytes);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
