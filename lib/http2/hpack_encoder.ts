/** Writes field blocks (RFC 7541). */

import {
  asciiBytes,
  fieldId,
  isHopByHopId,
  LOWER,
  OTHER_FIELD,
  TOKEN_BYTES,
  VALUE_BYTES,
} from "../http/field_lines.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import type { FrameWriter } from "./frame_writer.ts";
import { ENTRY_OVERHEAD, TABLE_BYTES } from "./hpack_decoder.ts";
import { encodeHuffman, huffmanLength, STATIC_ENTRIES, staticIndexOf } from "./hpack_tables.ts";

/** A field that is not allowed in a field block. */
export class UnwritableFieldError extends Error {
  /** Name of the class. */
  override readonly name = "UnwritableFieldError";
}

/** Patterns of literal fields (section 6.2): the prefix bits before the index. */
const WITH_INDEXING = 0x40;
const WITHOUT_INDEXING = 0x00;
const NEVER_INDEXED = 0x10;

/** Fields whose values repeat on a connection: they are added to the dynamic table. */
const REPEATED = `accept accept-charset accept-encoding accept-language accept-ranges age allow alt-svc
access-control-allow-credentials access-control-allow-headers access-control-allow-methods access-control-allow-origin
access-control-expose-headers access-control-max-age cache-control cdn-loop content-encoding content-language
content-security-policy content-type cross-origin-opener-policy cross-origin-resource-policy date forwarded origin
permissions-policy pragma ratelimit-policy referer referrer-policy sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform
sec-fetch-dest sec-fetch-mode sec-fetch-site server strict-transport-security te upgrade-insecure-requests user-agent
vary via x-content-type-options x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-frame-options
x-powered-by x-rate-limit-limit x-ratelimit-limit x-real-ip x-xss-protection`.split(/\s+/);

/**
 * Fields that no hop may add to a table (section 7.1.3): from the size of the output an attacker could guess their
 * values.
 */
const SENSITIVE = "authorization proxy-authorization cookie set-cookie x-api-key".split(" ");

const IDS = 256;
/** By number of the name: its pattern, and its index in the static table. */
const PATTERNS: Uint8Array = new Uint8Array(IDS).fill(WITHOUT_INDEXING);
const STATIC_BY_ID: Uint8Array = new Uint8Array(IDS);
/**
 * 1 for fields that are not written here: hop-by-hop fields, and `Host` and `Content-Length`, which the sender writes
 * itself.
 */
const LEFT_OUT: Uint8Array = new Uint8Array(IDS);

for (const name of REPEATED) PATTERNS[known(name)] = WITH_INDEXING;
for (const name of SENSITIVE) PATTERNS[known(name)] = NEVER_INDEXED;
for (let id = 1; id < IDS; id++) LEFT_OUT[id] = isHopByHopId(id) ? 1 : 0;
LEFT_OUT[fieldId("te")] = 0;
for (const name of ["content-length", "host"]) LEFT_OUT[fieldId(name)] = 1;

function known(name: string): number {
  const id = fieldId(name);
  STATIC_BY_ID[id] = staticIndexOf(name);
  return id;
}

for (
  const name of "content-disposition content-length content-location content-range etag expires from if-match"
    .concat(" if-modified-since if-none-match if-range if-unmodified-since last-modified link location range")
    .concat(" max-forwards retry-after www-authenticate").split(" ")
) known(name);

// Names outside the table of names are written as literals.
PATTERNS[OTHER_FIELD] = WITHOUT_INDEXING;
STATIC_BY_ID[OTHER_FIELD] = 0;

/** The number of the name for `:authority`, which is added to the dynamic table too. */
const AUTHORITY_SLOT = 250;
const PATH_INDEX = 4;
const STATUS_INDEX = 8;
const METHOD_INDEX = 2;
const SCHEME_HTTP = 6;
const SCHEME_HTTPS = 7;
PATTERNS[AUTHORITY_SLOT] = WITH_INDEXING;
STATIC_BY_ID[AUTHORITY_SLOT] = 1;

const STATUS_INDEXES: ReadonlyMap<number, number> = new Map(
  [200, 204, 206, 304, 400, 404, 500].map((status, i) => [status, STATUS_INDEX + i]),
);
const METHOD_INDEXES: ReadonlyMap<string, number> = new Map([["GET", 2], ["POST", 3]]);

const TE_ID = fieldId("te");
const IDENTITY: Uint8Array = Uint8Array.from({ length: 256 }, (_, i) => i);
const MAX_ENTRIES = TABLE_BYTES / ENTRY_OVERHEAD;
/** A value of more bytes than this would evict too many other entries. */
const MAX_KEPT_BYTES = 256;

/**
 * Writes the field blocks of one direction of a connection.
 *
 * The dynamic table keeps the last value of each name in {@linkcode REPEATED}: comparing with one value is cheap, and
 * a repeated value takes one byte.
 */
export class HpackEncoder {
  readonly #writer: FrameWriter;
  /** By number of the name: the last value that was added to the table, and the number of its entry. */
  readonly #values: (Uint8Array | undefined)[] = [];
  readonly #numbers: number[] = [];
  /** Sizes of the entries in the table, by number. */
  readonly #sizes = new Uint16Array(MAX_ENTRIES);
  #inserted = 0;
  #evicted = 0;
  #size = 0;
  #maxSize = TABLE_BYTES;
  /** The smallest size since the last block, and whether a change must be signalled to the peer. */
  #least = TABLE_BYTES;
  #resized = false;
  #text: Uint8Array = new Uint8Array(256);

  constructor(writer: FrameWriter) {
    this.#writer = writer;
  }

  /** Applies the table size that the peer allows (SETTINGS_HEADER_TABLE_SIZE). */
  resize(allowed: number): void {
    const size = Math.min(allowed, TABLE_BYTES);
    if (size === this.#maxSize) return;
    this.#maxSize = size;
    this.#least = Math.min(this.#least, size);
    this.#resized = true;
    this.#evictTo(size);
  }

  /** Begins a block; signals a changed size of the table first (section 4.2). */
  begin(): void {
    if (!this.#resized) return;
    this.#writer.reserve(16);
    if (this.#least < this.#maxSize) this.#integer(0x20, 5, this.#least);
    this.#integer(0x20, 5, this.#maxSize);
    this.#least = this.#maxSize;
    this.#resized = false;
  }

  status(status: number): void {
    const index = STATUS_INDEXES.get(status);
    this.#writer.reserve(16);
    if (index !== undefined) return this.#integer(0x80, 7, index);
    this.#integer(WITHOUT_INDEXING, 4, STATUS_INDEX);
    this.#stringOf(String(status));
  }

  /** Writes the pseudo fields of a request. */
  request(method: string, scheme: "http" | "https", authority: string, target: string): void {
    const index = METHOD_INDEXES.get(method);
    this.#writer.reserve(16 + method.length);
    if (index !== undefined) this.#integer(0x80, 7, index);
    else {
      this.#integer(WITHOUT_INDEXING, 4, METHOD_INDEX);
      this.#stringOf(method);
    }
    this.#integer(0x80, 7, scheme === "https" ? SCHEME_HTTPS : SCHEME_HTTP);
    const length = this.#write(authority);
    this.#field(AUTHORITY_SLOT, this.#text, 0, 0, 0, length);
    if (target === "/") return this.#integer(0x80, 7, PATH_INDEX);
    this.#writer.reserve(16);
    this.#integer(WITHOUT_INDEXING, 4, PATH_INDEX);
    this.#stringOf(target);
  }

  /** Writes `:protocol` of an extended CONNECT (RFC 8441 section 4). */
  protocol(protocol: string): void {
    this.#literalName(":protocol");
    this.#stringOf(protocol);
  }

  /**
   * Writes all fields except those of the connection, `host` and `content-length`. {@linkcode checkFields} must have
   * checked them.
   */
  fields(fields: HeaderFields): void {
    const { lines, list } = fields;
    if (lines !== null) {
      const { bytes, count } = lines;
      for (let line = 0; line < count; line++) {
        const id = lines.id(line);
        if (LEFT_OUT[id] === 1 || fields.isRemoved(line)) continue;
        if (id === TE_ID && lines.value(line) !== "trailers") continue;
        const name = lines.nameStart(line);
        this.#field(id, bytes, name, lines.nameEnd(line), lines.valueStart(line), lines.valueEnd(line));
      }
    }
    for (let i = 0; i < list.length; i += 2) {
      const name = list[i]!;
      const id = fieldId(name);
      if (LEFT_OUT[id] === 1 || (id === TE_ID && list[i + 1] !== "trailers")) continue;
      this.#line(id, name, list[i + 1]!);
    }
  }

  /** Writes trailers, as name, value, name, value, ... {@linkcode checkFields} must have checked them. */
  trailers(list: readonly string[]): void {
    for (let i = 0; i < list.length; i += 2) this.#line(fieldId(list[i]!), list[i]!, list[i + 1]!);
  }

  contentLength(length: number): void {
    this.#line(CONTENT_LENGTH_ID, "content-length", String(length));
  }

  expectContinue(): void {
    this.#line(EXPECT_ID, "expect", "100-continue");
  }

  #line(id: number, name: string, value: string): void {
    const nameEnd = this.#write(name);
    const end = this.#write(value, nameEnd);
    this.#field(id, this.#text, 0, nameEnd, nameEnd, end);
  }

  /** Writes text into the scratch buffer; returns its end. */
  #write(text: string, at = 0): number {
    const end = at + text.length;
    if (end > this.#text.length) {
      const grown = new Uint8Array(end * 2);
      grown.set(this.#text.subarray(0, at));
      this.#text = grown;
    }
    for (let i = 0; i < text.length; i++) this.#text[at + i] = text.charCodeAt(i);
    return end;
  }

  #field(id: number, bytes: Uint8Array, nameStart: number, nameEnd: number, from: number, to: number): void {
    this.#writer.reserve(nameEnd - nameStart + to - from + 16);
    let pattern = PATTERNS[id]!;
    if (pattern === WITH_INDEXING) {
      const number = this.#numbers[id];
      if (number !== undefined && number > this.#evicted && equalBytes(this.#values[id]!, bytes, from, to)) {
        return this.#integer(0x80, 7, STATIC_ENTRIES + 1 + this.#inserted - number);
      }
      if (to - from <= MAX_KEPT_BYTES && this.#maxSize === TABLE_BYTES) {
        this.#insert(id, bytes, nameEnd - nameStart, from, to);
      } else pattern = WITHOUT_INDEXING;
    }
    const index = id === OTHER_FIELD ? 0 : STATIC_BY_ID[id]!;
    this.#integer(pattern, pattern === WITH_INDEXING ? 6 : 4, index);
    if (index === 0) this.#string(bytes, nameStart, nameEnd, LOWER);
    this.#string(bytes, from, to, IDENTITY);
  }

  #insert(id: number, bytes: Uint8Array, nameLength: number, from: number, to: number): void {
    const name = id === AUTHORITY_SLOT ? AUTHORITY_BYTES : nameLength;
    const size = name + to - from + ENTRY_OVERHEAD;
    this.#evictTo(this.#maxSize - size);
    this.#size += size;
    this.#sizes[++this.#inserted % MAX_ENTRIES] = size;
    this.#numbers[id] = this.#inserted;
    this.#values[id] = bytes.slice(from, to);
  }

  #evictTo(size: number): void {
    while (this.#size > size) this.#size -= this.#sizes[++this.#evicted % MAX_ENTRIES]!;
  }

  #literalName(name: string): void {
    this.#writer.reserve(name.length + 16);
    this.#integer(WITHOUT_INDEXING, 4, 0);
    this.#stringOf(name);
  }

  #stringOf(text: string): void {
    const end = this.#write(text);
    this.#writer.reserve(end + 8);
    this.#string(this.#text, 0, end, IDENTITY);
  }

  #string(bytes: Uint8Array, from: number, to: number, map: Uint8Array): void {
    const writer = this.#writer;
    const coded = huffmanLength(bytes, from, to, map);
    if (coded < to - from) {
      this.#integer(0x80, 7, coded);
      writer.length = encodeHuffman(bytes, from, to, map, writer.bytes, writer.length);
      return;
    }
    this.#integer(0, 7, to - from);
    const target = writer.bytes;
    let at = writer.length;
    for (let i = from; i < to; i++) target[at++] = map[bytes[i]!]!;
    writer.length = at;
  }

  /** Writes an integer after a pattern (section 5.1). */
  #integer(pattern: number, bits: number, value: number): void {
    const writer = this.#writer;
    const mask = (1 << bits) - 1;
    if (value < mask) {
      writer.bytes[writer.length++] = pattern | value;
      return;
    }
    writer.bytes[writer.length++] = pattern | mask;
    let rest = value - mask;
    for (; rest >= 0x80; rest >>= 7) writer.bytes[writer.length++] = (rest & 0x7f) | 0x80;
    writer.bytes[writer.length++] = rest;
  }
}

const CONTENT_LENGTH_ID = fieldId("content-length");
const EXPECT_ID = fieldId("expect");
const AUTHORITY_BYTES = asciiBytes(":authority").length;

function equalBytes(value: Uint8Array, bytes: Uint8Array, from: number, to: number): boolean {
  if (value.length !== to - from) return false;
  for (let i = 0; i < value.length; i++) {
    if (value[i] !== bytes[from + i]) return false;
  }
  return true;
}

/**
 * Checks fields before the block is begun: an entry in the table of the peer cannot be undone.
 *
 * @param list name, value, name, value, ...
 * @throws {UnwritableFieldError} when a field is not allowed in a block
 */
export function checkFields(list: readonly string[]): void {
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    const value = list[i + 1]!;
    let valid = name.length > 0;
    for (let j = 0; j < name.length; j++) {
      const code = name.charCodeAt(j);
      if (TOKEN_BYTES[code] !== 1 || (code >= 65 && code <= 90)) valid = false;
    }
    for (let j = 0; j < value.length; j++) {
      if (VALUE_BYTES[value.charCodeAt(j)] !== 1) valid = false;
    }
    if (!valid) throw new UnwritableFieldError(`${JSON.stringify(name)}: ${JSON.stringify(value)}`);
  }
}
