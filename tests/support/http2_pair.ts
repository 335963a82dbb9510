/** Both sides of an HTTP/2 connection in memory, without sockets. */

import type { HeaderFields } from "../../lib/http/header_fields.ts";
import type { Bytes } from "../../lib/http/message.ts";
import {
  type ConnectionOwner,
  Http2Connection,
  type Http2ConnectionOptions,
} from "../../lib/http2/connection.ts";
import type { Http2Error } from "../../lib/http2/frame_type.ts";
import { HeadShelf } from "../../lib/http2/received_head.ts";
import type { Http2Stream, StreamOwner, StreamReset } from "../../lib/http2/stream.ts";

/** Buffers that are never reused. */
export const FRESH_BUFFERS = {
  take: (size: number): Bytes => new Uint8Array(size),
  give: (): void => {},
};

/** Records the callbacks of a connection. */
export class TestOwner implements ConnectionOwner {
  readonly streams: Http2Stream[] = [];
  failure: Http2Error | null = null;
  goAway: number | null = null;
  ended = 0;
  onOutput(): void {}
  onStream(stream: Http2Stream): void {
    this.streams.push(stream);
    stream.owner = new TestStreamOwner();
  }
  onStreamEnd(): void {
    this.ended++;
  }
  onGoAway(code: number): void {
    this.goAway = code;
  }
  onFailure(error: Http2Error): void {
    this.failure = error;
  }
}

/** Records the callbacks of a stream. */
export class TestStreamOwner implements StreamOwner {
  heads = 0;
  room: () => void = () => {};
  reset: StreamReset | null = null;
  onHead(): void {
    this.heads++;
  }
  onRoom(): void {
    this.room();
  }
  onContentAwaited(): void {}
  onReset(reset: StreamReset): void {
    this.reset = reset;
  }
}

/** One side of a connection. */
export interface Side {
  readonly owner: TestOwner;
  readonly connection: Http2Connection;
}

/** Makes a side. */
export function makeSide(side: "server" | "client", options: Partial<Http2ConnectionOptions> = {}): Side {
  const owner = new TestOwner();
  const connection = new Http2Connection({
    side,
    owner,
    buffers: FRESH_BUFFERS,
    heads: new HeadShelf(),
    now: () => 0,
    maxHeadBytes: 32_768,
    maxFields: 200,
    ...options,
  });
  connection.begin();
  return { owner, connection };
}

/** A copy of all pending output. */
export function outputOf({ connection }: Side): Uint8Array {
  const pieces: Uint8Array[] = [];
  while (connection.hasOutput) pieces.push(connection.takeOutput().slice());
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** Passes bytes to a side in parts of this size. */
export function receive({ connection }: Side, bytes: Uint8Array, piece = Infinity): void {
  for (let at = 0; at < bytes.length; at += piece) {
    // A copy, so that a view kept beyond the call would see other content later.
    const part = bytes.slice(at, Math.min(at + piece, bytes.length));
    connection.receive(part, 0, part.length);
    part.fill(0xaa);
  }
}

/** Exchanges output between both sides until neither has any. */
export function exchange(a: Side, b: Side, piece = Infinity): void {
  for (let turn = 0; turn < 10_000; turn++) {
    const fromA = outputOf(a);
    const fromB = outputOf(b);
    if (fromA.length === 0 && fromB.length === 0) return;
    receive(b, fromA, piece);
    receive(a, fromB, piece);
  }
  throw new Error("They never end");
}

/** The field lines. */
export function linesOf(fields: HeaderFields): [string, string][] {
  return [...fields];
}

/** The bytes of a frame. */
export function frame(type: number, flags: number, id: number, payload: Iterable<number> = []): Uint8Array {
  const bytes = Uint8Array.from(payload);
  const { length } = bytes;
  return Uint8Array.of(
    ...[length >> 16, length >> 8, length, type, flags, id >>> 24, id >> 16, id >> 8, id],
    ...bytes,
  );
}

/** Bytes from hexadecimal digits. */
export function hex(text: string): Uint8Array {
  return Uint8Array.from(text.replace(/\s+/g, "").match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** The frames in these bytes, as `[type, flags, id, payload]`. */
export function framesIn(
  bytes: Uint8Array,
): { type: number; flags: number; id: number; payload: Uint8Array }[] {
  const frames = [];
  for (let at = 0; at + 9 <= bytes.length;) {
    const length = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
    const id = new DataView(bytes.buffer, bytes.byteOffset).getUint32(at + 5);
    const payload = bytes.slice(at + 9, at + 9 + length);
    frames.push({ type: bytes[at + 3]!, flags: bytes[at + 4]!, id, payload });
    at += 9 + length;
  }
  return frames;
}
