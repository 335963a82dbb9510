/** The field lines of one message as they came: bytes, and where each begins and ends. */

import { equalsName, fieldId, fieldIdOf, LOWER, nameOfId, OTHER_FIELD } from "./field_names.ts";

const INITIAL_LINES = 32;
/** Numbers that are kept of a line: where its name and its value begin and end. */
const PLACES = 4;

const ASCII = new TextDecoder();

/**
 * An index over bytes that somebody else owns.
 *
 * Nothing is copied and no string is made until somebody asks for a value. One index serves a connection for its whole
 * life, so it is good only until the next head is read; {@linkcode FieldLines.copy} keeps one.
 */
export class FieldLines {
  /** The bytes of the head. */
  bytes: Uint8Array;
  /** How many lines there are. */
  count = 0;
  /** The byte after the last line. */
  end = 0;
  /** Whether a line ends with LF alone, so that lines cannot be copied as they are. */
  bareLf = false;
  /** Whether a name has an underscore. */
  underscore = false;
  /** Whether a value is empty. */
  emptyValue = false;
  #ids: Uint8Array;
  #places: Int32Array;

  constructor(bytes: Uint8Array = EMPTY, lines: number = INITIAL_LINES) {
    this.bytes = bytes;
    this.#ids = new Uint8Array(lines);
    this.#places = new Int32Array(lines * PLACES);
  }

  /** Begins anew, over other bytes. */
  begin(bytes: Uint8Array): void {
    this.bytes = bytes;
    this.count = this.end = 0;
    this.bareLf = this.underscore = this.emptyValue = false;
  }

  /** Adds a line; gives the number of its name, see `field_names.ts`. */
  add(nameStart: number, nameEnd: number, valueStart: number, valueEnd: number): number {
    const { count } = this;
    if (count === this.#ids.length) this.#grow();
    const id = fieldIdOf(this.bytes, nameStart, nameEnd);
    if (id === OTHER_FIELD && !this.underscore) {
      this.underscore = hasUnderscore(this.bytes, nameStart, nameEnd);
    }
    if (valueStart === valueEnd) this.emptyValue = true;
    this.#ids[count] = id;
    const at = count * PLACES;
    const places = this.#places;
    places[at] = nameStart;
    places[at + 1] = nameEnd;
    places[at + 2] = valueStart;
    places[at + 3] = valueEnd;
    this.count = count + 1;
    return id;
  }

  #grow(): void {
    const ids = new Uint8Array(this.#ids.length * 2);
    ids.set(this.#ids);
    this.#ids = ids;
    const places = new Int32Array(this.#places.length * 2);
    places.set(this.#places);
    this.#places = places;
  }

  /** The number of a line's name. */
  id(line: number): number {
    return this.#ids[line]!;
  }

  /** Where a line begins, which is where its name begins. */
  nameStart(line: number): number {
    return this.#places[line * PLACES]!;
  }

  /** Where its name ends. */
  nameEnd(line: number): number {
    return this.#places[line * PLACES + 1]!;
  }

  /** Where its value begins, without the blanks around it. */
  valueStart(line: number): number {
    return this.#places[line * PLACES + 2]!;
  }

  /** Where its value ends. */
  valueEnd(line: number): number {
    return this.#places[line * PLACES + 3]!;
  }

  /** Where the next line begins. */
  lineEnd(line: number): number {
    return line + 1 < this.count ? this.#places[(line + 1) * PLACES]! : this.end;
  }

  /** Whether the name of a line is this one, in lower case, whose number is known. */
  isNamed(line: number, name: string, id: number): boolean {
    if (id !== OTHER_FIELD) return this.#ids[line] === id;
    if (this.#ids[line] !== OTHER_FIELD) return false;
    const from = this.nameStart(line);
    if (this.nameEnd(line) - from !== name.length) return false;
    for (let i = 0; i < name.length; i++) {
      if (LOWER[this.bytes[from + i]!] !== name.charCodeAt(i)) return false;
    }
    return true;
  }

  /** The name of a line, in lower case. */
  name(line: number): string {
    const id = this.#ids[line]!;
    return id === OTHER_FIELD ? this.nameAsWritten(line).toLowerCase() : nameOfId(id);
  }

  /** The name of a line in the letters that it came with. */
  nameAsWritten(line: number): string {
    return decodeLatin1(this.bytes, this.nameStart(line), this.nameEnd(line));
  }

  /** The value of a line, one character a byte (RFC 9110 section 5.5). */
  value(line: number): string {
    return decodeLatin1(this.bytes, this.valueStart(line), this.valueEnd(line));
  }

  /** The values of all lines with this name, in lower case, joined by commas; `null` when there is none. */
  joined(name: string): string | null {
    const id = fieldId(name);
    let found: string | null = null;
    for (let line = 0; line < this.count; line++) {
      if (!this.isNamed(line, name, id)) continue;
      found = found === null ? this.value(line) : `${found}, ${this.value(line)}`;
    }
    return found;
  }

  /** The same lines over bytes of their own. */
  copy(): FieldLines {
    const { count, end } = this;
    const start = count === 0 ? end : this.nameStart(0);
    const copy = new FieldLines(this.bytes.slice(start, end), Math.max(count, 1));
    copy.count = count;
    copy.end = end - start;
    copy.bareLf = this.bareLf;
    copy.underscore = this.underscore;
    copy.emptyValue = this.emptyValue;
    copy.#ids.set(this.#ids.subarray(0, count));
    for (let i = 0; i < count * PLACES; i++) copy.#places[i] = this.#places[i]! - start;
    return copy;
  }
}

// Names of the table have none.
function hasUnderscore(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    if (bytes[i] === 95) return true;
  }
  return false;
}

const EMPTY = new Uint8Array(0);

/** Texts up to this length are put together character by character, which is faster than asking the runtime. */
const SHORT = 24;
/** Calls with more arguments than this could overflow the stack. */
const MAX_ARGUMENTS = 4096;

/** The text in `bytes[from..to)`, one character a byte. */
export function decodeLatin1(bytes: Uint8Array, from: number, to: number): string {
  if (to - from <= SHORT) {
    let text = "";
    for (let i = from; i < to; i++) text += String.fromCharCode(bytes[i]!);
    return text;
  }
  let bits = 0;
  for (let i = from; i < to; i++) bits |= bytes[i]!;
  if (bits < 128) return ASCII.decode(bytes.subarray(from, to));
  let text = "";
  for (let i = from; i < to; i += MAX_ARGUMENTS) {
    const piece = bytes.subarray(i, Math.min(i + MAX_ARGUMENTS, to)) as unknown as number[];
    text += String.fromCharCode.apply(null, piece);
  }
  return text;
}

/** Whether the text in `bytes[from..to)` is this token in lower case, whatever its case. */
export function equalsToken(bytes: Uint8Array, from: number, to: number, token: Uint8Array): boolean {
  return equalsName(token, bytes, from, to - from);
}
