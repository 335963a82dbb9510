/** Heads of responses (RFC 9112 section 4), read strictly. */

import { UpstreamError } from "../core/errors.ts";
import { asciiBytes, decodeLike, equalsToken, fieldId, VALUE_BYTES } from "../http/field_lines.ts";
import { reasonPhrase } from "../http/make_response.ts";
import { HeadParser, isBlank, readContentLength } from "./head_parser.ts";

/** Most bytes of a response head. */
const MAX_RESPONSE_HEAD_BYTES: number = 64 * 1024;
/** Most field lines of a response head. */
const MAX_RESPONSE_FIELDS = 200;

const LF = 10;
const CR = 13;
const SPACE = 32;
const COMMA = 44;
const PREFIX = asciiBytes("HTTP/1.");
/** Where the first digit of the status stands in the line. */
const STATUS_PLACE = 9;
const CHUNKED = asciiBytes("chunked");

const CONTENT_LENGTH_ID = fieldId("content-length");
const TRANSFER_ENCODING_ID = fieldId("transfer-encoding");
const CONNECTION_ID = fieldId("connection");

/**
 * Reads the heads of the responses on one connection, one after the other.
 *
 * Lines that end with LF alone, and a length that is said twice, are taken, as every proxy takes them: the message is
 * framed anew on its way out.
 */
export class ResponseHeadParser extends HeadParser {
  status = 0;
  /** Where the reason phrase begins and ends; it may be empty. */
  reasonStart = 0;
  reasonEnd = 0;
  /** What `content-length` says, -1 without it. */
  contentLength = -1;
  /** Whether the content comes in chunks. */
  chunked = false;
  /** Whether the server lets the connection serve another request. */
  persistent = false;
  /** How often the length is said. */
  lengths = 0;
  protected override readonly takesBareLf = true;
  #lineStart = 0;
  #minor = 0;
  #inReason = false;
  #afterCr = false;

  constructor() {
    super({ maxBytes: MAX_RESPONSE_HEAD_BYTES, maxFields: MAX_RESPONSE_FIELDS });
  }

  /** The reason phrase, one character a byte. */
  get reason(): string {
    return decodeLike(reasonPhrase(this.status), this.lines.bytes, this.reasonStart, this.reasonEnd);
  }

  protected override beginHead(at: number): void {
    this.#lineStart = at;
    this.#inReason = this.#afterCr = false;
    this.status = 0;
    this.contentLength = -1;
    this.chunked = false;
    this.lengths = 0;
  }

  // Whatever is not HTTP at all is told from the first bytes: it may never send a line end.
  protected override readStartLine(bytes: Uint8Array, from: number, stop: number): number {
    for (let at = from; at < stop; at++) {
      const byte = bytes[at]!;
      if (this.#afterCr) {
        if (byte !== LF) throw this.fail("a CR without LF in the status line");
        return at + 1;
      }
      if (!this.#inReason) {
        this.#readStatus(byte, at - this.#lineStart, at);
        if (byte !== CR && byte !== LF) continue;
      }
      if (byte === CR || byte === LF) {
        this.reasonEnd = at;
        if (byte === LF) return at + 1;
        this.#afterCr = true;
      } else if (VALUE_BYTES[byte] === 0) throw this.fail("a control character in the status line");
    }
    return -1;
  }

  #readStatus(byte: number, place: number, at: number): void {
    if (place < PREFIX.length) {
      if (byte !== PREFIX[place]) throw this.fail("something other than an HTTP/1 response");
    } else if (place === PREFIX.length) {
      // There is no HTTP/1.2.
      if (byte !== 48 && byte !== 49) throw this.fail("a malformed status line");
      this.#minor = byte - 48;
    } else if (place < STATUS_PLACE) {
      if (byte !== SPACE) throw this.fail("a malformed status line");
    } else if (place < STATUS_PLACE + 3) {
      if (byte < 48 || byte > 57) throw this.fail("a status that is not a number");
      this.status = this.status * 10 + byte - 48;
    } else {
      if (byte !== SPACE && byte !== CR && byte !== LF) throw this.fail("a malformed status line");
      if (this.status < 100 || this.status > 599) throw this.fail(`the status ${this.status}`);
      this.#inReason = true;
      this.reasonStart = byte === SPACE ? at + 1 : at;
    }
  }

  protected override takeField(id: number, bytes: Uint8Array, from: number, to: number): void {
    switch (id) {
      case CONTENT_LENGTH_ID:
        this.#readLength(bytes, from, to);
        return;
      case TRANSFER_ENCODING_ID:
        if (this.chunked) throw this.fail("more than one transfer-encoding");
        if (!equalsToken(bytes, from, to, CHUNKED)) throw this.fail("a transfer-encoding other than chunked");
        this.chunked = true;
        return;
      case CONNECTION_ID:
        this.readConnection(bytes, from, to);
    }
  }

  // Two lengths that differ, or one that some reader takes for another number, are how responses are smuggled.
  #readLength(bytes: Uint8Array, from: number, to: number): void {
    let start = from;
    for (let i = from; i <= to; i++) {
      if (i < to && bytes[i] !== COMMA) continue;
      let end = i;
      while (start < end && isBlank(bytes[start]!)) start++;
      while (end > start && isBlank(bytes[end - 1]!)) end--;
      const length = readContentLength(bytes, start, end);
      if (length === -1) throw this.fail("a content-length that is not a number");
      if (this.contentLength !== -1 && this.contentLength !== length) {
        throw this.fail("two content-lengths that differ");
      }
      this.contentLength = length;
      this.lengths++;
      start = i + 1;
    }
  }

  protected override complete(): void {
    if (this.chunked && this.contentLength !== -1) {
      throw this.fail("both content-length and transfer-encoding");
    }
    // RFC 9112 section 6.1: framing of HTTP/1.0 with a transfer coding is faulty by definition.
    if (this.chunked && this.#minor === 0) throw this.fail("a transfer-encoding in HTTP/1.0");
    this.persistent = !this.closes && (this.#minor === 1 || this.keepsAlive);
  }

  protected override fail(found: string): UpstreamError {
    return malformedResponse(found);
  }

  protected override tooLong(): UpstreamError {
    return malformedResponse("a head of more than 64 KiB");
  }

  protected override tooMany(): UpstreamError {
    return malformedResponse(`more than ${MAX_RESPONSE_FIELDS} fields`);
  }
}

/** The error for a response that is no HTTP; the connection cannot be used any further. */
export function malformedResponse(found: string): UpstreamError {
  return new UpstreamError(`Cannot read the response: it has ${found}`, {
    code: "http_protocol_error",
    phase: "answered",
  });
}
