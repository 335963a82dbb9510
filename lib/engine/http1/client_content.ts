/** The content of a client's request, read from its connection as it is asked for. */

import { ClientGoneError, ProxyError, RequestError } from "../../core/errors.ts";
import type { Body, Bytes } from "../../http/message.ts";
import type { BodyReader } from "../../http1/body_reader.ts";
import { type BufferShelf, LARGE_BUFFER } from "../../http1/head_writer.ts";

/** The connection as its content sees it. */
export interface ContentOwner {
  /** Begins a read of the socket; `null` at its end. */
  readContent(buffer: Bytes): Promise<number | null>;
  /** The content was read to its end; what came behind it belongs to the next request. */
  contentEnded(behind: Bytes): void;
}

/** What a {@linkcode ClientContent} is made of. */
interface ClientContentInit {
  readonly owner: ContentOwner;
  readonly shelf: BufferShelf;
  readonly reader: BodyReader;
  /** What came with the head; `null` when nothing of the content did. */
  readonly first: Bytes | null;
  readonly length: number | null;
}

/** Content whose client is held to its framing. */
export class ClientContent implements Body {
  readonly length: number | null;
  /** How many bytes have come. */
  received: number;
  readonly #owner: ContentOwner;
  readonly #shelf: BufferShelf;
  readonly #reader: BodyReader;
  #first: Bytes | null;
  #buffer: Bytes | null = null;
  #pending: Promise<Bytes | null> | null = null;
  #cancelled = false;
  /** Why it could not be read; `null` as long as it could. */
  failure: ProxyError | null = null;

  constructor({ owner, shelf, reader, first, length }: ClientContentInit) {
    this.#owner = owner;
    this.#shelf = shelf;
    this.#reader = reader;
    this.#first = first;
    this.length = length;
    this.received = first === null ? 0 : first.length;
  }

  /** Whether all of it has come. */
  get ended(): boolean {
    return this.#reader.done;
  }

  /** How many bytes are still to come; `Infinity` when that is not known. */
  get left(): number {
    return this.#reader.left;
  }

  get ready(): Bytes | null {
    return this.#first;
  }

  get whole(): Bytes | null {
    return this.#reader.done ? this.#first : null;
  }

  get trailers(): readonly string[] {
    return this.#reader.trailers;
  }

  async read(): Promise<Bytes | null> {
    const first = this.#first;
    this.#first = null;
    if (first !== null && first.length > 0) return first;
    if (this.failure !== null) throw this.failure;
    if (this.#reader.done || this.#cancelled) {
      this.#giveBuffer();
      return null;
    }
    try {
      return await (this.#pending = this.#readNext());
    } catch (error) {
      throw this.failure ??= error instanceof ProxyError ? error : brokeOff(error);
    } finally {
      this.#pending = null;
    }
  }

  /**
   * Reads what nobody wants any more, cancelled or not: what was left of it would be taken for the next request.
   *
   * @returns whether its end came within so many bytes
   * @throws when it broke off
   */
  async discard(maxBytes: number): Promise<boolean> {
    this.#first = null;
    // A read that somebody has left behind brings content too.
    if (this.#pending !== null) await this.#pending;
    for (let left = maxBytes; !this.#reader.done;) {
      if (this.failure !== null) throw this.failure;
      left -= (await this.#readNext())?.length ?? 0;
      if (left < 0) return false;
    }
    this.#giveBuffer();
    return true;
  }

  async #readNext(): Promise<Bytes | null> {
    const reader = this.#reader;
    const buffer = this.#buffer ??= this.#shelf.take(LARGE_BUFFER);
    for (;;) {
      // No more is read than belongs to it, where that is known: what follows is the next request.
      const count = await this.#owner.readContent(
        reader.left < buffer.length ? buffer.subarray(0, reader.left) : buffer,
      );
      if (this.failure !== null) throw this.failure;
      if (count === null) throw brokeOff("the connection was closed");
      reader.read(buffer, 0, count);
      const { contentStart, contentEnd } = reader;
      this.received += contentEnd - contentStart;
      if (reader.done) this.#owner.contentEnded(buffer.subarray(reader.next, count));
      if (contentEnd > contentStart) return buffer.subarray(contentStart, contentEnd);
      if (reader.done) return null;
    }
  }

  /** Breaks it off; a read that is pending fails with the error. */
  fail(error: ProxyError): void {
    if (!this.#reader.done) this.failure ??= error;
  }

  cancel(): void {
    this.#cancelled = true;
    this.#first = null;
    if (this.#pending === null) this.#giveBuffer();
  }

  #giveBuffer(): void {
    if (this.#buffer !== null) this.#shelf.give(this.#buffer);
    this.#buffer = null;
  }
}

function brokeOff(cause: unknown): ClientGoneError {
  return new ClientGoneError(`The client's content broke off: ${cause}`);
}

/** The error for content that comes too slowly. */
export function tooSlow(): RequestError {
  return new RequestError("The client sent its content too slowly", 408);
}
