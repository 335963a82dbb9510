/** Heads of messages, as bytes. */

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
/** Copying fewer bytes than this one by one is faster than making a view of them. */
const FEW_BYTES = 48;

const CONTENT_LENGTH_ID = fieldId("content-length");
const TRANSFER_ENCODING_ID = fieldId("transfer-encoding");
const EXPECT_ID = fieldId("expect");
const HOST_ID = fieldId("host");

/** Something that cannot stand in a head. */
export class UnwritableHeadError extends Error {
  /** Name of the class. */
  override readonly name = "UnwritableHeadError";
}

/**
 * Writes heads into a buffer, which grows when it has to.
 *
 * Field lines that came as bytes and were not edited are copied as they are. Fields of framing (`Content-Length`,
 * `Transfer-Encoding`) are never copied: whoever writes the content knows how it is framed. `Expect` is not either,
 * because whoever sends content has met the expectation or not.
 */
export class HeadWriter {
  /** The buffer; bytes after {@linkcode HeadWriter.length} are free. */
  bytes: Bytes;
  /** How many bytes are written. */
  length = 0;
  /** How many `Host` lines the head of a request has so far; -1 when it is no request that is written. */
  #hosts = -1;

  constructor(bytes: Bytes) {
    this.bytes = bytes;
  }

  /** Begins anew, in a buffer. */
  begin(bytes: Bytes): void {
    this.bytes = bytes;
    this.length = 0;
    this.#hosts = -1;
  }

  /**
   * Writes the line that begins a request.
   *
   * @throws {UnwritableHeadError} when method or target cannot stand in it
   */
  requestLine(method: string, target: string): void {
    this.#reserve(method.length + target.length + 16);
    this.#hosts = 0;
    this.#token(method);
    this.bytes[this.length++] = SPACE;
    this.#target(target);
    this.text(" HTTP/1.1\r\n");
  }

  /** Writes the line that begins a request, whose target stands in bytes that were read as one. */
  requestLineOf(method: string, bytes: Uint8Array, targetStart: number, targetEnd: number): void {
    this.#reserve(method.length + targetEnd - targetStart + 16);
    this.#hosts = 0;
    this.text(method);
    this.bytes[this.length++] = SPACE;
    this.copy(bytes, targetStart, targetEnd);
    this.text(" HTTP/1.1\r\n");
  }

  /**
   * Writes the line that begins a response.
   *
   * @throws {UnwritableHeadError} when the reason cannot stand in it
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
   * Writes all fields but those of framing; of a response to HEAD and of a 304, whose length describes what is not sent,
   * the length as well: once, however often it came (RFC 9112 section 6.3, item 5).
   *
   * @throws {UnwritableHeadError} when a name or a value cannot stand in a head, and when that of a request has not
   * exactly one `Host` (RFC 9112 section 3.2)
   */
  fields(fields: HeaderFields, withLength = false): void {
    const { lines, list } = fields;
    if (lines !== null) this.#lines(lines, fields);
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

  // Lines that stand next to each other are copied at once.
  #lines(lines: FieldLines, fields: HeaderFields): void {
    const { count, bytes } = lines;
    if (lines.bareLf) return this.#linesAnew(lines, fields);
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

  #linesAnew(lines: FieldLines, fields: HeaderFields): void {
    for (let line = 0; line < lines.count; line++) {
      if (isFraming(lines.id(line)) || fields.isRemoved(line)) continue;
      this.line(lines.nameAsWritten(line), lines.value(line));
    }
  }

  /**
   * Writes a field line.
   *
   * @throws {UnwritableHeadError} when name or value cannot stand in one
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

  /** Writes text that is known to be ASCII and to fit where it is written. */
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
    if (to - from < FEW_BYTES) {
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
      // A space would end the target, and what follows would be taken for the version.
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

/** Whole lines of the usual statuses and reasons. */
const STATUS_LINES: readonly ({ reason: string; bytes: Uint8Array } | undefined)[] = Array.from(
  { length: 600 },
  (_, status) => {
    const reason = reasonPhrase(status);
    return reason === "" ? undefined : { reason, bytes: asciiBytes(`HTTP/1.1 ${status} ${reason}\r\n`) };
  },
);

// Content in chunks, written (RFC 9112 section 7.1).

/** Writes a piece as one chunk; an empty piece is none, because that would end the content. */
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

// Buffers that connections read into and write from, kept for those who come after.

/** Holds a head and a small body. */
export const SMALL_BUFFER: number = 16 * 1024;
/** Holds a piece of content. */
export const LARGE_BUFFER: number = 64 * 1024;
/** Holds a piece of content that comes fast: fewer turns of the loop. */
export const HUGE_BUFFER: number = 256 * 1024;

/** How many of each are kept; more are only needed when as many messages are under way at one turn of the loop. */
const MAX_KEPT: ReadonlyMap<number, number> = new Map([[SMALL_BUFFER, 128], [LARGE_BUFFER, 128], [
  HUGE_BUFFER,
  8,
]]);

/**
 * Keeps buffers that nobody uses.
 *
 * An `ArrayBuffer` a message is what makes the collector of old objects run (measured: 8 times a second at 10 KiB).
 */
export class BufferShelf {
  readonly #small: Bytes[] = [];
  readonly #large: Bytes[] = [];
  readonly #huge: Bytes[] = [];

  /** How many are kept now. */
  get size(): number {
    return this.#small.length + this.#large.length + this.#huge.length;
  }

  /** A buffer of one of the three sizes; what is in it is of no meaning. */
  take(size: number): Bytes {
    return this.#shelfOf(size)?.pop() ?? new Uint8Array(size);
  }

  /** Takes a buffer back that nobody looks at any more; others than ours are dropped. */
  give(buffer: Bytes): void {
    const size = buffer.length;
    // A piece of a larger one would be lent to two at once.
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
