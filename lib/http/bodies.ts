/** Content in memory, and content of streams: what is pulled as {@linkcode Body} and what the web calls a stream. */

import { unexpected } from "../core/callback.ts";
import type { Body, Bytes } from "./message.ts";

/** A stream of content that is read when somebody reads the stream. */
export function streamOf(body: Body): ReadableStream<Bytes> {
  return new ReadableStream<Bytes>({
    async pull(controller): Promise<void> {
      const piece = await body.read();
      if (piece === null) controller.close();
      // What is read is lent, and whoever reads the stream may keep it.
      else controller.enqueue(piece.slice());
    },
    cancel: (reason) => body.cancel(reason),
  }, { highWaterMark: 0 });
}

/** Content that comes as a stream. */
export class StreamBody implements Body {
  readonly trailers: readonly string[] = [];
  readonly #stream: ReadableStream<Bytes>;
  readonly #declared: number | null;
  #reader: ReadableStreamDefaultReader<Bytes> | null = null;
  #first: Bytes | null = null;
  #pending: Promise<ReadableStreamReadResult<Bytes>> | null = null;
  #ended = false;

  /** @param length how long it is, when that is known; `null` otherwise */
  constructor(stream: ReadableStream<Bytes>, length: number | null = null) {
    this.#stream = stream;
    this.#declared = length;
  }

  get length(): number | null {
    return this.whole?.length ?? this.#declared;
  }

  get ready(): Bytes | null {
    return this.#first;
  }

  get whole(): Bytes | null {
    return this.#ended ? this.#first : null;
  }

  /** Looks whether the content is in memory behind its stream, as that of `new Response("text")` is. */
  async gather(): Promise<void> {
    const reader = this.#reader ??= this.#stream.getReader();
    this.#pending = reader.read();
    if (!await endsInTurn(this.#pending)) return;
    const { value, done } = await this.#pending;
    // What cannot be content is told to whoever reads it.
    if (!done && !(value instanceof Uint8Array)) return;
    this.#first = done ? new Uint8Array(0) : value;
    this.#pending = null;
    this.#ended = done;
    if (done) return;
    this.#pending = reader.read();
    if (await endsInTurn(this.#pending)) this.#ended = (await this.#pending).done;
  }

  async read(): Promise<Bytes | null> {
    const first = this.#first;
    this.#first = null;
    if (first !== null && first.length > 0) return first;
    if (this.#ended) return null;
    this.#reader ??= this.#stream.getReader();
    const pending = this.#pending ?? this.#reader.read();
    this.#pending = null;
    const { value, done } = await pending;
    if (done) return null;
    if (!(value instanceof Uint8Array)) {
      this.cancel();
      throw unexpected("content in pieces of type Uint8Array", value);
    }
    return value;
  }

  cancel(reason?: unknown): void {
    if (this.#ended) return;
    const cancelled = this.#reader === null ? this.#stream.cancel(reason) : this.#reader.cancel(reason);
    cancelled.catch(() => {});
  }
}

/** Whether a promise is settled before the loop turns. */
async function endsInTurn(promise: Promise<unknown>): Promise<boolean> {
  const { promise: turned, resolve } = Promise.withResolvers<false>();
  const timer = setTimeout(() => resolve(false), 0);
  const settled = await Promise.race([promise.then(() => true, () => true), turned]);
  clearTimeout(timer);
  return settled;
}

/** Content that is in memory. */
export class WholeBody implements Body {
  readonly trailers: readonly string[] = [];
  #bytes: Bytes | null;
  readonly length: number;

  constructor(bytes: Bytes) {
    this.#bytes = bytes;
    this.length = bytes.length;
  }

  get ready(): Bytes | null {
    return this.#bytes;
  }

  get whole(): Bytes | null {
    return this.#bytes;
  }

  read(): Promise<Bytes | null> {
    const bytes = this.#bytes;
    this.#bytes = null;
    return Promise.resolve(bytes === null || bytes.length === 0 ? null : bytes);
  }

  cancel(): void {
    this.#bytes = null;
  }
}
