/** Content of a message, found in the bytes of a connection. */

/**
 * Finds the content of one message in the bytes that come in.
 *
 * The results of a {@linkcode BodyReader.read} are fields rather than an object, so that reading allocates nothing.
 */
export interface BodyReader {
  /**
   * Looks at `bytes[from..to)`, and may move content about in there.
   *
   * @throws {ProxyError} for broken framing
   */
  read(bytes: Uint8Array, from: number, to: number): void;
  /** Where the content found by the last read begins. */
  readonly contentStart: number;
  /** Where it ends. */
  readonly contentEnd: number;
  /** The first byte that the last read left alone: `to`, unless the content ended before. */
  readonly next: number;
  /** Whether the content has ended. */
  readonly done: boolean;
  /** Whether the end of the connection is the end of the content, rather than the loss of a part of it. */
  readonly endsWithConnection: boolean;
  /** How many bytes are still to come; `Infinity` when that is not known. */
  readonly left: number;
  /** Trailer fields as name, value, name, value, ..., once the content has ended; names are lower case. */
  readonly trailers: readonly string[];
}

const NO_TRAILERS: readonly string[] = [];

/** Reads content with a `Content-Length` (RFC 9112 section 6.3, item 6). */
export class LengthReader implements BodyReader {
  readonly endsWithConnection = false;
  readonly trailers = NO_TRAILERS;
  contentStart = 0;
  contentEnd = 0;
  next = 0;
  left: number;

  /** @param length number of bytes that are still to come */
  constructor(length: number) {
    this.left = length;
  }

  get done(): boolean {
    return this.left === 0;
  }

  read(_bytes: Uint8Array, from: number, to: number): void {
    const taken = Math.min(this.left, to - from);
    this.contentStart = from;
    this.contentEnd = this.next = from + taken;
    this.left -= taken;
  }
}

/** Reads content that lasts as long as its connection (RFC 9112 section 6.3, item 8). */
export class CloseReader implements BodyReader {
  readonly endsWithConnection = true;
  readonly done = false;
  readonly left: number = Infinity;
  readonly trailers = NO_TRAILERS;
  contentStart = 0;
  contentEnd = 0;
  next = 0;

  read(_bytes: Uint8Array, from: number, to: number): void {
    this.contentStart = from;
    this.contentEnd = this.next = to;
  }
}
