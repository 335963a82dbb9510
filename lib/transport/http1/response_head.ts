/** The head of a response as it comes in, and what came with it. */

import { BUFFER_BYTES, type BufferShelf } from "./buffer_shelf.ts";
import { HeadParser } from "./head_parser.ts";
import { protocolError } from "./protocol_error.ts";

/** Most interim responses before the final one. */
const MAX_INTERIM = 16;

type Bytes = Uint8Array<ArrayBuffer>;

/** Collects reads until a final head is complete; one serves a connection for its whole life. */
export class ResponseHead {
  /** What was found. */
  readonly parser: HeadParser = new HeadParser();
  /** What was read. */
  buffer: Bytes;
  /** How much of the buffer was read. */
  filled = 0;
  /** Whether the server may switch protocols. */
  mayUpgrade = false;
  readonly #shelf: BufferShelf;
  #interim = 0;

  /** @param shelf where buffers come from */
  constructor(shelf: BufferShelf) {
    this.#shelf = shelf;
    this.buffer = shelf.take();
  }

  /** Whether the buffer is one of the shelf's, and not one that a large head has made necessary. */
  get lendable(): boolean {
    return this.buffer.length === BUFFER_BYTES;
  }

  /** Gives the buffer away to whoever borrows what is in it, and goes on with another one. */
  lend(): BufferShelf {
    this.buffer = this.#shelf.take();
    return this.#shelf;
  }

  /** Begins anew; the buffer is empty, and no larger than an idle connection may keep. */
  begin(): void {
    this.filled = 0;
    this.#interim = 0;
    this.parser.begin(0);
    if (this.buffer.length > BUFFER_BYTES) this.buffer = this.#shelf.take();
  }

  /** Where the next read goes. */
  get space(): Bytes {
    return this.filled === 0 ? this.buffer : this.buffer.subarray(this.filled);
  }

  /** Whether the server has begun to answer: then it has surely seen the request. */
  get heard(): boolean {
    return this.filled > 0 || this.#interim > 0;
  }

  /** Whether bytes came after the head. */
  get hasMore(): boolean {
    return this.filled > this.parser.bodyStart;
  }

  /**
   * Takes what a read has brought; skips interim responses (RFC 9110 section 15.2).
   *
   * @returns whether a final head is complete
   * @throws {UpstreamError} `http_protocol_error`
   */
  take(count: number): boolean {
    const { parser } = this;
    this.filled += count;
    while (parser.parse(this.buffer, this.filled)) {
      if (parser.status >= 200) return true;
      if (parser.status === 101 && this.mayUpgrade) return true;
      if (parser.status === 101) throw protocolError("a switch of protocols that was not asked for");
      if (++this.#interim > MAX_INTERIM) throw protocolError("interim responses without end");
      this.buffer.copyWithin(0, parser.bodyStart, this.filled);
      this.filled -= parser.bodyStart;
      parser.begin(0);
    }
    if (this.filled === this.buffer.length) this.#grow();
    return false;
  }

  #grow(): void {
    const grown = new Uint8Array(this.buffer.length * 2);
    grown.set(this.buffer);
    this.buffer = grown;
  }
}
