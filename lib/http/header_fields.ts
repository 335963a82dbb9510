/** Fields of a request or a response, in order and with repetitions. */

import { fieldId, type FieldLines, TOKEN_BYTES, VALUE_BYTES } from "./field_lines.ts";

/** Whether the text is allowed as a field name or a method (RFC 9110 section 5.6.2). */
export function isToken(text: string): boolean {
  if (text.length === 0) return false;
  for (let i = 0; i < text.length; i++) {
    if (TOKEN_BYTES[text.charCodeAt(i)] !== 1) return false;
  }
  return true;
}

/**
 * Whether the text is allowed as a field value: no control characters but tab (RFC 9110 section 5.5), nothing above
 * U+00FF.
 *
 * A CR or LF accepted here would end the field, and an attacker could add another one.
 */
export function isFieldValue(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    if (VALUE_BYTES[text.charCodeAt(i)] !== 1) return false;
  }
  return true;
}

function checkedName(name: string): string {
  if (!isToken(name)) throw new TypeError(`Cannot use ${JSON.stringify(name)} as a field name`);
  return name.toLowerCase();
}

/** White space that `Headers` drops around a value (Fetch standard, "normalize a byte sequence"); no other is dropped. */
function isOuterSpace(code: number): boolean {
  return code === 0x20 || code === 0x09 || code === 0x0d || code === 0x0a;
}

function checkedValue(name: string, value: string): string {
  const given = String(value);
  let start = 0;
  let end = given.length;
  while (start < end && isOuterSpace(given.charCodeAt(start))) start++;
  while (end > start && isOuterSpace(given.charCodeAt(end - 1))) end--;
  const text = given.slice(start, end);
  if (!isFieldValue(text)) {
    throw new TypeError(`Cannot use ${JSON.stringify(text)} as the value of the field "${name}"`);
  }
  return text;
}

/**
 * The fields of a message: the interface of `Headers` where it matters, without its cost.
 *
 * Unlike `Headers` it keeps the received order and repetitions, and iterating it returns every field line unchanged.
 * Names are compared without case and returned in lower case; an unchanged line is sent as it was received.
 *
 * @example
 * ```ts
 * import { HeaderFields } from "@x/lbproxy";
 * import { assertEquals } from "@std/assert";
 *
 * const headers = new HeaderFields({ Host: "a.example" });
 * headers.append("x-tag", "1");
 * headers.append("x-tag", "2");
 * assertEquals(headers.get("X-Tag"), "1, 2");
 * assertEquals([...headers], [["host", "a.example"], ["x-tag", "1"], ["x-tag", "2"]]);
 * ```
 */
export class HeaderFields implements Iterable<[string, string]> {
  /**
   * Lines that were not received as bytes: name, value, name, value, ... Names are lower case. They follow the
   * received lines.
   *
   * @internal For the hot path; the caller must have checked what it adds.
   */
  list: string[];
  /** The received lines; `null` when there are none. */
  #lines: FieldLines | null = null;
  /** 1 for each received line that is removed; at least as long as the number of lines. */
  #removed: Uint8Array = NOTHING;

  /**
   * Copies fields.
   *
   * @param init pairs, an object, or `Headers`
   * @throws {TypeError} when a name or a value is not allowed in a message
   */
  constructor(init?: Iterable<readonly [string, string]> | Readonly<Record<string, string>>) {
    this.list = [];
    if (init === undefined) return;
    const pairs = Symbol.iterator in init
      ? init as Iterable<readonly [string, string]>
      : Object.entries(init);
    for (const [name, value] of pairs) this.append(name, value);
  }

  /**
   * Takes over a list that is known to be valid: from a parser, that of the runtime or of this project.
   *
   * @internal
   */
  static adopt(list: string[]): HeaderFields {
    const fields = new HeaderFields();
    fields.list = list;
    return fields;
  }

  /**
   * Starts again with received lines.
   *
   * @internal
   */
  begin(lines: FieldLines): void {
    const { count } = lines;
    this.#lines = lines;
    if (this.#removed.length < count) this.#removed = new Uint8Array(Math.max(count, 32));
    else this.#removed.fill(0, 0, count);
    // A list that grew large would be kept for the life of the connection.
    if (this.list.length > 0) this.list = [];
  }

  /**
   * The received lines, including removed ones; `null` when there are none.
   *
   * @internal
   */
  get lines(): FieldLines | null {
    return this.#lines;
  }

  /**
   * Whether a line may have a name of the group; if not, callers skip the search.
   *
   * @internal
   */
  mayHave(group: number): boolean {
    return this.list.length > 0 || (this.#lines !== null && (this.#lines.groups & group) !== 0);
  }

  /**
   * Whether a received line is removed.
   *
   * @internal
   */
  isRemoved(line: number): boolean {
    return this.#removed[line] === 1;
  }

  /**
   * Removes a received line.
   *
   * @internal
   */
  remove(line: number): void {
    this.#removed[line] = 1;
  }

  /**
   * A copy of the fields; a change of one does not change the other.
   *
   * @internal
   */
  clone(): HeaderFields {
    const clone = HeaderFields.adopt(this.list.slice());
    clone.#lines = this.#lines;
    if (this.#lines !== null) clone.#removed = this.#removed.slice();
    return clone;
  }

  /**
   * Starts again with a copy of other fields.
   *
   * @internal
   */
  copyFrom(other: HeaderFields): void {
    const lines = other.#lines;
    this.#lines = lines;
    this.list = other.list.slice();
    if (lines === null) return;
    const { count } = lines;
    if (this.#removed.length < count) this.#removed = new Uint8Array(Math.max(count, 32));
    for (let line = 0; line < count; line++) this.#removed[line] = other.#removed[line]!;
  }

  /**
   * Copies the bytes of the lines, to be called before the buffer of the lines is reused.
   *
   * @internal
   */
  detach(): void {
    if (this.#lines !== null) this.#lines = this.#lines.copy();
  }

  /** All values of the field, joined (`"; "` for Cookie, RFC 9113 section 8.2.3); `null` when it is absent. */
  get(name: string): string | null {
    const wanted = name.toLowerCase();
    const lines = this.#lines;
    let found: string | null = null;
    if (lines !== null) {
      const id = fieldId(wanted);
      for (let line = 0; line < lines.count; line++) {
        if (this.#removed[line] === 1 || !lines.isNamed(line, wanted, id)) continue;
        found = joined(found, lines.value(line), wanted);
      }
    }
    const { list } = this;
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] === wanted) found = joined(found, list[i + 1]!, wanted);
    }
    return found;
  }

  /** The values of the field, one for each line. */
  getAll(name: string): string[] {
    const wanted = name.toLowerCase();
    const values: string[] = [];
    this.forEach((value, other) => {
      if (other === wanted) values.push(value);
    });
    return values;
  }

  /** The cookies that a response sets, one for each line. */
  getSetCookie(): string[] {
    return this.getAll("set-cookie");
  }

  /** Whether the field is present. */
  has(name: string): boolean {
    const wanted = name.toLowerCase();
    const lines = this.#lines;
    if (lines !== null) {
      const id = fieldId(wanted);
      for (let line = 0; line < lines.count; line++) {
        if (this.#removed[line] !== 1 && lines.isNamed(line, wanted, id)) return true;
      }
    }
    for (let i = 0; i < this.list.length; i += 2) {
      if (this.list[i] === wanted) return true;
    }
    return false;
  }

  /**
   * Replaces all lines of the field by one. Spaces, tabs and line ends around the value are dropped, as `Headers`
   * does.
   *
   * @throws {TypeError} when name or value is not allowed in a message
   */
  set(name: string, value: string): void {
    const wanted = checkedName(name);
    const text = checkedValue(wanted, value);
    this.#removeLines(wanted);
    const { list } = this;
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] !== wanted) continue;
      list[i + 1] = text;
      this.#removeFromList(wanted, i + 2);
      return;
    }
    list.push(wanted, text);
  }

  /** Adds a line; otherwise like {@linkcode set}. @throws {TypeError} when name or value is not allowed in a message */
  append(name: string, value: string): void {
    const wanted = checkedName(name);
    this.list.push(wanted, checkedValue(wanted, value));
  }

  /** Removes all lines of the field. */
  delete(name: string): void {
    const wanted = name.toLowerCase();
    this.#removeLines(wanted);
    this.#removeFromList(wanted, 0);
  }

  #removeLines(name: string): void {
    const lines = this.#lines;
    if (lines === null) return;
    const id = fieldId(name);
    for (let line = 0; line < lines.count; line++) {
      if (lines.isNamed(line, name, id)) this.#removed[line] = 1;
    }
  }

  #removeFromList(name: string, from: number): void {
    const { list } = this;
    let kept = from;
    for (let i = from; i < list.length; i += 2) {
      if (list[i] === name) continue;
      list[kept] = list[i]!;
      list[kept + 1] = list[i + 1]!;
      kept += 2;
    }
    list.length = kept;
  }

  /** Calls the function for every line, in order. */
  forEach(callback: (value: string, name: string) => void): void {
    const lines = this.#lines;
    if (lines !== null) {
      for (let line = 0; line < lines.count; line++) {
        if (this.#removed[line] !== 1) callback(lines.value(line), lines.name(line));
      }
    }
    for (let i = 0; i < this.list.length; i += 2) callback(this.list[i + 1]!, this.list[i]!);
  }

  /**
   * A new list: name, value, name, value, ...
   *
   * @internal
   */
  toList(): string[] {
    const list: string[] = [];
    this.forEach((value, name) => list.push(name, value));
    return list;
  }

  /** Every line as `[name, value]`, in order. */
  *[Symbol.iterator](): IterableIterator<[string, string]> {
    const pairs: [string, string][] = [];
    this.forEach((value, name) => pairs.push([name, value]));
    yield* pairs;
  }

  /** Every line as `[name, value]`, in order. */
  entries(): IterableIterator<[string, string]> {
    return this[Symbol.iterator]();
  }
}

const NOTHING = new Uint8Array(0);

function joined(before: string | null, value: string, name: string): string {
  if (before === null) return value;
  return before + (name === "cookie" ? "; " : ", ") + value;
}
