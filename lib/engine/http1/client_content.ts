/** The content of a client's request, read from its connection on demand. */

import { ClientGoneError, ProxyError, RequestError } from "../../core/errors.ts";
import type { Body, Bytes } from "../../http/message.ts";
import type { BodyReader } from "../../http1/body_reader.ts";
import { type BufferShelf, LARGE_BUFFER } from "../../http1/head_writer.ts";

/** The connection of a request's content. */
export interface ContentOwner {
  /** Starts a read of the socket; `null` at its end. */
  readContent(buffer: Bytes): Promise<number | null>;
  /** The content was read to its end; the bytes after it belong to the next request. */
  contentEnded(behind: Bytes): void;
}

/** Parts of a {@linkcode ClientContent}. */
interface ClientContentInit {
  readonly owner: ContentOwner;
  readonly shelf: BufferShelf;
  readonly reader: BodyReader;
  /** Content that was received with the head; `null` when there was none. */
  readonly first: Bytes | null;
  readonly length: number | null;
}

/** Content whose framing is verified. */
export class ClientContent implements Body {
  readonly length: number | null;
  /** How many bytes were received. */
  received: number;
  readonly #owner: ContentOwner;
  readonly #shelf: BufferShelf;
  readonly #reader: BodyReader;
  #first: Bytes | null;
  #buffer: Bytes | null = null;
  #pending: Promise<Bytes | null> | null = null;
  #cancelled = false;
  /** Why it could not be read; `null` while it can. */
  failure: ProxyError | null = null;

  constructor({ owner, shelf, reader, first, length }: ClientContentInit) {
    this.#owner = owner;
    this.#shelf = shelf;
    this.#reader = reader;
    this.#first = first;
    this.length = length;
    this.received = first === null ? 0 : first.length;
  }

  /** Whether all content was received. */
  get ended(): boolean {
    return this.#reader.done;
  }

  /** How many bytes of content are missing; `Infinity` when that is not known. */
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
      this.#returnBuffer();
      return null;
    }
    try {
      return await (this.#pending = this.#readNext());
    } catch (error) {
      throw this.failure ??= error instanceof ProxyError ? error : contentFailed(error);
    } finally {
      this.#pending = null;
    }
  }

  /**
   * Reads content that is no longer wanted, cancelled or not: the rest would be read as the next request.
   *
   * @returns whether it ended within so many bytes
   * @throws when it failed
   */
  async discard(maxBytes: number): Promise<boolean> {
    this.#first = null;
    // An abandoned read receives content too.
    if (this.#pending !== null) await this.#pending;
    for (let left = maxBytes; !this.#reader.done;) {
      if (this.failure !== null) throw this.failure;
      left -= (await this.#readNext())?.length ?? 0;
      if (left < 0) return false;
    }
    this.#returnBuffer();
    return true;
  }

  async #readNext(): Promise<Bytes | null> {
    const reader = this.#reader;
    const buffer = this.#buffer ??= this.#shelf.take(LARGE_BUFFER);
    for (;;) {
      // With a known length, no byte of the next request is read.
      const count = await this.#owner.readContent(
        reader.left < buffer.length ? buffer.subarray(0, reader.left) : buffer,
      );
      if (this.failure !== null) throw this.failure;
      if (count === null) throw contentFailed("the connection was closed");
      reader.read(buffer, 0, count);
      const { contentStart, contentEnd } = reader;
      this.received += contentEnd - contentStart;
      if (reader.done) this.#owner.contentEnded(buffer.subarray(reader.next, count));
      if (contentEnd > contentStart) return buffer.subarray(contentStart, contentEnd);
      if (reader.done) return null;
    }
  }

  /** Aborts the content; a pending read fails with the error. */
  fail(error: ProxyError): void {
    if (!this.#reader.done) this.failure ??= error;
  }

  cancel(): void {
    this.#cancelled = true;
    this.#first = null;
    if (this.#pending === null) this.#returnBuffer();
  }

  #returnBuffer(): void {
    if (this.#buffer !== null) this.#shelf.give(this.#buffer);
    this.#buffer = null;
  }
}

function contentFailed(cause: unknown): ClientGoneError {
  return new ClientGoneError(`The client's content broke off: ${cause}`);
}

/** The error for content that is sent too slowly. */
export function tooSlow(): RequestError {
  return new RequestError("The client sent its content too slowly", 408);
}
