/** Bodies in chunks (RFC 9112 section 7.1). */

import type { ProxyError } from "../core/errors.ts";
import { HEX_DIGITS, TOKEN_BYTES, VALUE_BYTES } from "../http/byte_classes.ts";
import { trimBlanks } from "../http/field_list.ts";
import { mayBeTrailer } from "../http/trailer_fields.ts";
import type { BodyReader } from "./body_reader.ts";

/** Most digits of a size, leading zeros included: 13 are 4 PiB, 14 would not fit a number. */
const MAX_SIZE_DIGITS = 13;

/** What is taken from whom. */
export interface ChunkedReaderOptions {
  /** Makes the error for what was found; the status is that of the response when a client is to blame. */
  readonly fail: (found: string, status?: number) => ProxyError;
  /** Whether blanks may stand between a size and its end. */
  readonly paddedSizes: boolean;
  /** Most bytes of chunk extensions in all; nobody needs them but to cost the reader time. */
  readonly maxExtensionBytes: number;
  /** Most bytes of the trailer section. */
  readonly maxTrailerBytes: number;
}

const TAB = 9;
const LF = 10;
const CR = 13;
const SPACE = 32;
const COLON = 58;
const SEMICOLON = 59;

// What the next byte belongs to.
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

/**
 * Takes a chunked body apart, wherever the reads have cut it.
 *
 * The content is moved together inside the buffer that it came in, so what one read brought is one piece. Of the
 * trailer fields those are kept that may be passed on.
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
  #extensionBytes = 0;
  #trailerBytes = 0;
  readonly #options: ChunkedReaderOptions;
  readonly #named: ReadonlySet<string> | null;
  #name = "";
  #value = "";

  /**
   * @param options what is taken
   * @param named fields that `Connection` names, in lower case: they must not travel on as trailers either
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
      if (this.#at === DATA) i = this.#takeData(bytes, i, to);
      else if (this.#at < DATA) this.#readSizeLine(bytes[i++]!);
      else if (this.#at < TRAILER_START) this.#readDataEnd(bytes[i++]!);
      else this.#readTrailer(bytes[i++]!);
    }
    this.next = i;
  }

  #takeData(bytes: Uint8Array, from: number, to: number): number {
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
    } else if (byte === CR) this.#at = SIZE_LF;
    else this.#readExtension(byte);
  }

  #readExtension(byte: number): void {
    if (this.#at !== EXTENSION) {
      if (this.#options.paddedSizes && (byte === SPACE || byte === TAB)) this.#at = SIZE_SPACE;
      else if (byte === SEMICOLON) this.#at = EXTENSION;
      else throw this.#options.fail("a chunk size that is not a hexadecimal number");
    } else if (VALUE_BYTES[byte] === 0) throw this.#options.fail("a control character in a chunk extension");
    if (++this.#extensionBytes > this.#options.maxExtensionBytes) {
      throw this.#options.fail("chunk extensions without end");
    }
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
