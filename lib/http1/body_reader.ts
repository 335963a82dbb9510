/** Readers of message content in received bytes, for each kind of framing. */

import type { ProxyError } from "../core/errors.ts";
import { HEX_DIGITS, TOKEN_BYTES, trimBlanks, VALUE_BYTES } from "../http/field_lines.ts";
import { mayReceiveContent } from "../http/message.ts";
import { connectionNamedFields, mayBeTrailer } from "../http/proxy_fields.ts";
import { type HeadParser, malformedResponse, type ResponseHeadParser } from "./head_parser.ts";
import { badRequest, type RequestHeadParser } from "./request_head.ts";

/**
 * Finds the content of one message in received bytes.
 *
 * The results of a {@linkcode BodyReader.read} are fields of the reader and not an object, so that reading allocates
 * nothing.
 */
export interface BodyReader {
  /**
   * Reads `bytes[from..to)`; may move content within this range.
   *
   * @throws {ProxyError} for broken framing
   */
  read(bytes: Uint8Array, from: number, to: number): void;
  /** Where the content found by the last read begins. */
  readonly contentStart: number;
  /** Where it ends. */
  readonly contentEnd: number;
  /** The first byte that the last read did not consume: `to`, unless the content ended before. */
  readonly next: number;
  /** Whether the content has ended. */
  readonly done: boolean;
  /** Whether the end of the connection ends the content; otherwise it means that content is missing. */
  readonly endsWithConnection: boolean;
  /** How many bytes of content are missing; `Infinity` when that is not known. */
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

  /** @param length number of bytes that are still missing */
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

/** Reads content that ends with its connection (RFC 9112 section 6.3, item 8). */
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

// Which bytes after a head are its content (RFC 9112 section 6.3).

/** Makes the reader of the content that follows the head of a response; `null` when there is no content. */
export function responseBodyReader(head: ResponseHeadParser, method: string): BodyReader | null {
  if (!mayReceiveContent(method, head.status)) return null;
  if (head.chunked) return new ChunkedReader(RESPONSE_CHUNKS, namedFields(head));
  if (head.contentLength === -1) return new CloseReader();
  return head.contentLength === 0 ? null : new LengthReader(head.contentLength);
}

/** Makes the reader of the content that follows the head of a request with {@linkcode RequestHeadParser.hasContent}. */
export function requestBodyReader(head: RequestHeadParser): BodyReader {
  return head.chunked
    ? new ChunkedReader(REQUEST_CHUNKS, namedFields(head))
    : new LengthReader(head.contentLength);
}

function namedFields({ namesFields, lines }: HeadParser): ReadonlySet<string> | null {
  return namesFields ? connectionNamedFields(lines.joined("connection")) : null;
}

const RESPONSE_CHUNKS = {
  fail: malformedResponse,
  // Some old servers pad the size to a fixed width.
  lenient: true,
  maxExtensionBytes: 16 * 1024,
  maxTrailerBytes: 64 * 1024,
};

const REQUEST_CHUNKS = {
  fail: badRequest,
  lenient: false,
  maxExtensionBytes: 4 * 1024,
  maxTrailerBytes: 8 * 1024,
};

// Bodies in chunks (RFC 9112 section 7.1).

/** Most digits of a size, including leading zeros: 13 are 4 PiB, 14 would not fit a number. */
const MAX_SIZE_DIGITS = 13;

/** What is accepted in chunked content, and how it is refused. */
interface ChunkedReaderOptions {
  /** Makes the error for a fault; the status is that of the response when the client is at fault. */
  readonly fail: (found: string, status?: number) => ProxyError;
  /** Whether blanks are allowed between a size and its end, and any text in an extension. */
  readonly lenient: boolean;
  /** Most bytes of all chunk extensions; their only known use is to waste time of the reader. */
  readonly maxExtensionBytes: number;
  /** Most bytes of the trailer section. */
  readonly maxTrailerBytes: number;
}

const TAB = 9;
const LF = 10;
const CR = 13;
const SPACE = 32;
const QUOTE = 34;
const COLON = 58;
const SEMICOLON = 59;
const EQUALS = 61;
const BACKSLASH = 92;

// Where the next byte belongs.
const SIZE = 0;
const SIZE_SPACE = 1;
const EXTENSION = 2;
const SIZE_LF = 3;
const DATA = 4;
const DATA_CR = 5;
const DATA_LF = 6;
const TRAILER_START = 7;
const TRAILER_NAME = 8;
const TRAILER_VALUE = 9;
const TRAILER_LF = 10;
const END_LF = 11;
const DONE = 12;

// Where the next byte of an extension belongs; a line may end in the states from `MAY_END` on.
const EXT_BEFORE_NAME = 0;
const EXT_AFTER_NAME = 1;
const EXT_BEFORE_VALUE = 2;
const EXT_QUOTED = 3;
const EXT_ESCAPED = 4;
const EXT_AFTER_VALUE = 5;
const EXT_NAME = 6;
const EXT_VALUE = 7;
const EXT_QUOTED_END = 8;
const MAY_END = EXT_NAME;

/**
 * Decodes a chunked body that is split across reads at any byte.
 *
 * The content is moved together inside the receive buffer, so that the content of one read is one piece. Only trailer
 * fields that may be forwarded are kept.
 */
export class ChunkedReader implements BodyReader {
  readonly endsWithConnection = false;
  readonly left: number = Infinity;
  readonly trailers: string[] = [];
  contentStart = 0;
  contentEnd = 0;
  next = 0;
  #at = SIZE;
  #size = 0;
  #digits = 0;
  #extension = EXT_BEFORE_NAME;
  #extensionBytes = 0;
  #trailerBytes = 0;
  readonly #options: ChunkedReaderOptions;
  readonly #named: ReadonlySet<string> | null;
  #name = "";
  #value = "";

  /**
   * @param options which chunks are accepted
   * @param named fields that `Connection` names, in lower case: they must not be forwarded as trailers either
   */
  constructor(options: ChunkedReaderOptions, named: ReadonlySet<string> | null = null) {
    this.#options = options;
    this.#named = named;
  }

  get done(): boolean {
    return this.#at === DONE;
  }

  read(bytes: Uint8Array, from: number, to: number): void {
    this.contentStart = this.contentEnd = from;
    let i = from;
    while (i < to && this.#at !== DONE) {
      if (this.#at === DATA) i = this.#readData(bytes, i, to);
      else if (this.#at < DATA) this.#readSizeLine(bytes[i++]!);
      else if (this.#at < TRAILER_START) this.#readDataEnd(bytes[i++]!);
      else this.#readTrailer(bytes[i++]!);
    }
    this.next = i;
  }

  #readData(bytes: Uint8Array, from: number, to: number): number {
    const taken = Math.min(this.#size, to - from);
    if (this.contentStart === this.contentEnd) {
      this.contentStart = from;
      this.contentEnd = from + taken;
    } else {
      bytes.copyWithin(this.contentEnd, from, from + taken);
      this.contentEnd += taken;
    }
    this.#size -= taken;
    if (this.#size === 0) this.#at = DATA_CR;
    return from + taken;
  }

  #readSizeLine(byte: number): void {
    if (this.#at === SIZE) {
      const digit = HEX_DIGITS[byte]!;
      if (digit !== 255) {
        if (++this.#digits > MAX_SIZE_DIGITS) throw this.#options.fail("a chunk size of too many digits");
        this.#size = this.#size * 16 + digit;
        return;
      }
      if (this.#digits === 0) throw this.#options.fail("a chunk without a size");
    }
    if (this.#at === SIZE_LF) {
      if (byte !== LF) throw this.#options.fail("a CR without LF after a chunk size");
      this.#digits = 0;
      this.#at = this.#size === 0 ? TRAILER_START : DATA;
    } else if (byte === CR) {
      if (this.#at === EXTENSION && !this.#options.lenient && this.#extension < MAY_END) {
        throw this.#options.fail("a malformed chunk extension");
      }
      this.#at = SIZE_LF;
    } else this.#readAfterSize(byte);
  }

  #readAfterSize(byte: number): void {
    const { lenient } = this.#options;
    if (this.#at === EXTENSION) {
      if (VALUE_BYTES[byte] === 0) throw this.#options.fail("a control character in a chunk extension");
      if (!lenient) this.#readExtension(byte);
    } else if (lenient && (byte === SPACE || byte === TAB)) this.#at = SIZE_SPACE;
    else if (byte === SEMICOLON) {
      this.#at = EXTENSION;
      this.#extension = EXT_BEFORE_NAME;
    } else throw this.#options.fail("a chunk size that is not a hexadecimal number");
    if (++this.#extensionBytes > this.#options.maxExtensionBytes) {
      throw this.#options.fail("chunk extensions without end");
    }
  }

  // `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`, after the first semicolon.
  #readExtension(byte: number): void {
    const blank = byte === SPACE || byte === TAB;
    switch (this.#extension) {
      case EXT_BEFORE_NAME:
        if (blank) return;
        return this.#advanceExtension(TOKEN_BYTES[byte] === 1, EXT_NAME);
      case EXT_NAME:
        if (TOKEN_BYTES[byte] === 1) return;
        if (blank) return this.#advanceExtension(true, EXT_AFTER_NAME);
        return this.#advanceExtension(byte === SEMICOLON || byte === EQUALS, afterName(byte));
      case EXT_AFTER_NAME:
        if (blank) return;
        return this.#advanceExtension(byte === SEMICOLON || byte === EQUALS, afterName(byte));
      case EXT_BEFORE_VALUE:
        if (blank) return;
        if (byte === QUOTE) return this.#advanceExtension(true, EXT_QUOTED);
        return this.#advanceExtension(TOKEN_BYTES[byte] === 1, EXT_VALUE);
      case EXT_QUOTED:
        if (byte === QUOTE) this.#extension = EXT_QUOTED_END;
        else if (byte === BACKSLASH) this.#extension = EXT_ESCAPED;
        return;
      case EXT_ESCAPED:
        this.#extension = EXT_QUOTED;
        return;
      case EXT_VALUE:
        if (TOKEN_BYTES[byte] === 1) return;
        return this.#advanceExtension(blank || byte === SEMICOLON, blank ? EXT_AFTER_VALUE : EXT_BEFORE_NAME);
      default:
        return this.#advanceExtension(blank || byte === SEMICOLON, blank ? EXT_AFTER_VALUE : EXT_BEFORE_NAME);
    }
  }

  #advanceExtension(valid: boolean, next: number): void {
    if (!valid) throw this.#options.fail("a malformed chunk extension");
    this.#extension = next;
  }

  #readDataEnd(byte: number): void {
    if (this.#at === DATA_CR) {
      if (byte !== CR) throw this.#options.fail("a chunk that is longer than its size");
      this.#at = DATA_LF;
    } else {
      if (byte !== LF) throw this.#options.fail("a CR without LF after a chunk");
      this.#at = SIZE;
    }
  }

  #readTrailer(byte: number): void {
    if (++this.#trailerBytes > this.#options.maxTrailerBytes) {
      throw this.#options.fail(`a trailer section of more than ${this.#options.maxTrailerBytes} bytes`, 431);
    }
    switch (this.#at) {
      case TRAILER_START:
        if (byte === CR) this.#at = END_LF;
        else if (TOKEN_BYTES[byte] === 1) {
          this.#name = String.fromCharCode(byte);
          this.#at = TRAILER_NAME;
        } else throw this.#options.fail("a trailer field without a name");
        return;
      case TRAILER_NAME:
        if (byte === COLON) {
          this.#value = "";
          this.#at = TRAILER_VALUE;
        } else if (TOKEN_BYTES[byte] === 1) this.#name += String.fromCharCode(byte);
        else throw this.#options.fail("a trailer field name with forbidden characters");
        return;
      case TRAILER_VALUE:
        if (byte === CR) this.#at = TRAILER_LF;
        else if (VALUE_BYTES[byte] === 1) this.#value += String.fromCharCode(byte);
        else throw this.#options.fail("a control character in a trailer field");
        return;
      default:
        if (byte !== LF) throw this.#options.fail("a CR without LF in the trailer section");
        if (this.#at === TRAILER_LF) this.#keepTrailer();
        this.#at = this.#at === END_LF ? DONE : TRAILER_START;
    }
  }

  #keepTrailer(): void {
    const name = this.#name.toLowerCase();
    if (!mayBeTrailer(name) || this.#named?.has(name)) return;
    this.trailers.push(name, trimBlanks(this.#value));
  }
}

function afterName(byte: number): number {
  return byte === EQUALS ? EXT_BEFORE_VALUE : EXT_BEFORE_NAME;
}
