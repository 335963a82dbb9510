/** The content of a response, read from a connection. */

import { ClientGoneError, ProxyError, UpstreamError } from "../../core/errors.ts";
import type { Body, Bytes } from "../../http/message.ts";
import type { BodyReader } from "../../http1/body_reader.ts";
import { type BufferShelf, HUGE_BUFFER, LARGE_BUFFER } from "../../http1/head_writer.ts";

/** The connection of a response's content. */
interface ContentOwner {
  /** A read waits for content. */
  contentAwaited(): void;
  /** Content was received; its reader may take any time. */
  contentReceived(): void;
  /** The content was read to its end; `clean` unless bytes followed it. */
  contentEnded(clean: boolean): void;
}

/** Parts of a {@linkcode ServerContent}. */
interface ServerContentInit {
  readonly owner: ContentOwner;
  readonly socket: Deno.Conn;
  readonly shelf: BufferShelf;
  readonly reader: BodyReader;
  /** Content that was received with the head; `null` when there was none. */
  readonly first: Bytes | null;
  readonly length: number | null;
}

const NO_MORE: Promise<null> = Promise.resolve(null);

/** Content, read piece by piece on demand. */
export class ServerContent implements Body {
  readonly length: number | null;
  readonly #owner: ContentOwner;
  readonly #socket: Deno.Conn;
  readonly #shelf: BufferShelf;
  readonly #reader: BodyReader;
  #first: Bytes | null;
  #buffer: Bytes | null = null;
  #filledUp = false;
  #reading = false;
  #ended = false;
  #failure: ProxyError | null = null;

  constructor({ owner, socket, shelf, reader, first, length }: ServerContentInit) {
    this.#owner = owner;
    this.#socket = socket;
    this.#shelf = shelf;
    this.#reader = reader;
    this.#first = first;
    this.length = length;
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

  read(): Promise<Bytes | null> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    const first = this.#first;
    this.#first = null;
    if (first !== null && first.length > 0) return Promise.resolve(first);
    if (this.#ended || this.#reader.done) {
      this.#end();
      return NO_MORE;
    }
    return this.#readNext();
  }

  async #readNext(): Promise<Bytes | null> {
    const reader = this.#reader;
    this.#owner.contentAwaited();
    this.#reading = true;
    try {
      for (;;) {
        const buffer = this.#bufferToFill();
        const count = await this.#socket.read(buffer);
        if (this.#failure !== null) throw this.#failure;
        if (count === null) {
          if (!reader.endsWithConnection) throw incomplete(undefined);
          this.#end();
          return null;
        }
        this.#filledUp = count === buffer.length;
        reader.read(buffer, 0, count);
        const { contentStart, contentEnd } = reader;
        if (reader.done) this.#owner.contentEnded(reader.next === count);
        if (contentEnd > contentStart) return buffer.subarray(contentStart, contentEnd);
        if (reader.done) {
          this.#end();
          return null;
        }
      }
    } catch (error) {
      throw this.#failure ??= error instanceof ProxyError ? error : incomplete(error);
    } finally {
      this.#reading = false;
      if (this.#ended) this.#returnBuffer();
      else if (this.#failure === null) this.#owner.contentReceived();
    }
  }

  // Content that fills its buffer gets a larger one, and so needs fewer turns of the event loop.
  #bufferToFill(): Bytes {
    if (this.#filledUp && this.#buffer!.length === LARGE_BUFFER && this.#reader.left > LARGE_BUFFER) {
      this.#shelf.give(this.#buffer!);
      this.#buffer = this.#shelf.take(HUGE_BUFFER);
    }
    return this.#buffer ??= this.#shelf.take(LARGE_BUFFER);
  }

  #returnBuffer(): void {
    if (this.#buffer !== null) this.#shelf.give(this.#buffer);
    this.#buffer = null;
  }

  #end(): void {
    this.#ended = true;
    this.#first = null;
    if (!this.#reading) this.#returnBuffer();
  }

  cancel(): void {
    // Most content has ended by then; an error that nothing uses would cost as much as the rest of the response.
    if (this.#reader.done) this.#end();
    else this.fail(new ClientGoneError());
  }

  /** Aborts the content; does nothing at the end. */
  fail(error: ProxyError): void {
    if (this.#ended || this.#failure !== null) return;
    if (this.#reader.done) return this.#end();
    this.#failure = error;
    this.#first = null;
    // A pending read writes into the buffer until its socket is closed.
    if (!this.#reading) this.#returnBuffer();
  }
}

function incomplete(cause: unknown): UpstreamError {
  return new UpstreamError("Cannot read the response: the connection was lost in the middle of the body", {
    code: "http_response_incomplete",
    phase: "answered",
    cause,
  });
}

/** The error for a cancelled exchange. */
export function cancelledError(reason: unknown): ProxyError {
  return reason instanceof ProxyError ? reason : new ClientGoneError();
}
