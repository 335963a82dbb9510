/** Received content of a stream, which is read at the pace of its reader. */

import type { ProxyError } from "../core/errors.ts";
import type { Body, Bytes } from "../http/message.ts";
import type { Buffers } from "./frame_writer.ts";
import { copyBytes } from "./hpack_decoder.ts";

/** The stream, as its content sees it. */
export interface ContentStream {
  readonly buffers: Buffers;
  readonly now: () => number;
  /** Bytes were read, or are not wanted. */
  onRead(bytes: number): void;
  /** A read waits for content. */
  onAwaited(): void;
}

/** Sizes of the buffers for unread content. */
const SMALL = 16 * 1024;
const LARGE = 64 * 1024;

/** A buffer, and the range of its unread bytes. */
interface Chunk {
  readonly buffer: Bytes;
  start: number;
  end: number;
}

/**
 * Keeps received content until it is read: never more than the window of the stream, since the window is only updated
 * after reads.
 */
export class ReceivedContent implements Body {
  readonly length: number | null;
  trailers: readonly string[] = [];
  /** Whether all content was received. */
  ended = false;
  /** Why it could not be read; `null` while it can. */
  failure: ProxyError | null = null;
  /** How many bytes were received. */
  received = 0;
  /** Since when a read waits; `Infinity` when none does. And how long earlier reads have waited, in total. */
  awaitedSince = Infinity;
  waitedMs = 0;
  readonly #stream: ContentStream;
  readonly #chunks: Chunk[] = [];
  /** Bytes of the first chunk that are lent to a reader. */
  #lent = 0;
  #seen = false;
  #cancelled = false;
  /** How many bytes were returned to the windows. */
  #credited = 0;
  #waiting: PromiseWithResolvers<void> | null = null;

  /** @param length of the content as the head declares it; -1 when it does not */
  constructor(stream: ContentStream, length: number) {
    this.#stream = stream;
    this.length = length < 0 ? null : length;
  }

  /** How many bytes of content are missing; `Infinity` when that is not known. */
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
    this.#endLoan();
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

  /** Ends the loan of the piece that was read. */
  #endLoan(): void {
    if (this.#lent === 0) return;
    const bytes = this.#lent;
    this.#lent = 0;
    const chunk = this.#chunks[0]!;
    if (chunk.start === chunk.end) {
      // The last chunk is refilled, while more content may be received.
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

  /** Appends received content. @internal */
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

  /** Ends the content. @internal */
  finish(trailers: readonly string[]): void {
    this.ended = true;
    this.trailers = trailers;
    this.#wake();
  }

  /** Aborts the content. A pending read fails with the error, and later ones after all received content was read. */
  fail(error: ProxyError): void {
    if (!this.ended) this.failure ??= error;
    this.#wake();
  }

  /** Aborts the content at once: unread content is dropped. */
  abort(error: ProxyError): void {
    this.fail(error);
    // Lost content must not look like an end.
    if (this.#chunks.some(({ start, end }) => end > start)) this.failure ??= error;
    this.#lent = 0;
    this.#releaseAll(false);
  }

  cancel(): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.#lent = 0;
    this.#releaseAll(true);
    this.#wake();
  }

  /** The stream has ended. A buffer that may still be lent is left to the garbage collector. @internal */
  release(): void {
    this.#releaseAll(this.ended && this.#lent === 0);
  }

  #releaseAll(reusable: boolean): void {
    const chunks = this.#chunks.splice(0);
    if (reusable) { for (const { buffer } of chunks) this.#stream.buffers.give(buffer); }
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
