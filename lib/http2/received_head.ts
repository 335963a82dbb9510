/** The head of a message, or its trailers, received in a field block (RFC 9113 section 8). */

import { decodeLatin1, FieldLines } from "../http/field_lines.ts";
import { mayBeTrailer } from "../http/proxy_fields.ts";
import { faultOfKind, FIRST_PSEUDO, KIND, LAST_PSEUDO } from "./field_kind.ts";
import { copyBytes, ENTRY_OVERHEAD, type FieldSink } from "./hpack_decoder.ts";

/** Limits of a head. */
export interface HeadBounds {
  /** Most bytes of all fields, plus 32 for each field (RFC 9113 section 6.5.2). */
  readonly maxHeadBytes: number;
  /** Most fields; each part of a cookie is one. */
  readonly maxFields: number;
}

/** A head of more than this many times its limit in bytes is an attack. */
const EXCESSIVE = 2;
const FIRST_BYTES = 1024;
/** A buffer that grew beyond this is not kept for the next head. */
const KEPT_BYTES = 8 * 1024;
/** Numbers stored for each pseudo field: where its value begins and ends. */
const PLACES = 2;
const COOKIE_NAME = "cookie";
const HOST_NAME = "host";

/**
 * The fields as lines of HTTP/1.1, so that they are found like those of other clients, and a transport can copy them
 * unchanged. The values of the pseudo fields are stored before the lines.
 *
 * Parts of a cookie become one line (section 8.2.3), and `:authority` becomes `Host`. Fields beyond the limits are
 * not kept: a block that refers to an entry a thousand times must not take the memory of a thousand fields.
 */
export class ReceivedHead implements FieldSink {
  readonly lines: FieldLines = new FieldLines();
  /** The fault that makes the message malformed (section 8.1.1), as the end of a sentence; `null` without one. */
  malformed: string | null = null;
  /** The limit that is exceeded, if any. */
  excess: "bytes" | "fields" | null = null;
  /** Whether the limit is exceeded so far that the remaining fields are only skipped. */
  excessive = false;
  /** Value of `content-length`; -1 without it. */
  contentLength = -1;
  /** Whether the client waits for 100 (Continue) before it sends its content. */
  expectsContinue = false;
  #bounds: HeadBounds = NO_BOUNDS;
  #bytes: Uint8Array<ArrayBuffer> = NOTHING;
  #length = 0;
  #listBytes = 0;
  #count = 0;
  readonly #places = new Int32Array((LAST_PSEUDO - FIRST_PSEUDO + 1) * PLACES);
  #seen = 0;
  #regular = false;
  #hosts = 0;
  #cookies: Uint8Array<ArrayBuffer> = NOTHING;
  #cookieLength = 0;

  /** Starts again. */
  begin(bounds: HeadBounds): void {
    this.#bounds = bounds;
    if (this.#bytes.length === 0 || this.#bytes.length > KEPT_BYTES) {
      this.#bytes = new Uint8Array(FIRST_BYTES);
    }
    if (this.#cookies.length > KEPT_BYTES) this.#cookies = NOTHING;
    this.#length =
      this.#listBytes =
      this.#count =
      this.#seen =
      this.#hosts =
      this.#cookieLength =
        0;
    this.#regular = this.expectsContinue = this.excessive = false;
    this.malformed = this.excess = null;
    this.contentLength = -1;
    this.#places.fill(0);
    this.lines.begin(this.#bytes);
  }

  field(bytes: Uint8Array, from: number, nameEnd: number, end: number, kind: number): void {
    this.#listBytes += end - from + ENTRY_OVERHEAD;
    if (++this.#count > this.#bounds.maxFields) this.excess ??= "fields";
    if (this.#listBytes > this.#bounds.maxHeadBytes) this.excess ??= "bytes";
    if (this.excess !== null) {
      this.excessive = this.#listBytes > EXCESSIVE * this.#bounds.maxHeadBytes;
      return;
    }
    if (kind >= FIRST_PSEUDO && kind <= LAST_PSEUDO) return this.#pseudo(bytes, nameEnd, end, kind);
    if (kind >= KIND.FIRST_BAD) {
      this.malformed ??= faultOfKind(kind);
      return;
    }
    if (!this.#regular) this.#beginRegular();
    switch (kind) {
      case KIND.COOKIE:
        return this.#cookie(bytes, nameEnd, end);
      case KIND.HOST:
        if (!this.#isNewHost(bytes, nameEnd, end)) return;
        break;
      case KIND.CONTENT_LENGTH:
        this.#readLength(bytes, nameEnd, end);
        break;
      case KIND.EXPECT:
        this.expectsContinue = true;
    }
    this.#line(bytes, from, nameEnd, end);
  }

  #pseudo(bytes: Uint8Array, from: number, to: number, kind: number): void {
    const bit = 1 << kind;
    if (this.#regular) this.malformed ??= "a pseudo field behind others";
    if ((this.#seen & bit) !== 0) this.malformed ??= "a pseudo field twice";
    this.#seen |= bit;
    this.#reserve(to - from);
    copyBytes(bytes, from, to, this.#bytes, this.#length);
    const at = (kind - FIRST_PSEUDO) * PLACES;
    this.#places[at] = this.#length;
    this.#places[at + 1] = this.#length += to - from;
  }

  #beginRegular(): void {
    this.#regular = true;
    const from = this.#places[(KIND.AUTHORITY - FIRST_PSEUDO) * PLACES]!;
    const to = this.#places[(KIND.AUTHORITY - FIRST_PSEUDO) * PLACES + 1]!;
    if (from === to) return;
    this.#reserve(to - from + HOST_NAME.length + 4);
    this.#namedLine(HOST_NAME, this.#bytes, from, to);
  }

  /** Whether a `Host` field is needed in addition to `:authority`; a different host is an attempt at host confusion. */
  #isNewHost(bytes: Uint8Array, from: number, to: number): boolean {
    const { lines } = this;
    if (this.#hosts++ > 0) this.malformed ??= "more than one Host field";
    if (lines.count === 0 || lines.name(0) !== HOST_NAME) return true;
    const named = lines.value(0).toLowerCase();
    if (decodeLatin1(bytes, from, to).toLowerCase() !== named) {
      this.malformed ??= "a Host field that is not the :authority";
    }
    return false;
  }

  #readLength(bytes: Uint8Array, from: number, to: number): void {
    const twice = this.contentLength !== -1;
    let length = to > from && to - from <= 15 ? 0 : -1;
    for (let i = from; i < to && length >= 0; i++) {
      const digit = bytes[i]! - 48;
      length = digit < 0 || digit > 9 ? -1 : length * 10 + digit;
    }
    if (twice) this.malformed ??= "more than one Content-Length";
    else if (length < 0) this.malformed ??= "a Content-Length that is not a number";
    this.contentLength = length;
  }

  #cookie(bytes: Uint8Array, from: number, to: number): void {
    const at = this.#cookieLength === 0 ? 0 : this.#cookieLength + 2;
    const end = at + to - from;
    if (end > this.#cookies.length) {
      const grown = new Uint8Array(Math.max(end, this.#cookies.length * 2, 256));
      grown.set(this.#cookies.subarray(0, this.#cookieLength));
      this.#cookies = grown;
    }
    if (at > 0) {
      this.#cookies[at - 2] = 0x3b;
      this.#cookies[at - 1] = 0x20;
    }
    copyBytes(bytes, from, to, this.#cookies, at);
    this.#cookieLength = end;
  }

  #line(bytes: Uint8Array, from: number, nameEnd: number, end: number): void {
    this.#reserve(end - from + 4);
    const start = this.#length;
    copyBytes(bytes, from, nameEnd, this.#bytes, start);
    this.#endLine(start, start + nameEnd - from, bytes, nameEnd, end);
  }

  #namedLine(name: string, bytes: Uint8Array, from: number, to: number): void {
    const start = this.#length;
    for (let i = 0; i < name.length; i++) this.#bytes[start + i] = name.charCodeAt(i);
    this.#endLine(start, start + name.length, bytes, from, to);
  }

  #endLine(start: number, nameEnd: number, bytes: Uint8Array, from: number, to: number): void {
    const target = this.#bytes;
    target[nameEnd] = 0x3a;
    target[nameEnd + 1] = 0x20;
    const valueStart = nameEnd + 2;
    const valueEnd = valueStart + to - from;
    copyBytes(bytes, from, to, target, valueStart);
    target[valueEnd] = 0x0d;
    target[valueEnd + 1] = 0x0a;
    this.#length = valueEnd + 2;
    this.lines.add(start, nameEnd, valueStart, valueEnd);
  }

  #reserve(more: number): void {
    const needed = this.#length + more;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.lines.bytes = this.#bytes = grown;
  }

  /** Ends the block. */
  end(): void {
    if (!this.#regular) this.#beginRegular();
    // A blank after an empty last part would make the line malformed for the next server (section 8.2.1).
    if (this.#cookies[this.#cookieLength - 1] === 0x20) this.#cookieLength--;
    if (this.#cookieLength > 0) {
      this.#reserve(this.#cookieLength + COOKIE_NAME.length + 4);
      this.#namedLine(COOKIE_NAME, this.#cookies, 0, this.#cookieLength);
    }
    this.lines.end = this.#length;
  }

  /** Whether a pseudo field was received; by its {@linkcode KIND}. */
  has(kind: number): boolean {
    return (this.#seen & (1 << kind)) !== 0;
  }

  /** Whether `:status` was received, and no other pseudo field. */
  get isOfResponse(): boolean {
    return this.#seen === 1 << KIND.STATUS;
  }

  /** Whether any pseudo field was received. */
  get hasPseudo(): boolean {
    return this.#seen !== 0;
  }

  /** The value of a pseudo field; `""` without it. */
  text(kind: number): string {
    return decodeLatin1(this.#bytes, this.startOf(kind), this.endOf(kind));
  }

  /** Where the value of a pseudo field begins in the bytes of the lines. */
  startOf(kind: number): number {
    return this.#places[(kind - FIRST_PSEUDO) * PLACES]!;
  }

  /** Where it ends. */
  endOf(kind: number): number {
    return this.#places[(kind - FIRST_PSEUDO) * PLACES + 1]!;
  }

  /** The status of a response; -1 when it is invalid. */
  get status(): number {
    const text = this.text(KIND.STATUS);
    return /^[1-9][0-9]{2}$/.test(text) ? Number(text) : -1;
  }

  /** Whether another head of the response follows. */
  get isInterim(): boolean {
    const { status } = this;
    return status >= 100 && status < 200;
  }

  /** Where the path begins, for a transport that copies the target. */
  get targetStart(): number {
    return this.startOf(KIND.PATH);
  }

  /** Where it ends. */
  get targetEnd(): number {
    return this.endOf(KIND.PATH);
  }

  /** The fields that may be trailers, as name, value, name, value, ... */
  trailers(): string[] {
    const { lines } = this;
    const list: string[] = [];
    for (let line = 0; line < lines.count; line++) {
      const name = lines.name(line);
      if (mayBeTrailer(name)) list.push(name, lines.value(line));
    }
    return list;
  }
}

const NOTHING: Uint8Array<ArrayBuffer> = new Uint8Array(0);
const NO_BOUNDS: HeadBounds = { maxHeadBytes: 0, maxFields: 0 };

// Unused heads, kept for reuse.

const MAX_KEPT = 256;

/** Lends heads; one shelf serves all connections of a listener or a transport. */
export class HeadShelf {
  readonly #heads: ReceivedHead[] = [];

  take(): ReceivedHead {
    return this.#heads.pop() ?? new ReceivedHead();
  }

  give(head: ReceivedHead): void {
    if (this.#heads.length < MAX_KEPT) this.#heads.push(head);
  }
}
