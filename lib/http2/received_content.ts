/** Content that comes on a stream, and is read at the pace of whoever wants it. */

import type { ProxyError } from "../core/errors.ts";
import type { Body, Bytes } from "../http/message.ts";
import type { Buffers } from "./frame_writer.ts";
import { copyBytes } from "./hpack_decoder.ts";

/** The stream, as its content sees it. */
export interface ContentStream {
  readonly buffers: Buffers;
  readonly now: () => number;
  /** So much was read, or is not wanted. */
  onRead(bytes: number): void;
  /** Somebody waits for content. */
  onAwaited(): void;
}

/** Sizes of what it is kept in until it is read. */
const SMALL = 16 * 1024;
const LARGE = 64 * 1024;

/** Bytes in a buffer, and what of them was not read. */
interface Chunk {
  readonly buffer: Bytes;
  start: number;
  end: number;
}

/**
 * Keeps what has come and was not read: never more than the window of the stream, since the other side is told of room only when
 * something was read.
 */
export class ReceivedContent implements Body {
  readonly length: number | null;
  trailers: readonly string[] = [];
  /** Whether all of it has come. */
  ended = false;
  /** Why it could not be read; `null` as long as it could. */
  failure: ProxyError | null = null;
  /** How many bytes have come. */
  received = 0;
  /** Since when somebody waits for it; `Infinity` when nobody does. And for how long that was before. */
  awaitedSince = Infinity;
  waitedMs = 0;
  readonly #stream: ContentStream;
  readonly #chunks: Chunk[] = [];
  /** Bytes of the first chunk that somebody looks at. */
  #lent = 0;
  #seen = false;
  #cancelled = false;
  /** How many bytes were given back to the windows. */
  #credited = 0;
  #waiting: PromiseWithResolvers<void> | null = null;

  /** @param length what its head says of its length; -1 for nothing */
  constructor(stream: ContentStream, length: number) {
    this.#stream = stream;
    this.length = length < 0 ? null : length;
  }

  /** How many bytes are still to come; `Infinity` when that is not known. */
  get left(): number {
    if (this.ended) return 0;
    return this.length === null ? Infinity : this.length - this.received;
  }

  get ready(): Bytes | null {
    const chunk = this.#chunks[0];
    if (this.#lent > 0 || chunk === undefined || chunk.start === chunk.end) return null;
    this.#seen = true;
    return chunk.buffer.subarray(chunk.start, chunk.end);
  }

  get whole(): Bytes | null {
    if (!this.ended || this.#seen || this.#chunks.length > 1) return null;
    const chunk = this.#chunks[0];
    return chunk === undefined ? NOTHING : chunk.buffer.subarray(chunk.start, chunk.end);
  }

  async read(): Promise<Bytes | null> {
    this.#takeBack();
    for (;;) {
      const chunk = this.#chunks[0];
      if (chunk !== undefined && chunk.end > chunk.start) {
        this.#seen = true;
        this.#lent = chunk.end - chunk.start;
        const piece = chunk.buffer.subarray(chunk.start, chunk.end);
        chunk.start = chunk.end;
        return piece;
      }
      if (this.failure !== null) throw this.failure;
      if (this.ended || this.#cancelled) return null;
      await this.#wait();
    }
  }

  async #wait(): Promise<void> {
    const waiting = this.#waiting = Promise.withResolvers<void>();
    this.awaitedSince = this.#stream.now();
    this.#stream.onAwaited();
    await waiting.promise;
  }

  /** Whoever has read a piece looks at it no more. */
  #takeBack(): void {
    if (this.#lent === 0) return;
    const bytes = this.#lent;
    this.#lent = 0;
    const chunk = this.#chunks[0]!;
    if (chunk.start === chunk.end) {
      // The last one is filled on, as long as something comes.
      if (this.#chunks.length > 1 || this.ended) this.#drop();
      else chunk.start = chunk.end = 0;
    }
    this.#credit(bytes);
  }

  #credit(bytes: number): void {
    this.#credited += bytes;
    this.#stream.onRead(bytes);
  }

  #drop(): void {
    this.#stream.buffers.give(this.#chunks.shift()!.buffer);
  }

  /** Something has come. @internal */
  append(bytes: Uint8Array, from: number, to: number): void {
    this.received += to - from;
    if (this.#cancelled) return this.#credit(to - from);
    for (let at = from; at < to;) {
      const chunk = this.#roomFor(to - at);
      const next = Math.min(to, at + chunk.buffer.length - chunk.end);
      copyBytes(bytes, at, next, chunk.buffer, chunk.end);
      chunk.end += next - at;
      at = next;
    }
    this.#wake();
  }

  #roomFor(bytes: number): Chunk {
    const last = this.#chunks.at(-1);
    if (last !== undefined && last.end < last.buffer.length) return last;
    const buffer = this.#stream.buffers.take(bytes <= SMALL && last === undefined ? SMALL : LARGE);
    const chunk = { buffer, start: 0, end: 0 };
    this.#chunks.push(chunk);
    return chunk;
  }

  /** Nothing more comes. @internal */
  finish(trailers: readonly string[]): void {
    this.ended = true;
    this.trailers = trailers;
    this.#wake();
  }

  /** Breaks it off; a read that is pending fails with the error, and others once all that has come was read. */
  fail(error: ProxyError): void {
    if (!this.ended) this.failure ??= error;
    this.#wake();
  }

  /** Breaks it off at once: what has come and was not read is not wanted. */
  abort(error: ProxyError): void {
    this.fail(error);
    // What is lost must not look like an end.
    if (this.#chunks.some(({ start, end }) => end > start)) this.failure ??= error;
    this.#lent = 0;
    this.#giveAll(false);
  }

  cancel(): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.#lent = 0;
    this.#giveAll(true);
    this.#wake();
  }

  /** The stream is over. What somebody may still look at is left to the collector. @internal */
  release(): void {
    this.#giveAll(this.ended && this.#lent === 0);
  }

  #giveAll(unseen: boolean): void {
    const chunks = this.#chunks.splice(0);
    if (unseen) { for (const { buffer } of chunks) this.#stream.buffers.give(buffer); }
    this.#credit(this.received - this.#credited);
  }

  #wake(): void {
    const waiting = this.#waiting;
    if (waiting === null) return;
    this.#waiting = null;
    this.waitedMs += this.#stream.now() - this.awaitedSince;
    this.awaitedSince = Infinity;
    waiting.resolve();
  }
}

const NOTHING: Bytes = new Uint8Array(0);
