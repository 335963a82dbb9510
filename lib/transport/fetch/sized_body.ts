/** A request body whose length is known although it is a stream. */

/**
 * A `Blob` in name only, by which `fetch` announces a length and streams all the same.
 *
 * A stream alone is always sent chunked, and bytes in memory are sent a second time by `fetch` itself when a kept
 * connection breaks, whatever the method.
 */
export class SizedBody extends Blob {
  readonly #size: number;
  readonly #content: ReadableStream<Uint8Array<ArrayBuffer>>;

  constructor(size: number, content: ReadableStream<Uint8Array<ArrayBuffer>>) {
    super();
    this.#size = size;
    this.#content = content;
  }

  override get size(): number {
    return this.#size;
  }

  override stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#content;
  }
}
