/** Content made by a filter: checked against its declared length, and sent to the client. */

import type { Cancellation } from "../core/cancellation.ts";
import { ClientGoneError, FilterError, ProxyError } from "../core/errors.ts";
import { type FilteredContent, KEEPS_LENGTH } from "../filter/filters.ts";
import { type Body, type Bytes, StreamBody } from "../http/message.ts";

/** The content that a filter returned, to be read once. */
export interface CheckedContent {
  readonly stream: ReadableStream<Bytes>;
  /** Number of bytes if the filter has declared it; otherwise `null`. */
  readonly length: number | null;
}

/**
 * Checks the result of a content filter; `null` when it leaves the content unchanged.
 *
 * @param original the stream that the filter received
 * @param originalLength the number of its bytes; `null` if that is not known
 * @throws {TypeError} when it is not content
 */
export function checkContent(
  made: FilteredContent,
  original: ReadableStream<Bytes>,
  originalLength: number | null,
): CheckedContent | null {
  if (made === undefined || made === null) {
    if (original.locked) throw new TypeError("it reads the content and returned nothing in its place");
    return null;
  }
  const sized = !(made instanceof ReadableStream);
  const stream: unknown = sized ? made.body : made;
  if (!(stream instanceof ReadableStream)) {
    throw new TypeError("it must return a ReadableStream, { body, length } or nothing");
  }
  if (stream.locked) throw new TypeError("it returned a stream that is being read already");
  const length = sized ? made.length : KEEPS_LENGTH in made ? originalLength : null;
  if (length !== null && !(Number.isSafeInteger(length) && length >= 0)) {
    throw new TypeError(`the length must be a whole number of bytes, received ${String(length)}`);
  }
  return { stream: checkedStream(stream, length), length };
}

function checkedStream(stream: ReadableStream<unknown>, length: number | null): ReadableStream<Bytes> {
  const reader = stream.getReader();
  let received = 0;
  return new ReadableStream<Bytes>({
    async pull(controller): Promise<void> {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) {
          if (length !== null && received < length) throw mismatch(length, received);
          return controller.close();
        }
        if (!(value instanceof Uint8Array)) {
          reader.cancel().catch(() => {});
          throw new TypeError(`its stream must give pieces of type Uint8Array, gave ${typeof value}`);
        }
        received += value.byteLength;
        if (length !== null && received > length) {
          reader.cancel().catch(() => {});
          throw mismatch(length, received);
        }
        if (value.byteLength === 0) continue;
        return controller.enqueue(value as Bytes);
      }
    },
    cancel: (reason) => reader.cancel(reason),
  }, { highWaterMark: 0 });
}

function mismatch(declared: number, found: number): RangeError {
  return new RangeError(
    `it declared ${declared} bytes and gave ${found < declared ? "only " : ""}${found}${
      found > declared ? " or more" : ""
    }`,
  );
}

/** A filter's result for a server's content; it never ends cleanly when that content failed. */
export class FilteredContentBody implements Body {
  /** The server's content, for the filter to read. */
  readonly source: Body;
  readonly ready: null = null;
  readonly whole: null = null;
  readonly trailers: readonly string[] = [];
  readonly #cancellation: Cancellation;
  #made: FilterStream | null = null;
  #sourceFailure: ProxyError | null = null;

  constructor(source: Body, cancellation: Cancellation) {
    this.#cancellation = cancellation;
    this.source = new WatchedBody(source, (failure) => this.#sourceFailure = failure);
  }

  /** Sets the result of the filter. */
  take({ stream, length }: CheckedContent): this {
    const phase = "responseBodyFilter";
    this.#made = new FilterStream(stream, { phase, cancellation: this.#cancellation, length });
    return this;
  }

  get length(): number | null {
    return this.#made!.length;
  }

  async read(): Promise<Bytes | null> {
    let piece: Bytes | null;
    try {
      piece = await this.#made!.read();
    } catch (error) {
      throw this.#sourceFailure ?? error;
    }
    if (piece === null && this.#sourceFailure !== null) throw this.#sourceFailure;
    return piece;
  }

  cancel(reason?: unknown): void {
    this.#made?.cancel(reason);
    this.source.cancel(reason);
  }
}

/** Content whose failure is remembered, even if its reader ignores it. */
class WatchedBody implements Body {
  readonly #body: Body;
  readonly #onFailure: (failure: ProxyError) => void;

  constructor(body: Body, onFailure: (failure: ProxyError) => void) {
    this.#body = body;
    this.#onFailure = onFailure;
  }

  get length(): number | null {
    return this.#body.length;
  }

  get ready(): Bytes | null {
    return this.#body.ready;
  }

  get whole(): Bytes | null {
    return this.#body.whole;
  }

  get trailers(): readonly string[] {
    return this.#body.trailers;
  }

  async read(): Promise<Bytes | null> {
    try {
      return await this.#body.read();
    } catch (error) {
      if (error instanceof ProxyError && !(error instanceof ClientGoneError)) this.#onFailure(error);
      throw error;
    }
  }

  cancel(reason?: unknown): void {
    this.#body.cancel(reason);
  }
}

// Content that a filter returns as a stream.

/** Options of a {@linkcode FilterStream}. */
interface FilterStreamOptions {
  /** The function that made it, for the log. */
  readonly phase: string;
  /** Cancelled when the content is no longer wanted: it may have no end. */
  readonly cancellation: Cancellation;
  /** Length of the content; `null` when it is unknown. */
  readonly length: number | null;
}

/** A stream that fails with the error of its filter, and ends when its exchange is cancelled. */
export class FilterStream extends StreamBody {
  readonly #options: FilterStreamOptions;

  constructor(stream: ReadableStream<Bytes>, options: FilterStreamOptions) {
    super(stream, options.length);
    this.#options = options;
    // Also while nothing reads it, because the client is slow: it may hold a file or a connection.
    options.cancellation.listen((reason) => this.cancel(reason));
  }

  override async read(): Promise<Bytes | null> {
    const { phase, cancellation } = this.#options;
    const cancelled = Promise.withResolvers<never>();
    using _listener = cancellation.listen((reason) => cancelled.reject(reason));
    try {
      return await Promise.race([super.read(), cancelled.promise]);
    } catch (error) {
      throw error instanceof ProxyError ? error : new FilterError(phase, error);
    }
  }
}
