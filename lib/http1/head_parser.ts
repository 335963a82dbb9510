/** Strict parser of message heads: field lines (RFC 9112 section 5), and the status line of responses (section 4). */

import { type ProxyError, UpstreamError } from "../core/errors.ts";
import {
  asciiBytes,
  decodeLike,
  equalsToken,
  fieldId,
  FieldLines,
  TOKEN_BYTES,
  VALUE_BYTES,
} from "../http/field_lines.ts";
import { reasonPhrase } from "../http/message.ts";

/** Limits of one head. */
interface HeadLimits {
  /** Most bytes, including the empty line at its end. */
  readonly maxBytes: number;
  /** Most field lines. */
  readonly maxFields: number;
}

const TAB = 9;
const LF = 10;
const CR = 13;
const SPACE = 32;
const COMMA = 44;
const COLON = 58;
const CLOSE = asciiBytes("close");
const KEEP_ALIVE = asciiBytes("keep-alive");
const UPGRADE = asciiBytes("upgrade");

// Where the next byte of a field line belongs.
const LINE_START = 0;
const NAME = 1;
const BEFORE_VALUE = 2;
const VALUE = 3;
const LINE_LF = 4;
const LAST_LF = 5;

/**
 * Reads heads, one after another, from a buffer that is filled read by read.
 *
 * The results are fields of the parser, so that one parser serves a connection for its whole life. Every byte is read
 * once, in order: where reads have split the bytes makes no difference to the result.
 */
export abstract class HeadParser {
  /** The field lines. */
  readonly lines: FieldLines = new FieldLines();
  /** The first byte after the head. */
  bodyStart = 0;
  /** Whether `Connection` names fields besides the usual ones. */
  namesFields = false;
  /** Whether `Connection` has the option `close`. */
  protected closes = false;
  /** Whether it has the option `keep-alive`. */
  protected keepsAlive = false;
  /** Whether it has the option `upgrade`. */
  protected wantsUpgrade = false;
  /** Whether a line may end with LF alone (RFC 9112 section 2.2 allows a recipient to accept it). */
  protected readonly takesBareLf: boolean = false;
  readonly #limits: HeadLimits;
  #start = 0;
  #at = 0;
  #phase = LINE_START;
  #startLineRead = false;
  #nameStart = 0;
  #nameEnd = 0;
  #valueStart = 0;

  constructor(limits: HeadLimits) {
    this.#limits = limits;
  }

  /** Begins a new head at an index of the buffer. */
  begin(at: number): void {
    this.#start = this.#at = at;
    this.#phase = LINE_START;
    this.#startLineRead = false;
    this.namesFields =
      this.closes =
      this.keepsAlive =
      this.wantsUpgrade =
        false;
    // If a head is refused early, the fields of the previous one must not be visible.
    this.lines.begin(this.lines.bytes);
    this.beginHead(at);
  }

  /** Where the head begins. */
  get start(): number {
    return this.#start;
  }

  /**
   * Reads on, after the buffer was filled up to `end`.
   *
   * @returns whether the head is complete
   * @throws {ProxyError} the error of {@linkcode HeadParser.fail}
   */
  parse(bytes: Uint8Array, end: number): boolean {
    // Bytes after the limit are not read, so that the limit does not depend on how much one read has received.
    const limit = this.#start + this.#limits.maxBytes;
    const stop = end < limit ? end : limit;
    this.lines.bytes = bytes;
    if (!this.#startLineRead) {
      const next = this.readStartLine(bytes, this.#at, stop);
      if (next < 0) {
        this.#at = stop;
        if (end >= limit) throw this.tooLong(this.#limits.maxBytes);
        return false;
      }
      this.#at = next;
      this.#startLineRead = true;
      this.lines.end = next;
    }
    if (this.#readFields(bytes, stop)) return true;
    if (end >= limit) throw this.tooLong(this.#limits.maxBytes);
    return false;
  }

  #readFields(bytes: Uint8Array, stop: number): boolean {
    let at = this.#at;
    let phase = this.#phase;
    for (;;) {
      if (phase === LINE_START) {
        if (at === stop) break;
        const byte = bytes[at]!;
        if (byte === CR) {
          phase = LAST_LF;
          at++;
          continue;
        }
        if (byte === LF && this.takesBareLf) return this.#complete(at + 1);
        if (TOKEN_BYTES[byte] !== 1) throw this.fail(faultOfFirst(byte));
        this.#nameStart = at++;
        phase = NAME;
      }
      if (phase === NAME) {
        while (at < stop && TOKEN_BYTES[bytes[at]!] === 1) at++;
        if (at === stop) break;
        if (bytes[at] !== COLON) throw this.fail(faultOfName(bytes[at]!));
        this.#nameEnd = at++;
        phase = BEFORE_VALUE;
      }
      if (phase === BEFORE_VALUE) {
        while (at < stop && isBlank(bytes[at]!)) at++;
        if (at === stop) break;
        this.#valueStart = at;
        phase = VALUE;
      }
      if (phase === VALUE) {
        while (at < stop && VALUE_BYTES[bytes[at]!] === 1) at++;
        if (at === stop) break;
        const byte = bytes[at]!;
        if (byte === CR) phase = LINE_LF;
        else if (byte === LF && this.takesBareLf) {
          this.lines.bareLf = true;
          this.#addLine(bytes, at, at + 1);
          phase = LINE_START;
        } else throw this.fail(faultOfValue(byte));
        at++;
      }
      if (phase === LINE_LF) {
        if (at === stop) break;
        if (bytes[at] !== LF) throw this.fail("a CR without LF in a field line");
        this.#addLine(bytes, at - 1, at + 1);
        at++;
        phase = LINE_START;
      } else if (phase === LAST_LF) {
        if (at === stop) break;
        if (bytes[at] !== LF) throw this.fail("a CR without LF at the end of the head");
        return this.#complete(at + 1);
      }
    }
    this.#at = at;
    this.#phase = phase;
    return false;
  }

  #addLine(bytes: Uint8Array, lineEnd: number, next: number): void {
    const { lines } = this;
    if (lines.count === this.#limits.maxFields) throw this.tooMany(this.#limits.maxFields);
    const from = this.#valueStart;
    let to = lineEnd;
    while (to > from && isBlank(bytes[to - 1]!)) to--;
    const id = lines.add(this.#nameStart, this.#nameEnd, from, to);
    lines.end = next;
    this.takeField(id, bytes, from, to);
  }

  /** Reads the options of a `Connection` field (RFC 9110 section 7.6.1). */
  protected readConnection(bytes: Uint8Array, from: number, to: number): void {
    let start = from;
    for (let i = from; i <= to; i++) {
      if (i < to && bytes[i] !== COMMA) continue;
      let last = i;
      while (start < last && isBlank(bytes[start]!)) start++;
      while (last > start && isBlank(bytes[last - 1]!)) last--;
      if (last > start) this.#readOption(bytes, start, last);
      start = i + 1;
    }
  }

  #readOption(bytes: Uint8Array, from: number, to: number): void {
    if (equalsToken(bytes, from, to, KEEP_ALIVE)) this.keepsAlive = true;
    else if (equalsToken(bytes, from, to, CLOSE)) this.closes = true;
    else if (equalsToken(bytes, from, to, UPGRADE)) this.wantsUpgrade = true;
    else this.namesFields = true;
  }

  #complete(bodyStart: number): boolean {
    this.#at = this.bodyStart = bodyStart;
    this.complete();
    return true;
  }

  /** Resets the results of the previous head. */
  protected abstract beginHead(at: number): void;
  /** Reads the start line, from where it stopped before. Returns the index after it; -1 while it is incomplete. */
  protected abstract readStartLine(bytes: Uint8Array, at: number, stop: number): number;
  /** Reads a field line, given the number of its name. */
  protected abstract takeField(id: number, bytes: Uint8Array, from: number, to: number): void;
  /** Checks the head as a whole. */
  protected abstract complete(): void;
  /** The error for a fault. */
  protected abstract fail(found: string): ProxyError;
  /** The error for a head of too many bytes. */
  protected abstract tooLong(maxBytes: number): ProxyError;
  /** The error for too many field lines. */
  protected abstract tooMany(maxFields: number): ProxyError;
}

/** Whether the byte is a space or a tab. */
function isBlank(byte: number): boolean {
  return byte === SPACE || byte === TAB;
}

function faultOfFirst(byte: number): string {
  if (isBlank(byte)) return "a field line that is folded";
  if (byte === COLON) return "a field line without a name";
  return byte === LF ? "a line that ends without CR" : "a field name with a forbidden character";
}

function faultOfName(byte: number): string {
  if (isBlank(byte)) return "a blank between a field name and its colon";
  return byte === CR || byte === LF
    ? "a field line without a colon"
    : "a field name with a forbidden character";
}

function faultOfValue(byte: number): string {
  return byte === LF ? "a line that ends without CR" : "a control character in a field value";
}

/**
 * Reads a Content-Length (RFC 9110 section 8.6): only digits, and few enough for an exact number; -1 for anything
 * else.
 */
export function readContentLength(bytes: Uint8Array, from: number, to: number): number {
  if (from === to || to - from > 15) return -1;
  let length = 0;
  for (let i = from; i < to; i++) {
    const digit = bytes[i]! - 48;
    if (digit < 0 || digit > 9) return -1;
    length = length * 10 + digit;
  }
  return length;
}

// Strict parser of response heads (RFC 9112 section 4).

/** Most bytes of a response head. */
const MAX_RESPONSE_HEAD_BYTES: number = 64 * 1024;
/** Most field lines of a response head. */
const MAX_RESPONSE_FIELDS = 200;

const PREFIX = asciiBytes("HTTP/1.");
/** Index of the first digit of the status in the line. */
const STATUS_PLACE = 9;
const CHUNKED = asciiBytes("chunked");

const CONTENT_LENGTH_ID = fieldId("content-length");
const TRANSFER_ENCODING_ID = fieldId("transfer-encoding");
const CONNECTION_ID = fieldId("connection");

/**
 * Reads the heads of the responses on one connection, one after another.
 *
 * Lines that end with LF alone, and a repeated length, are accepted, as by other proxies: the message gets its own
 * framing when it is forwarded.
 */
export class ResponseHeadParser extends HeadParser {
  status = 0;
  /** Where the reason phrase begins and ends; it may be empty. */
  #reasonStart = 0;
  #reasonEnd = 0;
  /** Value of `content-length`; -1 without it. */
  contentLength = -1;
  /** Whether the content is chunked. */
  chunked = false;
  /** Whether the server allows another request on the connection. */
  persistent = false;
  /** How often the length is given. */
  lengths = 0;
  protected override readonly takesBareLf = true;
  #lineStart = 0;
  #minor = 0;
  #inReason = false;
  #afterCr = false;

  constructor() {
    super({ maxBytes: MAX_RESPONSE_HEAD_BYTES, maxFields: MAX_RESPONSE_FIELDS });
  }

  /** The reason phrase, one character for each byte. */
  get reason(): string {
    return decodeLike(reasonPhrase(this.status), this.lines.bytes, this.#reasonStart, this.#reasonEnd);
  }

  protected override beginHead(at: number): void {
    this.#lineStart = at;
    this.#inReason = this.#afterCr = false;
    this.status = 0;
    this.contentLength = -1;
    this.chunked = false;
    this.lengths = 0;
  }

  // A response that is not HTTP is refused at its first bytes: it may never have a line end.
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
        this.#reasonEnd = at;
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
      this.#reasonStart = byte === SPACE ? at + 1 : at;
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

  // Two different lengths, or a length that another parser reads as another number, allow response smuggling.
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
    // RFC 9112 section 6.1: an HTTP/1.0 message with a transfer coding has faulty framing.
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

/** The error for a response that is not valid HTTP; the connection cannot be used any more. */
export function malformedResponse(found: string): UpstreamError {
  return new UpstreamError(`Cannot read the response: it has ${found}`, {
    code: "http_protocol_error",
    phase: "answered",
  });
}
