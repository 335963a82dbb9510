/** Log lines as bytes: values are written in place, without a string per line. */

import { escapeQuoted } from "./text_format.ts";

const ENCODER = new TextEncoder();

const QUOTE = 0x22;
const ZERO = 0x30;
const POINT = 0x2e;
const DASH = 0x2d;

/** 1 for each byte that needs no escaping. */
export type PlainBytes = Uint8Array;

/** The bytes that need no escaping between quotes: ASCII without controls, quotes, backslashes, and `others`. */
export function plainBytes(others = ""): PlainBytes {
  return Uint8Array.from(
    { length: 256 },
    (_, code) =>
      code >= 0x20 && code < 0x7f && !'"\\'.includes(String.fromCharCode(code)) &&
        !others.includes(String.fromCharCode(code))
        ? 1
        : 0,
  );
}

const QUOTED = plainBytes();
const WORD = plainBytes(" ");
const NULL = encodeText("null");

/** The bytes of a text, for {@linkcode LineBytes.raw}. */
export function encodeText(text: string): Uint8Array {
  return ENCODER.encode(text);
}

/** A buffer that grows, and is reused after its content has been written. */
export class LineBytes {
  /** The content, and free space after it. */
  bytes: Uint8Array<ArrayBuffer>;
  /** Length of the content. */
  length = 0;

  constructor(capacity = 4096) {
    this.bytes = new Uint8Array(capacity);
  }

  /** The content; valid until the next write. */
  get written(): Uint8Array<ArrayBuffer> {
    return this.bytes.subarray(0, this.length);
  }

  #reserve(count: number): void {
    const needed = this.length + count;
    if (needed <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.bytes.length * 2));
    grown.set(this.written);
    this.bytes = grown;
  }

  /** Writes one byte. */
  byte(code: number): void {
    this.#reserve(1);
    this.bytes[this.length++] = code;
  }

  /** Writes bytes unchanged. */
  raw(fragment: Uint8Array): void {
    const { length: count } = fragment;
    this.#reserve(count);
    const { bytes, length: at } = this;
    // Up to this size a loop is faster than the call.
    if (count > 24) bytes.set(fragment, at);
    else for (let i = 0; i < count; i++) bytes[at + i] = fragment[i]!;
    this.length = at + count;
  }

  /** Writes the content of another buffer. */
  append(other: LineBytes): void {
    // Copied with its free space, which is then overwritten: otherwise each call would have to make a view of the
    // content.
    this.#reserve(other.bytes.length);
    this.bytes.set(other.bytes, this.length);
    this.length += other.length;
  }

  /** Writes a text unchanged. */
  text(text: string): void {
    if (this.plain(text, QUOTED)) return;
    this.#reserve(text.length * 3);
    this.length += ENCODER.encodeInto(text, this.bytes.subarray(this.length)).written;
  }

  /** Writes a text if it consists of allowed bytes; otherwise writes nothing and returns `false`. */
  plain(text: string, allowed: PlainBytes): boolean {
    const { length: count } = text;
    this.#reserve(count);
    const { bytes, length: at } = this;
    for (let i = 0; i < count; i++) {
      const code = text.charCodeAt(i);
      if (code > 0x7e || allowed[code] !== 1) return false;
      bytes[at + i] = code;
    }
    this.length = at + count;
    return true;
  }

  /** Like {@linkcode plain}, for a text in bytes. */
  plainBytes(source: Uint8Array, from: number, to: number, allowed: PlainBytes): boolean {
    this.#reserve(to - from);
    const { bytes } = this;
    let at = this.length;
    for (let i = from; i < to; i++) {
      const code = source[i]!;
      if (allowed[code] !== 1) return false;
      bytes[at++] = code;
    }
    this.length = at;
    return true;
  }

  /** Writes the inside of a text in quotes, see {@linkcode escapeQuoted}. */
  quoted(text: string): void {
    if (!this.plain(text, QUOTED)) this.text(escapeQuoted(text));
  }

  /** Writes a text in quotes, or `null`. */
  quotedOrNull(text: string | null): void {
    if (text === null) return this.raw(NULL);
    this.byte(QUOTE);
    this.quoted(text);
    this.byte(QUOTE);
  }

  /** Writes a value that ends at a space: in quotes if it contains one, and `-` if it is empty. */
  word(text: string): void {
    if (text === "") return this.byte(DASH);
    if (this.plain(text, WORD)) return;
    const escaped = escapeQuoted(text);
    if (escaped === text && !text.includes(" ")) this.text(text);
    else this.quotedOrNull(text);
  }

  /** Writes a whole number. */
  whole(value: number): void {
    if (!(value >= 0 && value < 1e9)) return this.text(String(value));
    this.#reserve(10);
    const { bytes } = this;
    let digits = 1;
    for (let bound = 10; value >= bound; bound *= 10) digits++;
    let rest = value | 0;
    for (let at = this.length + digits - 1; at >= this.length; at--) {
      const shorter = rest / 10 | 0;
      bytes[at] = ZERO + rest - shorter * 10;
      rest = shorter;
    }
    this.length += digits;
  }

  /** Writes a duration in milliseconds with at most three decimal places. */
  milliseconds(durationMs: number): void {
    const us = Math.round(durationMs * 1000);
    if (!(us >= 0 && us < 1e9)) return this.text(String(us / 1000));
    const whole = us / 1000 | 0;
    this.whole(whole);
    let rest = us - whole * 1000;
    if (rest === 0) return;
    this.#reserve(4);
    const { bytes } = this;
    bytes[this.length++] = POINT;
    for (let place = 100; rest > 0; place /= 10) {
      const digit = rest / place | 0;
      bytes[this.length++] = ZERO + digit;
      rest -= digit * place;
    }
  }

  /** Writes a duration, or `null`. */
  millisecondsOrNull(durationMs: number | null): void {
    if (durationMs === null) this.raw(NULL);
    else this.milliseconds(durationMs);
  }
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Writes times into a line, in UTC; the part that changes once a second is kept as bytes. */
export class TimestampWriter {
  readonly #format: (second: Date) => string;
  #second = NaN;
  #prefix = encodeText("");

  /** @param format formats the part before the milliseconds, or the whole time if there are none */
  constructor(format: (second: Date) => string) {
    this.#format = format;
  }

  /** RFC 3339 with milliseconds (`2026-11-23T12:00:00.123Z`). */
  static rfc3339(): TimestampWriter {
    return new TimestampWriter((second) => second.toISOString().slice(0, 20));
  }

  /** The common log format (`23/Nov/2026:12:00:00 +0000`). */
  static combined(): TimestampWriter {
    return new TimestampWriter((second) => {
      const text = second.toISOString();
      const month = MONTHS[second.getUTCMonth()]!;
      return `${text.slice(8, 10)}/${month}/${text.slice(0, 4)}:${text.slice(11, 19)} +0000`;
    });
  }

  /** Writes the second. @param wallTimeMs milliseconds since 1970-01-01 UTC */
  second(out: LineBytes, wallTimeMs: number): void {
    const second = Math.floor(wallTimeMs / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#prefix = encodeText(this.#format(new Date(second * 1000)));
    }
    out.raw(this.#prefix);
  }

  /** Writes the second and its milliseconds. */
  moment(out: LineBytes, wallTimeMs: number): void {
    this.second(out, wallTimeMs);
    const ms = Math.floor(wallTimeMs) - this.#second * 1000;
    out.byte(0x30 + (ms / 100 | 0));
    out.byte(0x30 + (ms / 10 | 0) % 10);
    out.byte(0x30 + ms % 10);
    out.byte(0x5a);
  }
}
