/** Output of a program, for tests that wait for a text. */

/** Reads a stream to its end, so that the writer is never blocked. */
export class LogLines implements AsyncDisposable {
  #text = "";
  #ended = false;
  #changed = Promise.withResolvers<void>();
  readonly #reading: Promise<void>;

  constructor(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
    this.#reading = this.#read(stream);
  }

  /** Resolves when the text was printed; rejects if the stream ends without it. */
  async until(text: string): Promise<void> {
    while (!this.#text.includes(text)) {
      if (this.#ended) throw new Error(`"${text}" was not printed: ${this.#text}`);
      await this.#changed.promise;
    }
  }

  /** Waits for the end of the stream. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#reading;
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
      this.#text += chunk;
      this.#wake();
    }
    this.#ended = true;
    this.#wake();
  }

  #wake(): void {
    const { resolve } = this.#changed;
    this.#changed = Promise.withResolvers();
    resolve();
  }
}
