/**
 * Heads of responses (RFC 9112 sections 3 to 5), read strictly.
 *
 * Two faults of servers are taken, because the response is framed anew for the client: bare LF as line end (section 2.2), and
 * the same `content-length` several times (RFC 9110 section 8.6).
 */

import { asciiBytes, TOKEN_BYTES, VALUE_BYTES } from "./byte_classes.ts";
import { fieldName } from "./field_names.ts";
import { decodeLatin1 } from "./latin1.ts";
import { protocolError } from "./protocol_error.ts";

/** Most bytes of one head. */
export const MAX_HEAD_BYTES: number = 64 * 1024;
/** Most field lines of one head. */
export const MAX_FIELDS = 200;

const TAB = 9;
const LF = 10;
const CR = 13;
const SPACE = 32;
const COMMA = 44;
const COLON = 58;
const PREFIX = asciiBytes("HTTP/1.");
const CHUNKED = asciiBytes("chunked");
const CLOSE = asciiBytes("close");
const KEEP_ALIVE = asciiBytes("keep-alive");

/**
 * Reads one head after the other out of a buffer that is filled by and by.
 *
 * What it finds stands in its fields, so that one parser serves a connection for its whole life. It looks at
 * complete lines only: where reads have cut the bytes makes no difference to what it finds or refuses.
 */
export class HeadParser {
  status = 0;
  statusText = "";
  /** Name, value, name, value, ...; a new list for each head. `transfer-encoding` is left out. */
  list: string[] = [];
  /** What `content-length` says, -1 without it. */
  contentLength = -1;
  /** Whether the body comes in chunks. */
  chunked = false;
  /** Whether the server lets the connection serve another request. */
  persistent = false;
  /** The first byte after the head. */
  bodyStart = 0;
  readonly #values = new Int32Array(MAX_FIELDS * 2);
  #start = 0;
  #line = 0;
  #scanned = 0;
  #statusLineRead = false;
  #reasonStart = 0;
  #reasonEnd = 0;
  #bits = 0;
  #oldVersion = false;
  #closes = false;
  #keepsAlive = false;

  /** Begins a new head at an index of the buffer. */
  begin(at: number): void {
    this.#start = this.#line = this.#scanned = at;
    this.#statusLineRead = false;
    this.#bits = 0;
    this.#closes = this.#keepsAlive = false;
    this.list = [];
    this.contentLength = -1;
    this.chunked = false;
  }

  /**
   * Reads on, now that the buffer is filled up to `end`.
   *
   * @returns whether the head is complete
   * @throws {UpstreamError} `http_protocol_error`
   */
  parse(bytes: Uint8Array, end: number): boolean {
    if (!this.#statusLineRead) this.#checkPrefix(bytes, end);
    for (;;) {
      let lf = this.#scanned;
      while (lf < end && bytes[lf] !== LF) lf++;
      this.#scanned = lf;
      if (lf - this.#start >= MAX_HEAD_BYTES) throw protocolError("a head of more than 64 KiB");
      if (lf === end) return false;
      const line = this.#line;
      const lineEnd = lf > line && bytes[lf - 1] === CR ? lf - 1 : lf;
      this.#line = this.#scanned = lf + 1;
      if (!this.#statusLineRead) this.#readStatusLine(bytes, line, lineEnd);
      else if (lineEnd > line) this.#readField(bytes, line, lineEnd);
      else {
        this.#complete(bytes, lf + 1);
        return true;
      }
    }
  }

  // Whatever is not HTTP at all is told from the first bytes: it may never send a line end.
  #checkPrefix(bytes: Uint8Array, end: number): void {
    const known = Math.min(end - this.#start, PREFIX.length);
    for (let i = 0; i < known; i++) {
      if (bytes[this.#start + i] !== PREFIX[i]) {
        throw protocolError("something other than an HTTP/1 response");
      }
    }
  }

  #readStatusLine(bytes: Uint8Array, line: number, lineEnd: number): void {
    const minor = line + PREFIX.length;
    const status = minor + 2;
    // There is no HTTP/1.2.
    if (lineEnd < status + 3 || (bytes[minor]! | 1) !== 49 || bytes[minor + 1] !== SPACE) {
      throw protocolError("a malformed status line");
    }
    this.#oldVersion = bytes[minor] === 48;
    this.status = 0;
    for (let i = status; i < status + 3; i++) {
      if (!isDigit(bytes[i]!)) throw protocolError("a status that is not a number");
      this.status = this.status * 10 + bytes[i]! - 48;
    }
    if (this.status < 100 || this.status > 599) throw protocolError(`the status ${this.status}`);
    if (lineEnd > status + 3 && bytes[status + 3] !== SPACE) throw protocolError("a malformed status line");
    this.#reasonStart = Math.min(status + 4, lineEnd);
    this.#reasonEnd = lineEnd;
    this.#checkText(bytes, this.#reasonStart, lineEnd);
    this.#statusLineRead = true;
  }

  #readField(bytes: Uint8Array, line: number, lineEnd: number): void {
    let colon = line;
    while (TOKEN_BYTES[bytes[colon]!] === 1) colon++;
    if (bytes[colon] !== COLON || colon === line) throw protocolError(fieldFault(bytes[line]!));
    let from = colon + 1;
    let to = lineEnd;
    while (from < to && isBlank(bytes[from]!)) from++;
    while (to > from && isBlank(bytes[to - 1]!)) to--;
    this.#checkText(bytes, from, to);
    const name = fieldName(bytes, line, colon);
    if (name === "transfer-encoding") return this.#readTransferEncoding(bytes, from, to);
    if (name === "content-length") {
      to = this.#readContentLength(bytes, from, to);
      if (to === -1) return;
    } else if (name === "connection") this.#readConnection(bytes, from, to);
    const { length } = this.list;
    if (length === MAX_FIELDS * 2) throw protocolError(`more than ${MAX_FIELDS} fields`);
    this.#values[length] = from;
    this.#values[length + 1] = to;
    this.list.push(name, "");
  }

  #checkText(bytes: Uint8Array, from: number, to: number): void {
    let bits = this.#bits;
    for (let i = from; i < to; i++) {
      const byte = bytes[i]!;
      if (VALUE_BYTES[byte] === 0) throw protocolError("a control character in the head");
      bits |= byte;
    }
    this.#bits = bits;
  }

  /**
   * Reads a length, or a list of the same one; the end of the first, or -1 when it was known before.
   *
   * Two lengths, or one that some reader takes for another number, are how responses are smuggled.
   */
  #readContentLength(bytes: Uint8Array, from: number, to: number): number {
    let firstEnd = this.contentLength === -1 ? 0 : -1;
    for (let at = from;;) {
      let length = 0;
      const start = at;
      for (; at < to && isDigit(bytes[at]!); at++) length = length * 10 + bytes[at]! - 48;
      if (at === start || at - start > 15) throw protocolError("a content-length that is not a number");
      if (this.contentLength !== -1 && this.contentLength !== length) {
        throw protocolError("more than one content-length");
      }
      this.contentLength = length;
      if (firstEnd === 0) firstEnd = at;
      while (at < to && isBlank(bytes[at]!)) at++;
      if (at === to) return firstEnd;
      if (bytes[at++] !== COMMA) throw protocolError("a content-length that is not a number");
      while (at < to && isBlank(bytes[at]!)) at++;
    }
  }

  #readTransferEncoding(bytes: Uint8Array, from: number, to: number): void {
    if (this.chunked) throw protocolError("more than one transfer-encoding");
    if (!equalsToken(bytes, from, to, CHUNKED)) {
      throw protocolError("a transfer-encoding other than chunked");
    }
    this.chunked = true;
  }

  #readConnection(bytes: Uint8Array, from: number, to: number): void {
    let start = from;
    for (let i = from; i <= to; i++) {
      if (i < to && bytes[i] !== COMMA) continue;
      let last = i;
      while (start < last && isBlank(bytes[start]!)) start++;
      while (last > start && isBlank(bytes[last - 1]!)) last--;
      if (equalsToken(bytes, start, last, CLOSE)) this.#closes = true;
      else if (equalsToken(bytes, start, last, KEEP_ALIVE)) this.#keepsAlive = true;
      start = i + 1;
    }
  }

  #complete(bytes: Uint8Array, bodyStart: number): void {
    if (this.chunked && this.contentLength !== -1) {
      throw protocolError("both content-length and transfer-encoding");
    }
    // RFC 9112 section 6.1: framing of HTTP/1.0 with a transfer coding is faulty by definition.
    if (this.chunked && this.#oldVersion) throw protocolError("a transfer-encoding in HTTP/1.0");
    this.persistent = !this.#closes && (!this.#oldVersion || this.#keepsAlive);
    this.bodyStart = bodyStart;
    const { list } = this;
    const start = this.#start;
    const text = decodeLatin1(bytes, start, bodyStart, this.#bits < 128);
    this.statusText = text.substring(this.#reasonStart - start, this.#reasonEnd - start);
    for (let i = 0; i < list.length; i += 2) {
      list[i + 1] = text.substring(this.#values[i]! - start, this.#values[i + 1]! - start);
    }
  }
}

function isDigit(byte: number): boolean {
  return byte >= 48 && byte <= 57;
}

function isBlank(byte: number): boolean {
  return byte === SPACE || byte === TAB;
}

function equalsToken(bytes: Uint8Array, from: number, to: number, token: Uint8Array): boolean {
  if (to - from !== token.length) return false;
  for (let i = 0; i < token.length; i++) {
    if ((bytes[from + i]! | 32) !== token[i]) return false;
  }
  return true;
}

function fieldFault(first: number): string {
  if (isBlank(first)) return "a field line that is folded";
  return first === COLON
    ? "a field line without a name"
    : "a field name with forbidden characters or without a colon";
}
