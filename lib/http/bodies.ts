/** Content in memory, and content of streams: what is pulled as {@linkcode Body} and what the web calls a stream. */

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
  readonly length: number | null;
  readonly ready: null = null;
  readonly whole: null = null;
  readonly trailers: readonly string[] = [];
  readonly #stream: ReadableStream<Bytes>;
  #reader: ReadableStreamDefaultReader<Bytes> | null = null;

  constructor(stream: ReadableStream<Bytes>, length: number | null = null) {
    this.#stream = stream;
    this.length = length;
  }

  async read(): Promise<Bytes | null> {
    this.#reader ??= this.#stream.getReader();
    const { value } = await this.#reader.read();
    return value ?? null;
  }

  cancel(reason?: unknown): void {
    const cancelled = this.#reader === null ? this.#stream.cancel(reason) : this.#reader.cancel(reason);
    cancelled.catch(() => {});
  }
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
