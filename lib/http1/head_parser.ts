/** Heads of messages, read strictly: field lines (RFC 9112 section 5), and the status line of responses (section 4). */

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

/** Bounds of one head. */
interface HeadLimits {
  /** Most bytes, the empty line at its end included. */
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
 * Reads one head after the other out of a buffer that is filled by and by.
 *
 * What it finds stands in its fields, so that one parser serves a connection for its whole life. Every byte is looked at
 * once, in order: where reads have cut the bytes makes no difference to what is found or refused.
 */
export abstract class HeadParser {
  /** The field lines. */
  readonly lines: FieldLines = new FieldLines();
  /** The first byte after the head. */
  bodyStart = 0;
  /** Whether `Connection` names fields beside the usual ones. */
  namesFields = false;
  /** Whether `Connection` has the option `close`. */
  protected closes = false;
  /** Whether it has the option `keep-alive`. */
  protected keepsAlive = false;
  /** Whether it has the option `upgrade`. */
  protected wantsUpgrade = false;
  /** Whether a line may end with LF alone (RFC 9112 section 2.2 lets a recipient take it). */
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
    // A head that is refused early must not show the fields of the one before.
    this.lines.begin(this.lines.bytes);
    this.beginHead(at);
  }

  /** Where the head begins. */
  get start(): number {
    return this.#start;
  }

  /**
   * Reads on, now that the buffer is filled up to `end`.
   *
   * @returns whether the head is complete
   * @throws {ProxyError} what {@linkcode HeadParser.fail} makes
   */
  parse(bytes: Uint8Array, end: number): boolean {
    // Nothing behind the bound is looked at, so that it is met whatever one read has brought.
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
          this.#takeLine(bytes, at, at + 1);
          phase = LINE_START;
        } else throw this.fail(faultOfValue(byte));
        at++;
      }
      if (phase === LINE_LF) {
        if (at === stop) break;
        if (bytes[at] !== LF) throw this.fail("a CR without LF in a field line");
        this.#takeLine(bytes, at - 1, at + 1);
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

  #takeLine(bytes: Uint8Array, lineEnd: number, next: number): void {
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
      if (last > start) this.#takeOption(bytes, start, last);
      start = i + 1;
    }
  }

  #takeOption(bytes: Uint8Array, from: number, to: number): void {
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

  /** Forgets what was found of the head before. */
  protected abstract beginHead(at: number): void;
  /** Reads the start line, from where it stopped before; the index behind it, or -1 as long as it is not complete. */
  protected abstract readStartLine(bytes: Uint8Array, at: number, stop: number): number;
  /** Looks at a field line, by the number of its name. */
  protected abstract takeField(id: number, bytes: Uint8Array, from: number, to: number): void;
  /** Looks at the head as a whole. */
  protected abstract complete(): void;
  /** The error for what was found. */
  protected abstract fail(found: string): ProxyError;
  /** The error for a head of too many bytes. */
  protected abstract tooLong(maxBytes: number): ProxyError;
  /** The error for too many lines. */
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

/** Reads a Content-Length (RFC 9110 section 8.6): digits only, and few enough to be exact; -1 for anything else. */
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

// Heads of responses (RFC 9112 section 4), read strictly.

/** Most bytes of a response head. */
const MAX_RESPONSE_HEAD_BYTES: number = 64 * 1024;
/** Most field lines of a response head. */
const MAX_RESPONSE_FIELDS = 200;

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
  #reasonStart = 0;
  #reasonEnd = 0;
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
