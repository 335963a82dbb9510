/** Writes message heads and chunks, as bytes. */

import {
  asciiBytes,
  fieldId,
  type FieldLines,
  TOKEN_BYTES,
  trimBlanks,
  VALUE_BYTES,
} from "../http/field_lines.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import { type Bytes, reasonPhrase } from "../http/message.ts";

const CR = 13;
const LF = 10;
const SPACE = 32;
const COLON = 58;
const DEL = 127;
/** Copying fewer bytes than this one by one is faster than making a view. */
const SHORT_COPY = 48;

const CONTENT_LENGTH_ID = fieldId("content-length");
const TRANSFER_ENCODING_ID = fieldId("transfer-encoding");
const EXPECT_ID = fieldId("expect");
const HOST_ID = fieldId("host");

/** Something that is not allowed in a head. */
export class UnwritableHeadError extends Error {
  /** Name of the class. */
  override readonly name = "UnwritableHeadError";
}

/**
 * Writes heads into a buffer, which grows if needed.
 *
 * Received field lines that were not edited are copied unchanged. Fields of framing (`Content-Length`,
 * `Transfer-Encoding`) are never copied: the writer of the content adds them. `Expect` is not copied either, because
 * the sender of the content decides about it.
 */
export class HeadWriter {
  /** The buffer; bytes after {@linkcode HeadWriter.length} are free. */
  bytes: Bytes;
  /** How many bytes are written. */
  length = 0;
  /** How many `Host` lines the head of a request has so far; -1 when the head is not that of a request. */
  #hosts = -1;

  constructor(bytes: Bytes) {
    this.bytes = bytes;
  }

  /** Starts again, in another buffer. */
  begin(bytes: Bytes): void {
    this.bytes = bytes;
    this.length = 0;
    this.#hosts = -1;
  }

  /**
   * Writes the request line.
   *
   * @throws {UnwritableHeadError} when method or target is not allowed in it
   */
  requestLine(method: string, target: string): void {
    this.#reserve(method.length + target.length + 16);
    this.#hosts = 0;
    this.#token(method);
    this.bytes[this.length++] = SPACE;
    this.#target(target);
    this.text(" HTTP/1.1\r\n");
  }

  /** Writes the request line with a target that was parsed from the bytes of a request. */
  requestLineOf(method: string, bytes: Uint8Array, targetStart: number, targetEnd: number): void {
    this.#reserve(method.length + targetEnd - targetStart + 16);
    this.#hosts = 0;
    this.text(method);
    this.bytes[this.length++] = SPACE;
    this.copy(bytes, targetStart, targetEnd);
    this.text(" HTTP/1.1\r\n");
  }

  /**
   * Writes the status line.
   *
   * @throws {UnwritableHeadError} when the reason is not allowed in it
   */
  statusLine(status: number, reason: string): void {
    const known = reason === "" ? undefined : STATUS_LINES[status];
    if (known !== undefined && known.reason === reason) return this.copy(known.bytes, 0, known.bytes.length);
    this.#reserve(reason.length + 16);
    this.text(`HTTP/1.1 ${status} `);
    this.#value("the reason phrase", reason);
    this.#lineEnd();
  }

  /**
   * Writes all fields except those of framing.
   *
   * @param withLength whether `Content-Length` is written too, once, however often it was received (RFC 9112 section
   * 6.3, item 5): for a response to HEAD and a 304, where it describes content that is not sent
   * @throws {UnwritableHeadError} when a name or a value is not allowed in a head, or when a request does not have
   * exactly one `Host` (RFC 9112 section 3.2)
   */
  fields(fields: HeaderFields, withLength = false): void {
    const { lines, list } = fields;
    if (lines !== null) this.#copyLines(lines, fields);
    for (let i = 0; i < list.length; i += 2) {
      const name = list[i]!;
      if (name === "content-length" || name === "transfer-encoding" || name === "expect") continue;
      this.line(name, list[i + 1]!);
    }
    const length = withLength ? fields.get("content-length") : null;
    if (length !== null) this.#describedLength(length);
    if (this.#hosts >= 0 && this.#hosts !== 1) throw new UnwritableHeadError(`${this.#hosts} Host fields`);
  }

  #describedLength(value: string): void {
    const comma = value.indexOf(",");
    const length = trimBlanks(comma < 0 ? value : value.slice(0, comma));
    if (/^[0-9]+$/.test(length)) this.line("content-length", length);
  }

  // Adjacent lines are copied together.
  #copyLines(lines: FieldLines, fields: HeaderFields): void {
    const { count, bytes } = lines;
    if (lines.bareLf) return this.#rewriteLines(lines, fields);
    let from = 0;
    let to = 0;
    for (let line = 0; line < count; line++) {
      const id = lines.id(line);
      if (isFraming(id) || fields.isRemoved(line)) continue;
      if (id === HOST_ID) this.#countHost();
      const start = lines.nameStart(line);
      if (start !== to) {
        if (to > from) this.copy(bytes, from, to);
        from = start;
      }
      to = lines.lineEnd(line);
    }
    if (to > from) this.copy(bytes, from, to);
  }

  #rewriteLines(lines: FieldLines, fields: HeaderFields): void {
    for (let line = 0; line < lines.count; line++) {
      if (isFraming(lines.id(line)) || fields.isRemoved(line)) continue;
      this.line(lines.nameAsWritten(line), lines.value(line));
    }
  }

  /**
   * Writes a field line.
   *
   * @throws {UnwritableHeadError} when name or value is not allowed in it
   */
  line(name: string, value: string): void {
    this.#reserve(name.length + value.length + 4);
    if (name.length === 4 && name.toLowerCase() === "host") this.#countHost();
    this.#token(name);
    this.bytes[this.length++] = COLON;
    this.bytes[this.length++] = SPACE;
    this.#value(`the field "${name}"`, value);
    this.#lineEnd();
  }

  /** Writes `content-length`. */
  contentLength(length: number): void {
    this.#reserve(40);
    this.copy(CONTENT_LENGTH, 0, CONTENT_LENGTH.length);
    this.decimal(length);
    this.#lineEnd();
  }

  /** Writes a whole number. */
  decimal(value: number): void {
    if (value > 0x7fff_ffff) return this.text(String(value));
    let digits = 1;
    for (let rest = value; rest >= 10; rest = (rest / 10) | 0) digits++;
    this.#reserve(digits);
    let rest = value | 0;
    for (let at = this.length + digits - 1; at >= this.length; at--) {
      const tenth = (rest / 10) | 0;
      this.bytes[at] = 48 + rest - tenth * 10;
      rest = tenth;
    }
    this.length += digits;
  }

  /** Ends the head. */
  end(): void {
    this.#reserve(2);
    this.#lineEnd();
  }

  #countHost(): void {
    if (this.#hosts >= 0) this.#hosts++;
  }

  /** Writes text that is known to be ASCII and valid at this position. */
  text(text: string): void {
    this.#reserve(text.length);
    const { bytes } = this;
    let at = this.length;
    for (let i = 0; i < text.length; i++) bytes[at++] = text.charCodeAt(i);
    this.length = at;
  }

  /** Copies bytes. */
  copy(source: Uint8Array, from: number, to: number): void {
    this.#reserve(to - from);
    const { bytes } = this;
    if (to - from < SHORT_COPY) {
      let at = this.length;
      for (let i = from; i < to; i++) bytes[at++] = source[i]!;
    } else {
      bytes.set(from === 0 && to === source.length ? source : source.subarray(from, to), this.length);
    }
    this.length += to - from;
  }

  #lineEnd(): void {
    this.bytes[this.length++] = CR;
    this.bytes[this.length++] = LF;
  }

  #token(text: string): void {
    const { bytes } = this;
    let at = this.length;
    if (text.length === 0) throw new UnwritableHeadError("an empty method or field name");
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (TOKEN_BYTES[code] !== 1) {
        throw new UnwritableHeadError(`${JSON.stringify(text)} as a method or field name`);
      }
      bytes[at++] = code;
    }
    this.length = at;
  }

  #target(target: string): void {
    const { bytes } = this;
    let at = this.length;
    if (target.length === 0) throw new UnwritableHeadError("an empty target");
    for (let i = 0; i < target.length; i++) {
      const code = target.charCodeAt(i);
      if (code > DEL) return this.#targetAsUtf8(target);
      // A space would end the target, and the rest would be read as the version.
      if (code <= SPACE || code === DEL) throw unwritableTarget(target);
      bytes[at++] = code;
    }
    this.length = at;
  }

  #targetAsUtf8(target: string): void {
    const encoded = encoder.encode(target);
    if (encoded.some((byte) => byte <= SPACE || byte === DEL)) throw unwritableTarget(target);
    this.copy(encoded, 0, encoded.length);
  }

  #value(what: string, value: string): void {
    const { bytes } = this;
    let at = this.length;
    for (let i = 0; i < value.length; i++) {
      const code = value.charCodeAt(i);
      if (VALUE_BYTES[code] !== 1) {
        throw new UnwritableHeadError(`${JSON.stringify(value)} as the value of ${what}`);
      }
      bytes[at++] = code;
    }
    this.length = at;
  }

  #reserve(more: number): void {
    const needed = this.length + more + 2;
    if (needed <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.bytes.length * 2));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
  }
}

const encoder = new TextEncoder();

function unwritableTarget(target: string): UnwritableHeadError {
  return new UnwritableHeadError(`the target ${JSON.stringify(target)}`);
}

function isFraming(id: number): boolean {
  return id === CONTENT_LENGTH_ID || id === TRANSFER_ENCODING_ID || id === EXPECT_ID;
}

const CONTENT_LENGTH = asciiBytes("content-length: ");

/** Complete status lines with the standard reason phrases. */
const STATUS_LINES: readonly ({ reason: string; bytes: Uint8Array } | undefined)[] = Array.from(
  { length: 600 },
  (_, status) => {
    const reason = reasonPhrase(status);
    return reason === "" ? undefined : { reason, bytes: asciiBytes(`HTTP/1.1 ${status} ${reason}\r\n`) };
  },
);

// Writes chunked content (RFC 9112 section 7.1).

/** Writes a piece as one chunk; an empty piece is skipped, because an empty chunk would end the content. */
export function writeChunk(writer: HeadWriter, piece: Uint8Array): void {
  if (piece.length === 0) return;
  writer.text(piece.length.toString(16) + "\r\n");
  writer.copy(piece, 0, piece.length);
  writer.text("\r\n");
}

/** Writes the end of the content, with trailer fields as name, value, name, value, ... */
export function writeLastChunk(writer: HeadWriter, trailers: readonly string[]): void {
  writer.text("0\r\n");
  for (let i = 0; i < trailers.length; i += 2) writer.line(trailers[i]!, trailers[i + 1]!);
  writer.end();
}

// Buffers that connections read into and write from, kept for reuse.

/** Holds a head and a small body. */
export const SMALL_BUFFER: number = 16 * 1024;
/** Holds a piece of content. */
export const LARGE_BUFFER: number = 64 * 1024;
/** Holds a piece of content that arrives fast: fewer turns of the event loop. */
export const HUGE_BUFFER: number = 256 * 1024;

/**
 * How many of each size are kept; more are needed only if as many messages are in progress in one turn of the event
 * loop.
 */
const MAX_KEPT: ReadonlyMap<number, number> = new Map([[SMALL_BUFFER, 128], [LARGE_BUFFER, 128], [
  HUGE_BUFFER,
  8,
]]);

/**
 * Keeps unused buffers for reuse.
 *
 * One `ArrayBuffer` per message would make the garbage collector of old objects run (measured: 8 times a second at 10
 * KiB).
 */
export class BufferShelf {
  readonly #small: Bytes[] = [];
  readonly #large: Bytes[] = [];
  readonly #huge: Bytes[] = [];

  /** How many buffers are kept now. */
  get size(): number {
    return this.#small.length + this.#large.length + this.#huge.length;
  }

  /** Takes a buffer of one of the three sizes; its content is undefined. */
  take(size: number): Bytes {
    return this.#shelfOf(size)?.pop() ?? new Uint8Array(size);
  }

  /** Takes back a buffer that is no longer used; buffers of other sizes are dropped. */
  give(buffer: Bytes): void {
    const size = buffer.length;
    // A view of a larger buffer could be lent twice.
    if (buffer.buffer.byteLength !== size) return;
    const shelf = this.#shelfOf(size);
    if (shelf !== null && shelf.length < MAX_KEPT.get(size)!) shelf.push(buffer);
  }

  #shelfOf(size: number): Bytes[] | null {
    if (size === SMALL_BUFFER) return this.#small;
    if (size === LARGE_BUFFER) return this.#large;
    return size === HUGE_BUFFER ? this.#huge : null;
  }
}
