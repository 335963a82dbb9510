/** The field lines of one received message: bytes, and where each name and value begins and ends. */

const INITIAL_LINES = 32;
/** Numbers stored for a line: where its name and its value begin and end. */
const PLACES = 4;

const ASCII = new TextDecoder();

/**
 * An index over bytes that another object owns.
 *
 * Nothing is copied, and a string is made only when a value is asked for. One index serves a connection for its whole
 * life, so it is valid only until the next head is read; {@linkcode FieldLines.copy} keeps it for longer.
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
  /** The groups that the names of all lines are in, such as {@linkcode HOP_BY_HOP_GROUP}. */
  groups = 0;
  #ids: Uint8Array;
  #places: Int32Array;

  constructor(bytes: Uint8Array = EMPTY, lines: number = INITIAL_LINES) {
    this.bytes = bytes;
    this.#ids = new Uint8Array(lines);
    this.#places = new Int32Array(lines * PLACES);
  }

  /** Starts again, over other bytes. */
  begin(bytes: Uint8Array): void {
    this.bytes = bytes;
    this.count = this.end = this.groups = 0;
    this.bareLf = this.underscore = this.emptyValue = false;
  }

  /** Adds a line; returns the number of its name (see {@linkcode fieldIdOf}). */
  add(nameStart: number, nameEnd: number, valueStart: number, valueEnd: number): number {
    const { count } = this;
    if (count === this.#ids.length) this.#grow();
    const id = fieldIdOf(this.bytes, nameStart, nameEnd);
    if (id === OTHER_FIELD && !this.underscore) {
      this.underscore = hasUnderscore(this.bytes, nameStart, nameEnd);
    }
    if (valueStart === valueEnd) this.emptyValue = true;
    this.groups |= GROUPS[id]!;
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

  /** Where its value begins, after the blanks in front of it. */
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

  /** Whether a line has this name. The name is in lower case, and `id` is its number. */
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

  /** The name of a line in the case in which it was received. */
  nameAsWritten(line: number): string {
    return decodeLatin1(this.bytes, this.nameStart(line), this.nameEnd(line));
  }

  /** The value of a line, one character for each byte (RFC 9110 section 5.5). */
  value(line: number): string {
    return decodeLatin1(this.bytes, this.valueStart(line), this.valueEnd(line));
  }

  /** The values of all lines with this name (in lower case), joined by commas; `null` when there is none. */
  joined(name: string): string | null {
    const id = fieldId(name);
    let found: string | null = null;
    for (let line = 0; line < this.count; line++) {
      if (!this.isNamed(line, name, id)) continue;
      found = found === null ? this.value(line) : `${found}, ${this.value(line)}`;
    }
    return found;
  }

  /** The same lines over a copy of the bytes. */
  copy(): FieldLines {
    const { count, end } = this;
    const start = count === 0 ? end : this.nameStart(0);
    const copy = new FieldLines(this.bytes.slice(start, end), Math.max(count, 1));
    copy.count = count;
    copy.end = end - start;
    copy.bareLf = this.bareLf;
    copy.underscore = this.underscore;
    copy.emptyValue = this.emptyValue;
    copy.groups = this.groups;
    copy.#ids.set(this.#ids.subarray(0, count));
    for (let i = 0; i < count * PLACES; i++) copy.#places[i] = this.#places[i]! - start;
    return copy;
  }
}

// Names of the table have no underscore.
function hasUnderscore(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    if (bytes[i] === 95) return true;
  }
  return false;
}

const EMPTY = new Uint8Array(0);

/** Texts up to this length are built character by character, which is faster than a call of the runtime. */
const SHORT = 24;
/** Calls with more arguments than this could overflow the stack. */
const MAX_ARGUMENTS = 4096;

/** The text in `bytes[from..to)`, one character for each byte. */
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

/** The same, for bytes that are usually this known text: then no new string is made. */
export function decodeLike(known: string, bytes: Uint8Array, from: number, to: number): string {
  if (to - from !== known.length) return decodeLatin1(bytes, from, to);
  for (let i = 0; i < known.length; i++) {
    if (bytes[from + i] !== known.charCodeAt(i)) return decodeLatin1(bytes, from, to);
  }
  return known;
}

/** Whether the bytes `[from..to)` are this token, in any case. The token is in lower case. */
export function equalsToken(bytes: Uint8Array, from: number, to: number, token: Uint8Array): boolean {
  return equalsName(token, bytes, from, to - from);
}

// Common field names, by number: comparing numbers is cheaper than making strings.

/** The number of a name that is not in the table. */
export const OTHER_FIELD = 0;

const NAMES: readonly string[] = [
  "",
  // What concerns one connection only; see `isHopByHopId`.
  ..."connection keep-alive te trailer upgrade http2-settings proxy-connection transfer-encoding".split(" "),
  ..."proxy-authenticate proxy-authorization".split(" "),
  // Fields that the codec, the proxy or the limiter reads.
  ..."host content-length expect via forwarded x-forwarded-for x-forwarded-proto x-forwarded-host".split(" "),
  ..."x-real-ip x-forwarded-port cookie set-cookie content-type content-encoding etag date server".split(" "),
  ..."ratelimit ratelimit-policy x-rate-limit-remaining x-ratelimit-remaining retry-after".split(" "),
  ..."x-rate-limit-limit x-rate-limit-reset x-ratelimit-limit x-ratelimit-reset authorization".split(" "),
  ..."x-request-id traceparent tracestate sec-websocket-key sec-websocket-version".split(" "),
  ..."sec-websocket-protocol sec-websocket-extensions sec-websocket-accept origin referer user-agent".split(
    " ",
  ),
  // Common ones, so that a filter which reads them gets no new string.
  ..."accept accept-charset accept-encoding accept-language accept-ranges access-control-allow-credentials"
    .split(" "),
  ..."access-control-allow-headers access-control-allow-methods access-control-allow-origin age allow".split(
    " ",
  ),
  ..."access-control-expose-headers access-control-max-age access-control-request-headers alt-svc".split(" "),
  ..."access-control-request-method cache-control content-disposition content-language content-location"
    .split(" "),
  ..."content-range content-security-policy cross-origin-opener-policy cross-origin-resource-policy".split(
    " ",
  ),
  ..."dnt expires if-match if-modified-since if-none-match if-range if-unmodified-since last-modified".split(
    " ",
  ),
  ..."link location max-forwards permissions-policy pragma priority range referrer-policy".split(" "),
  ..."sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site".split(" "),
  ..."sec-fetch-user server-timing strict-transport-security upgrade-insecure-requests vary".split(" "),
  ..."www-authenticate x-api-key x-cache x-content-type-options x-frame-options x-powered-by".split(" "),
  ..."cdn-loop x-requested-with x-response-time x-runtime x-xss-protection idempotency-key".split(" "),
];

const IDS: ReadonlyMap<string, number> = new Map(NAMES.map((name, id) => [name, id]));

/** The number of a name in lower case; {@linkcode OTHER_FIELD} when it is not in the table. */
export function fieldId(name: string): number {
  return IDS.get(name) ?? OTHER_FIELD;
}

/** The name, in lower case, of a number other than {@linkcode OTHER_FIELD}. */
export function nameOfId(id: number): string {
  return NAMES[id]!;
}

const LAST_HOP_BY_HOP = fieldId("proxy-authorization");

/**
 * Whether the field belongs to the connection and not to the message (RFC 9110 section 7.6.1, RFC 7540 section 3.2.1,
 * and fields that implementations have added).
 */
export function isHopByHopId(id: number): boolean {
  return id !== OTHER_FIELD && id <= LAST_HOP_BY_HOP;
}

/** Fields of the connection, see {@linkcode isHopByHopId}. */
export const HOP_BY_HOP_GROUP = 1;
/** Fields about other proxies, and all names outside the table, which may be such fields. */
export const FORWARDED_GROUP = 2;
/** `Expect`. */
export const EXPECT_GROUP = 4;
/** `CDN-Loop`. */
export const CDN_LOOP_GROUP = 8;
/** `Traceparent` and `Tracestate`. */
export const TRACE_GROUP = 16;

/** The group of each name: most heads have no line of any group, and are then not searched. */
const GROUPS: Uint8Array = Uint8Array.from(NAMES, (name, id) => {
  if (isHopByHopId(id)) return HOP_BY_HOP_GROUP;
  if (id === OTHER_FIELD || name === "via" || name.includes("forwarded")) return FORWARDED_GROUP;
  if (name === "expect") return EXPECT_GROUP;
  if (name === "traceparent" || name === "tracestate") return TRACE_GROUP;
  return name === "cdn-loop" ? CDN_LOOP_GROUP : 0;
});

/** A letter in lower case, every other byte as it is. */
export const LOWER: Uint8Array = Uint8Array.from(
  { length: 256 },
  (_, byte) => byte >= 65 && byte <= 90 ? byte + 32 : byte,
);

const SLOTS = 1024;

function slotOf(length: number, first: number, middle: number, last: number): number {
  return (length * 131 + first * 29 + middle * 7 + last * 61) & (SLOTS - 1);
}

/** Open addressing; 0 is an empty slot. */
const TABLE: Uint8Array = new Uint8Array(SLOTS);
const LETTERS: readonly Uint8Array[] = NAMES.map((name) =>
  Uint8Array.from(name, (character) => character.charCodeAt(0))
);

NAMES.forEach((name, id) => {
  if (name === "") return;
  const { length } = name;
  let slot = slotOf(length, name.charCodeAt(0), name.charCodeAt(length >> 1), name.charCodeAt(length - 1));
  while (TABLE[slot] !== 0) slot = (slot + 1) & (SLOTS - 1);
  TABLE[slot] = id;
});

/** The number of the name in `bytes[from..to)`, in any case. It has at least one byte. */
export function fieldIdOf(bytes: Uint8Array, from: number, to: number): number {
  const length = to - from;
  let slot = slotOf(
    length,
    LOWER[bytes[from]!]!,
    LOWER[bytes[from + (length >> 1)]!]!,
    LOWER[bytes[to - 1]!]!,
  );
  for (let id = TABLE[slot]!; id !== 0; id = TABLE[slot]!) {
    if (equalsName(LETTERS[id]!, bytes, from, length)) return id;
    slot = (slot + 1) & (SLOTS - 1);
  }
  return OTHER_FIELD;
}

/** Whether `length` bytes at `from` are these letters, in any case. The letters are in lower case. */
export function equalsName(letters: Uint8Array, bytes: Uint8Array, from: number, length: number): boolean {
  if (letters.length !== length) return false;
  for (let i = 0; i < length; i++) {
    if (LOWER[bytes[from + i]!] !== letters[i]) return false;
  }
  return true;
}

// Which bytes are allowed where in a message.

/** 1 for the bytes of a field name or a method (RFC 9110 section 5.6.2, `tchar`). */
export const TOKEN_BYTES: Uint8Array = Uint8Array.from(
  { length: 256 },
  (_, byte) => byte < 128 && /[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(String.fromCharCode(byte)) ? 1 : 0,
);

/** 1 for the bytes of a field value: text, tab and obs-text, but no other control character. */
export const VALUE_BYTES: Uint8Array = Uint8Array.from(
  { length: 256 },
  (_, byte) => byte === 0x09 || (byte >= 0x20 && byte !== 0x7f) ? 1 : 0,
);

/** The value of a hexadecimal digit, 255 for everything else. */
export const HEX_DIGITS: Uint8Array = Uint8Array.from(
  { length: 256 },
  (_, byte) => /[0-9a-fA-F]/.test(String.fromCharCode(byte)) ? parseInt(String.fromCharCode(byte), 16) : 255,
);

/** The bytes of an ASCII text. */
export function asciiBytes(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

// Field values that are lists.

/** The elements of a comma-separated list (RFC 9110 section 5.6.1); empty ones are left out. */
export function fieldTokens(value: string): string[] {
  const tokens: string[] = [];
  for (const part of value.split(",")) {
    const token = trimBlanks(part);
    if (token !== "") tokens.push(token);
  }
  return tokens;
}

/**
 * Removes spaces and tabs at both ends. `trim()` would drop bytes that are part of a value, and a pattern would take
 * quadratic time.
 */
export function trimBlanks(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
