/** Fields of a request or a response, in order and with repetitions. */

/** `true` for the characters of a field name (RFC 9110 section 5.6.2, `tchar`). */
const TOKEN: readonly boolean[] = Array.from(
  { length: 128 },
  (_, code) => /[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(String.fromCharCode(code)),
);

/** Whether the text may stand as a field name or a method. */
export function isToken(text: string): boolean {
  if (text.length === 0) return false;
  for (let i = 0; i < text.length; i++) {
    if (TOKEN[text.charCodeAt(i)] !== true) return false;
  }
  return true;
}

/**
 * Whether the text may stand as a field value: no control characters but tab (RFC 9110 section 5.5), nothing
 * above U+00FF.
 *
 * A CR or LF let through here would end the field and begin one of an attacker's choice.
 */
export function isFieldValue(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if ((code < 0x20 && code !== 0x09) || code === 0x7f || code > 0xff) return false;
  }
  return true;
}

function checkedName(name: string): string {
  if (!isToken(name)) throw new TypeError(`Cannot use ${JSON.stringify(name)} as a field name`);
  return name.toLowerCase();
}

/** White space around a value as `Headers` knows it (Fetch standard, "normalize a byte sequence"); no other is dropped. */
function isAround(code: number): boolean {
  return code === 0x20 || code === 0x09 || code === 0x0d || code === 0x0a;
}

function checkedValue(name: string, value: string): string {
  const given = String(value);
  let start = 0;
  let end = given.length;
  while (start < end && isAround(given.charCodeAt(start))) start++;
  while (end > start && isAround(given.charCodeAt(end - 1))) end--;
  const text = given.slice(start, end);
  if (!isFieldValue(text)) {
    throw new TypeError(`Cannot use ${JSON.stringify(text)} as the value of the field "${name}"`);
  }
  return text;
}

/**
 * The fields of a message: the interface of `Headers` where it matters, the cost of an array.
 *
 * Names are lower case. Unlike `Headers` it keeps order and repetitions as they came, and iterating it gives
 * every field line as it is.
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
   * Name, value, name, value, ... Names are lower case.
   *
   * @internal For the hot path; whoever writes here has checked what it writes.
   */
  readonly list: string[];

  /**
   * Copies fields.
   *
   * @param init pairs, an object, or `Headers`
   * @throws {TypeError} when a name or a value cannot stand in a message
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
   * Takes over a list that is known to be good: from the runtime's parser or from ours.
   *
   * @internal
   */
  static adopt(list: string[]): HeaderFields {
    const fields = new HeaderFields();
    (fields as { list: string[] }).list = list;
    return fields;
  }

  /** All values of the field, joined (`"; "` for Cookie, RFC 9113 section 8.2.3); `null` when it is absent. */
  get(name: string): string | null {
    const { list } = this;
    const wanted = name.toLowerCase();
    let found: string | null = null;
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] !== wanted) continue;
      if (found === null) found = list[i + 1]!;
      else found += (wanted === "cookie" ? "; " : ", ") + list[i + 1];
    }
    return found;
  }

  /** The values of the field, one a line. */
  getAll(name: string): string[] {
    const wanted = name.toLowerCase();
    const values: string[] = [];
    for (let i = 0; i < this.list.length; i += 2) {
      if (this.list[i] === wanted) values.push(this.list[i + 1]!);
    }
    return values;
  }

  /** The cookies that a response sets, one a line. */
  getSetCookie(): string[] {
    return this.getAll("set-cookie");
  }

  /** Whether the field is there. */
  has(name: string): boolean {
    const wanted = name.toLowerCase();
    for (let i = 0; i < this.list.length; i += 2) {
      if (this.list[i] === wanted) return true;
    }
    return false;
  }

  /**
   * Replaces all lines of the field by one, in the place of the first. Spaces, tabs and line ends around the value are
   * dropped, as `Headers` does.
   *
   * @throws {TypeError} when name or value cannot stand in a message
   */
  set(name: string, value: string): void {
    const wanted = checkedName(name);
    const text = checkedValue(wanted, value);
    const { list } = this;
    for (let i = 0; i < list.length; i += 2) {
      if (list[i] !== wanted) continue;
      list[i + 1] = text;
      this.#remove(wanted, i + 2);
      return;
    }
    list.push(wanted, text);
  }

  /** Adds a line; otherwise as {@linkcode set}. @throws {TypeError} when name or value cannot stand in a message */
  append(name: string, value: string): void {
    const wanted = checkedName(name);
    this.list.push(wanted, checkedValue(wanted, value));
  }

  /** Removes all lines of the field. */
  delete(name: string): void {
    this.#remove(name.toLowerCase(), 0);
  }

  #remove(name: string, from: number): void {
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

  /** Calls back for every line, in order. */
  forEach(callback: (value: string, name: string) => void): void {
    for (let i = 0; i < this.list.length; i += 2) callback(this.list[i + 1]!, this.list[i]!);
  }

  /** Every line as `[name, value]`, in order. */
  *[Symbol.iterator](): IterableIterator<[string, string]> {
    for (let i = 0; i < this.list.length; i += 2) yield [this.list[i]!, this.list[i + 1]!];
  }

  /** Every line as `[name, value]`, in order. */
  entries(): IterableIterator<[string, string]> {
    return this[Symbol.iterator]();
  }
}
