/** Heads of requests (RFC 9112 section 3), also from hostile clients. */

import { RequestError } from "../core/errors.ts";
import {
  asciiBytes,
  decodeLatin1,
  decodeLike,
  equalsToken,
  fieldId,
  HEX_DIGITS,
  TOKEN_BYTES,
  trimBlanks,
} from "../http/field_lines.ts";
import { makeHextets, readIpAddress } from "../http/ip_address.ts";
import { HeadParser, readContentLength } from "./head_parser.ts";

/** Limits of request heads. */
interface RequestHeadLimits {
  /** Most bytes of a head; longer ones get 431. @default {32768} */
  readonly maxBytes?: number;
  /** Most field lines; more get 431. @default {200} */
  readonly maxFields?: number;
  /** Most bytes of a target; longer ones get 414. @default {16384} */
  readonly maxTargetBytes?: number;
}

const LF = 10;
const CR = 13;
const SPACE = 32;
const HASH = 35;
const ASTERISK = 42;
const SLASH = 47;
const QUESTION = 63;

const MAX_METHOD_BYTES = 32;
const VERSION = asciiBytes("HTTP/");
const CHUNKED = asciiBytes("chunked");
const CONTINUE = asciiBytes("100-continue");

// Where the next byte of the request line belongs.
const BEFORE = 0;
const EMPTY_LINE_LF = 1;
const METHOD = 2;
const TARGET = 3;
const IN_VERSION = 4;
const LINE_LF = 5;

const HOST_ID = fieldId("host");
const CONTENT_LENGTH_ID = fieldId("content-length");
const TRANSFER_ENCODING_ID = fieldId("transfer-encoding");
const CONNECTION_ID = fieldId("connection");
const UPGRADE_ID = fieldId("upgrade");
const EXPECT_ID = fieldId("expect");

/**
 * Reads the heads of the requests on one connection, one after another.
 *
 * Refuses whatever another parser could read differently: two lengths, a length with a transfer coding, a coding
 * other than `chunked`, blanks before a colon, folded lines, bare CR or LF, control characters, a missing or second
 * `Host`.
 */
export class RequestHeadParser extends HeadParser {
  /** Method as received; methods are case-sensitive. */
  method = "";
  /** Where the target begins; in the absolute form, where its path begins. */
  targetStart = 0;
  /** Where the target ends. */
  targetEnd = 0;
  /** Whether the absolute form has an empty path, which means `/`, or `*` with OPTIONS. */
  emptyPath = false;
  /** 1 for HTTP/1.1, 0 for HTTP/1.0. */
  minor = 1;
  /** Where the authority of the absolute form or of the `Host` field begins and ends; both 0 without one. */
  hostStart = 0;
  hostEnd = 0;
  /** Value of `Content-Length`; -1 without it. */
  contentLength = -1;
  /** Whether the content is chunked. */
  chunked = false;
  /** Whether the client allows another request on the connection. */
  persistent = true;
  /** Whether the client waits for 100 (Continue) before it sends the content. */
  expectsContinue = false;
  /** Whether the client offers to switch protocols. */
  upgrade = false;
  readonly #maxTargetBytes: number;

  #phase = BEFORE;
  #methodStart = 0;
  #versionStart = 0;
  #emptyLines = 0;
  #authorityStart = 0;
  #authorityEnd = 0;
  /** The previous host, which most requests of a connection repeat. */
  #knownHost = "";
  #hosts = 0;
  #upgradeField = false;

  constructor(limits: RequestHeadLimits = {}) {
    const { maxBytes = 32_768, maxFields = 200, maxTargetBytes = 16_384 } = limits;
    super({ maxBytes, maxFields });
    this.#maxTargetBytes = maxTargetBytes;
  }

  /** Whether content follows the head. */
  get hasContent(): boolean {
    return this.chunked || this.contentLength > 0;
  }

  /** Whether more was received than the empty line that is allowed before a request (RFC 9112 section 2.2). */
  get begun(): boolean {
    return this.#phase >= METHOD;
  }

  /** The target in origin form; bytes above 0x7F are percent-encoded. */
  get target(): string {
    const text = decodeTarget(this.lines.bytes, this.targetStart, this.targetEnd);
    if (!this.emptyPath) return text;
    return text === "" && this.method === "OPTIONS" ? "*" : `/${text}`;
  }

  /** Ends the target at the received bytes, after a head was refused before its end: for the log. */
  endTarget(filled: number): void {
    if (this.targetStart === 0 || this.targetEnd > 0) return;
    const { bytes } = this.lines;
    let at = this.targetStart;
    while (at < filled && bytes[at]! > SPACE) at++;
    this.targetEnd = at;
  }

  /** The requested host, with its port; `""` when an HTTP/1.0 client names none. */
  get host(): string {
    return this.#knownHost = decodeLike(
      this.#knownHost,
      this.lines.bytes,
      this.hostStart,
      this.hostEnd,
    );
  }

  protected override beginHead(at: number): void {
    this.#phase = BEFORE;
    this.#methodStart = at;
    this.method = "";
    this.minor = 1;
    this.#emptyLines = 0;
    this.targetStart = this.targetEnd = 0;
    this.emptyPath = false;
    this.#authorityStart = this.#authorityEnd = 0;
    this.hostStart = this.hostEnd = 0;
    this.#hosts = 0;
    this.contentLength = -1;
    this.chunked = false;
    this.expectsContinue = this.#upgradeField = false;
  }

  protected override readStartLine(bytes: Uint8Array, from: number, stop: number): number {
    let at = from;
    while (at < stop) {
      switch (this.#phase) {
        case BEFORE:
          if (bytes[at] === CR && this.#emptyLines++ === 0) {
            this.#phase = EMPTY_LINE_LF;
            at++;
          } else {
            this.#methodStart = at;
            this.#phase = METHOD;
          }
          break;
        case EMPTY_LINE_LF:
          if (bytes[at++] !== LF) throw this.fail("a CR without LF before the request line");
          this.#phase = BEFORE;
          break;
        case METHOD:
          at = this.#readMethod(bytes, at, stop);
          break;
        case TARGET:
          at = this.#readTarget(bytes, at, stop);
          break;
        case IN_VERSION:
          at = this.#readVersion(bytes, at);
          break;
        default:
          if (bytes[at] !== LF) throw this.fail("a CR without LF in the request line");
          this.#completeLine(bytes);
          return at + 1;
      }
    }
    return -1;
  }

  #readMethod(bytes: Uint8Array, from: number, stop: number): number {
    let at = from;
    const longest = this.#methodStart + MAX_METHOD_BYTES;
    while (at < stop && TOKEN_BYTES[bytes[at]!] === 1) {
      if (at++ === longest) throw this.fail("a method that is too long", 501);
    }
    if (at === stop) return at;
    if (bytes[at] !== SPACE || at === this.#methodStart) throw this.fail("a malformed method");
    this.method = methodOf(bytes, this.#methodStart, at);
    this.#phase = TARGET;
    this.targetStart = at + 1;
    return at + 1;
  }

  // Browsers send bytes above 0x7f, and servers accept them: they are forwarded unchanged.
  #readTarget(bytes: Uint8Array, from: number, stop: number): number {
    let at = from;
    const longest = this.targetStart + this.#maxTargetBytes;
    for (; at < stop; at++) {
      const byte = bytes[at]!;
      if (byte <= SPACE || byte === 127 || byte === HASH) break;
      if (at === longest) {
        throw new RequestError(`The request target is longer than ${this.#maxTargetBytes} bytes`, 414);
      }
    }
    if (at === stop) return at;
    if (bytes[at] !== SPACE) throw this.fail(faultOfTarget(bytes[at]!));
    if (at === this.targetStart) throw this.fail("an empty request target");
    this.targetEnd = at;
    this.#versionStart = at + 1;
    this.#phase = IN_VERSION;
    return at + 1;
  }

  #readVersion(bytes: Uint8Array, at: number): number {
    const place = at - this.#versionStart;
    const byte = bytes[at]!;
    if (place < 5) {
      if (byte !== VERSION[place]) throw this.fail("a malformed HTTP version");
    } else if (place === 6) {
      if (byte !== 46) throw this.fail("a malformed HTTP version");
    } else if (place < 8) {
      if (byte < 48 || byte > 57) throw this.fail("a malformed HTTP version");
    } else if (byte === CR) {
      const major = bytes[at - 3]! - 48;
      this.minor = bytes[at - 1]! - 48;
      if (major !== 1 || this.minor > 1) {
        throw this.fail(`HTTP/${major}.${this.minor}, where HTTP/1.1 and HTTP/1.0 are understood`, 505);
      }
      this.#phase = LINE_LF;
    } else throw this.fail(byte === LF ? "a line that ends without CR" : "a malformed HTTP version");
    return at + 1;
  }

  #completeLine(bytes: Uint8Array): void {
    const { method, targetStart } = this;
    if (method === "CONNECT") throw notForwarded(method, 501);
    if (method === "TRACE") throw notForwarded(method, 405);
    const first = bytes[targetStart];
    if (first === SLASH) return;
    if (first === ASTERISK && this.targetEnd === targetStart + 1) {
      if (method === "OPTIONS") return;
      throw this.fail('the target "*", which is for OPTIONS only');
    }
    this.#readAbsoluteForm(bytes);
  }

  /** `http://authority/path?query`, which a server must accept (RFC 9112 section 3.2.2). */
  #readAbsoluteForm(bytes: Uint8Array): void {
    const { targetStart, targetEnd } = this;
    let at = targetStart;
    if (equalsToken(bytes, at, at + 7, HTTP)) at += 7;
    else if (equalsToken(bytes, at, at + 8, HTTPS)) at += 8;
    else throw this.fail("a request target that is no path and no http URL");
    this.#authorityStart = at;
    while (at < targetEnd && bytes[at] !== SLASH && bytes[at] !== QUESTION) at++;
    this.#authorityEnd = at;
    if (!isAuthority(bytes, this.#authorityStart, at)) {
      throw this.fail("a malformed host in the request target");
    }
    this.emptyPath = bytes[at] !== SLASH || at === targetEnd;
    this.targetStart = at;
  }

  protected override takeField(id: number, bytes: Uint8Array, from: number, to: number): void {
    switch (id) {
      case HOST_ID:
        if (++this.#hosts > 1) throw this.fail("more than one Host field");
        if (!isAuthority(bytes, from, to)) {
          const found = JSON.stringify(decodeLatin1(bytes, from, Math.min(to, from + 100)));
          throw this.fail(`a malformed Host field, ${found}`);
        }
        this.hostStart = from;
        this.hostEnd = to;
        return;
      case CONTENT_LENGTH_ID:
        if (this.contentLength !== -1) throw this.fail("more than one Content-Length");
        this.contentLength = readContentLength(bytes, from, to);
        if (this.contentLength === -1) throw this.fail("a Content-Length that is not a number");
        return;
      case TRANSFER_ENCODING_ID:
        if (this.chunked) throw this.fail("more than one Transfer-Encoding");
        if (!equalsToken(bytes, from, to, CHUNKED)) throw this.#codingError(decodeLatin1(bytes, from, to));
        this.chunked = true;
        return;
      case CONNECTION_ID:
        this.readConnection(bytes, from, to);
        return;
      case UPGRADE_ID:
        this.#upgradeField = true;
        return;
      case EXPECT_ID:
        if (!equalsToken(bytes, from, to, CONTINUE)) {
          throw this.fail("an Expect field other than 100-continue", 417);
        }
        this.expectsContinue = true;
    }
  }

  // If the last coding is not `chunked`, the end of the content is unknown (RFC 9112 section 6.3, item 4).
  #codingError(value: string): RequestError {
    const codings = value.toLowerCase().split(",").map(trimBlanks);
    if (codings.includes("") || codings.indexOf("chunked") !== codings.length - 1) {
      return this.fail("a Transfer-Encoding that does not end with chunked, or has it twice");
    }
    return this.fail("a Transfer-Encoding other than chunked", 501);
  }

  protected override complete(): void {
    const old = this.minor === 0;
    if (this.chunked && this.contentLength !== -1) {
      throw this.fail("both Content-Length and Transfer-Encoding");
    }
    // Faulty framing (RFC 9112 section 6.1): a proxy in front that does not know chunks could find another end of the
    // request.
    if (this.chunked && old) throw this.fail("a Transfer-Encoding in HTTP/1.0");
    if (this.#hosts === 0 && !old) throw this.fail("no Host field");
    if (this.#authorityEnd > 0) {
      if (this.#hosts > 0 && !this.#sameHost()) {
        throw this.fail("a Host field that is not the host of the target");
      }
      this.hostStart = this.#authorityStart;
      this.hostEnd = this.#authorityEnd;
    }
    this.persistent = !this.closes && (!old || this.keepsAlive);
    this.upgrade = this.wantsUpgrade && this.#upgradeField && !old;
    // A client of HTTP/1.0 does not know 100 (Continue) (RFC 9110 section 10.1.1).
    if (old) this.expectsContinue = false;
  }

  #sameHost(): boolean {
    const bytes = this.lines.bytes;
    const length = this.hostEnd - this.hostStart;
    if (this.#authorityEnd - this.#authorityStart !== length) return false;
    for (let i = 0; i < length; i++) {
      if (lower(bytes[this.hostStart + i]!) !== lower(bytes[this.#authorityStart + i]!)) return false;
    }
    return true;
  }

  protected override fail(found: string, status?: number): RequestError {
    return badRequest(found, status);
  }

  protected override tooLong(maxBytes: number): RequestError {
    return new RequestError(`The request head is longer than ${maxBytes} bytes`, 431);
  }

  protected override tooMany(maxFields: number): RequestError {
    return new RequestError(`The request has more than ${maxFields} fields`, 431);
  }
}

/** The error for a request that is not valid HTTP. */
export function badRequest(found: string, status = 400): RequestError {
  return new RequestError(`Cannot read the request: it has ${found}`, status);
}

const HTTP = asciiBytes("http://");
const HTTPS = asciiBytes("https://");

function notForwarded(method: string, status: number): RequestError {
  return new RequestError(`The method ${method} is not forwarded`, status, { allow: ALLOWED });
}

const ALLOWED = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"].map((name) => ({
  name,
  letters: asciiBytes(name),
}));

function methodOf(bytes: Uint8Array, from: number, to: number): string {
  next: for (const { name, letters } of METHODS) {
    if (letters.length !== to - from) continue;
    for (let i = 0; i < letters.length; i++) {
      if (letters[i] !== bytes[from + i]) continue next;
    }
    return name;
  }
  return decodeLatin1(bytes, from, to);
}

function lower(byte: number): number {
  return byte >= 65 && byte <= 90 ? byte | 32 : byte;
}

function faultOfTarget(byte: number): string {
  if (byte === CR || byte === LF) return "no HTTP version";
  return byte === HASH ? "a fragment in the request target" : "a control character in the request target";
}

// Parts of a target, in received bytes.

const PERCENT = 37;
const COLON = 58;
const LEFT_BRACKET = 91;
const RIGHT_BRACKET = 93;

/** The target in `bytes[from..to)`; bytes above 0x7F are percent-encoded. */
export function decodeTarget(bytes: Uint8Array, from: number, to: number): string {
  let text = "";
  let start = from;
  for (let i = from; i < to; i++) {
    const byte = bytes[i]!;
    if (byte < 128) continue;
    text += decodeLatin1(bytes, start, i) + "%" + byte.toString(16).toUpperCase();
    start = i + 1;
  }
  return text + decodeLatin1(bytes, start, to);
}

/** 1 for bytes allowed in a registered name or an IPv4 address (RFC 3986), except a comma, which would make it a list. */
const NAME_BYTES: Uint8Array = Uint8Array.from(
  { length: 256 },
  (_, byte) => byte < 128 && /[!$&'()*+\-.;=_~0-9A-Za-z]/.test(String.fromCharCode(byte)) ? 1 : 0,
);
/** 1 for bytes allowed between the brackets of an IPv6 address. */
const IPV6_BYTES: Uint8Array = Uint8Array.from(
  { length: 256 },
  (_, byte) => byte < 128 && /[:.0-9A-Fa-f]/.test(String.fromCharCode(byte)) ? 1 : 0,
);

/**
 * Whether the bytes are a host with an optional port (RFC 9110 section 7.2), without anything that could be read as
 * another part of a URL.
 */
export function isAuthority(bytes: Uint8Array, from: number, to: number): boolean {
  let at = from;
  if (bytes[at] === LEFT_BRACKET && at < to) {
    at++;
    while (at < to && IPV6_BYTES[bytes[at]!] === 1) at++;
    if (at === to || bytes[at] !== RIGHT_BRACKET || !isIpv6(decodeLatin1(bytes, from + 1, at))) return false;
    at++;
  } else {
    for (; at < to; at++) {
      if (NAME_BYTES[bytes[at]!] === 1) continue;
      if (bytes[at] !== PERCENT) break;
      if (at + 2 >= to || HEX_DIGITS[bytes[at + 1]!] === 255 || HEX_DIGITS[bytes[at + 2]!] === 255) {
        return false;
      }
      at += 2;
    }
    if (at === from) return false;
  }
  if (at - from > 255) return false;
  if (at === to) return true;
  if (bytes[at] !== COLON) return false;
  let port = 0;
  for (at++; at < to; at++) {
    const digit = bytes[at]! - 48;
    if (digit < 0 || digit > 9) return false;
    port = port * 10 + digit;
    if (port > MAX_PORT) return false;
  }
  return true;
}

const MAX_PORT = 65_535;

function isIpv6(text: string): boolean {
  return text.includes(":") && readIpAddress(text, makeHextets()) !== 0;
}
