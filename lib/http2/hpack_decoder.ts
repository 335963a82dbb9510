/** Reads field blocks (RFC 7541). Their memory is limited by their length in bytes and by the limits of the sink. */

import { CODE, Http2Error } from "./frame_type.ts";
import { kindOf } from "./field_kind.ts";
import {
  decodeHuffman,
  mostDecoded,
  STATIC_BYTES,
  STATIC_ENTRIES,
  STATIC_NAME_ENDS,
  STATIC_NAME_STARTS,
} from "./hpack_tables.ts";

/** Receives the fields of a block, one by one. */
export interface FieldSink {
  /** A field. Its name is `bytes[from..nameEnd)`; its value follows and ends at `end`; both are lent. */
  field(bytes: Uint8Array, from: number, nameEnd: number, end: number, kind: number): void;
  /** Whether it has received so much that the rest of the block is only skipped. @default {false} */
  readonly excessive?: boolean;
}

/** What an entry counts in addition to its bytes (RFC 7541 section 4.1). */
export const ENTRY_OVERHEAD = 32;
/** The initial size of the table, and the largest that is allowed here. */
export const TABLE_BYTES = 4096;
/** A string of more bytes than this is no useful field; this limits the cost of one string. */
const MAX_STRING_BYTES = 1024 * 1024;
/** Most bytes of names that one block may copy from the table into new entries while it is skipped. */
const MAX_SKIPPED_NAME_BYTES = 256 * 1024;

const STATIC_KINDS: Uint8Array = Uint8Array.from(
  { length: STATIC_ENTRIES + 1 },
  (_, i) =>
    i === 0
      ? 0
      : kindOf(STATIC_BYTES, STATIC_NAME_STARTS[i]!, STATIC_NAME_ENDS[i]!, STATIC_NAME_STARTS[i + 1]!),
);

/**
 * Reads the field blocks of one direction of a connection, and keeps its dynamic table.
 *
 * A field in the table is reported as often as the block refers to it, at the cost of one byte each: the sink must
 * limit how many fields it keeps.
 */
export class HpackDecoder {
  readonly #table = new DynamicTable();
  /** Buffer for a literal field. */
  #scratch: Uint8Array = new Uint8Array(256);
  /** End of the last string in the scratch buffer, and the position in the block. */
  #filled = 0;
  #at = 0;

  /**
   * Reads a complete block.
   *
   * @throws {Http2Error} COMPRESSION_ERROR, or ENHANCE_YOUR_CALM for a block that is too expensive to skip; both end
   * the connection
   */
  decode(bytes: Uint8Array, from: number, to: number, sink: FieldSink): void {
    this.#at = from;
    let begun = false;
    while (this.#at < to) {
      const byte = bytes[this.#at]!;
      if (byte >= 0x80) this.#reportIndexed(this.#integer(bytes, to, 7), sink);
      else if (byte >= 0x40) this.#literal(bytes, to, this.#integer(bytes, to, 6), true, sink);
      else if (byte < 0x20) this.#literal(bytes, to, this.#integer(bytes, to, 4), false, sink);
      else if (begun) throw compressionError("a change of the size of the table within a block");
      else {
        this.#table.resize(this.#integer(bytes, to, 5));
        continue;
      }
      begun = true;
      if (sink.excessive === true) return this.#skip(bytes, to);
    }
  }

  /**
   * Reads the rest of a block without reporting fields, to keep the table in sync.
   *
   * Two bytes copy a name of 4 KiB from the table into a new entry: without a limit, a block of 16 KiB would copy 32
   * MiB.
   */
  #skip(bytes: Uint8Array, to: number): void {
    const table = this.#table;
    let nameBytes = 0;
    while (this.#at < to) {
      const byte = bytes[this.#at]!;
      if (byte >= 0x80) this.#expectIndex(this.#integer(bytes, to, 7));
      else if (byte >= 0x40) {
        const index = this.#integer(bytes, to, 6);
        if (index > STATIC_ENTRIES) nameBytes += table.nameLength(index - STATIC_ENTRIES);
        if (nameBytes > MAX_SKIPPED_NAME_BYTES) {
          throw new Http2Error(CODE.ENHANCE_YOUR_CALM, "a head that is far too large");
        }
        this.#literal(bytes, to, index, true, null);
      } else if (byte < 0x20) {
        const index = this.#integer(bytes, to, 4);
        if (index === 0) this.#skipString(bytes, to);
        else this.#expectIndex(index);
        this.#skipString(bytes, to);
      } else throw compressionError("a change of the size of the table within a block");
    }
  }

  #reportIndexed(index: number, sink: FieldSink): void {
    if (index === 0) throw compressionError("the index 0");
    if (index > STATIC_ENTRIES) return this.#table.give(index - STATIC_ENTRIES, sink);
    sink.field(
      STATIC_BYTES,
      STATIC_NAME_STARTS[index]!,
      STATIC_NAME_ENDS[index]!,
      STATIC_NAME_STARTS[index + 1]!,
      STATIC_KINDS[index]!,
    );
  }

  #expectIndex(index: number): void {
    if (index === 0) throw compressionError("the index 0");
    if (index > STATIC_ENTRIES) this.#table.expect(index - STATIC_ENTRIES);
  }

  #literal(bytes: Uint8Array, to: number, index: number, keep: boolean, sink: FieldSink | null): void {
    this.#filled = 0;
    if (index === 0) this.#string(bytes, to);
    else this.#name(index);
    const nameEnd = this.#filled;
    this.#string(bytes, to);
    const scratch = this.#scratch;
    const kind = kindOf(scratch, 0, nameEnd, this.#filled);
    if (keep) this.#table.add(scratch, nameEnd, this.#filled, kind);
    sink?.field(scratch, 0, nameEnd, this.#filled, kind);
  }

  #name(index: number): void {
    if (index > STATIC_ENTRIES) {
      this.#reserve(this.#table.nameLength(index - STATIC_ENTRIES));
      this.#filled = this.#table.copyName(index - STATIC_ENTRIES, this.#scratch);
      return;
    }
    const start = STATIC_NAME_STARTS[index]!;
    const length = STATIC_NAME_ENDS[index]! - start;
    for (let i = 0; i < length; i++) this.#scratch[i] = STATIC_BYTES[start + i]!;
    this.#filled = length;
  }

  #string(bytes: Uint8Array, to: number): void {
    const coded = this.#at < to && bytes[this.#at]! >= 0x80;
    const from = this.#skipString(bytes, to);
    const length = this.#at - from;
    if (coded) {
      this.#reserve(mostDecoded(length));
      const end = decodeHuffman(bytes, from, this.#at, this.#scratch, this.#filled);
      if (end < 0) throw compressionError("a broken Huffman code");
      this.#filled = end;
      return;
    }
    this.#reserve(length);
    copyBytes(bytes, from, this.#at, this.#scratch, this.#filled);
    this.#filled += length;
  }

  /** Skips a string; returns where its bytes begin. */
  #skipString(bytes: Uint8Array, to: number): number {
    if (this.#at >= to) throw compressionError("a block that ends within a field");
    const length = this.#integer(bytes, to, 7);
    const from = this.#at;
    if (length > to - from) throw compressionError("a block that ends within a field");
    this.#at = from + length;
    return from;
  }

  /** Reads an integer with a prefix of some bits (RFC 7541 section 5.1). */
  #integer(bytes: Uint8Array, to: number, bits: number): number {
    const mask = (1 << bits) - 1;
    let value = bytes[this.#at++]! & mask;
    if (value < mask) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.#at >= to) throw compressionError("a block that ends within a number");
      const byte = bytes[this.#at++]!;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw compressionError("a number that is too large");
  }

  #reserve(more: number): void {
    const needed = this.#filled + more;
    if (needed <= this.#scratch.length) return;
    if (needed > MAX_STRING_BYTES) throw compressionError("a field that is too large");
    const grown = new Uint8Array(Math.max(needed, this.#scratch.length * 2));
    grown.set(this.#scratch.subarray(0, this.#filled));
    this.#scratch = grown;
  }
}

/** Numbers stored for an entry: where its name begins, where that ends, where its value ends, its kind. */
const PLACES = 4;
const MAX_ENTRIES = TABLE_BYTES / ENTRY_OVERHEAD;

/**
 * The dynamic table: fields that a block may refer to, the newest first.
 *
 * Their bytes are stored one after another in an arena of twice the size of the table. When it is full, the current
 * entries are moved to its front, so that an entry costs its bytes and no object. The arena is made for the first
 * entry.
 */
class DynamicTable {
  #arena: Uint8Array = NOTHING;
  #places: Uint16Array = NO_PLACES;
  #tail = 0;
  /** Index of the oldest entry in the ring, and the number of entries. */
  #first = 0;
  #count = 0;
  #size = 0;
  #maxSize = TABLE_BYTES;

  resize(size: number): void {
    if (size > TABLE_BYTES) throw compressionError("a table that is larger than allowed");
    this.#maxSize = size;
    this.#evictTo(size);
  }

  #evictTo(size: number): void {
    while (this.#size > size) {
      const at = this.#first * PLACES;
      this.#size -= this.#places[at + 2]! - this.#places[at]! + ENTRY_OVERHEAD;
      this.#first = (this.#first + 1) % MAX_ENTRIES;
      this.#count--;
    }
  }

  add(bytes: Uint8Array, nameEnd: number, end: number, kind: number): void {
    const size = end + ENTRY_OVERHEAD;
    // An entry larger than the table empties it, and is no error (RFC 7541 section 4.4).
    if (size > this.#maxSize) return this.#evictTo(0);
    this.#evictTo(this.#maxSize - size);
    if (this.#tail + end > this.#arena.length) this.#moveToFront();
    const start = this.#tail;
    copyBytes(bytes, 0, end, this.#arena, start);
    this.#tail = start + end;
    const at = ((this.#first + this.#count) % MAX_ENTRIES) * PLACES;
    this.#places[at] = start;
    this.#places[at + 1] = start + nameEnd;
    this.#places[at + 2] = start + end;
    this.#places[at + 3] = kind;
    this.#count++;
    this.#size += size;
  }

  #moveToFront(): void {
    if (this.#arena === NOTHING) {
      this.#arena = new Uint8Array(2 * TABLE_BYTES);
      this.#places = new Uint16Array(MAX_ENTRIES * PLACES);
      return;
    }
    const start = this.#count === 0 ? this.#tail : this.#places[this.#first * PLACES]!;
    this.#arena.copyWithin(0, start, this.#tail);
    this.#tail -= start;
    for (let i = 0; i < this.#count; i++) {
      const at = ((this.#first + i) % MAX_ENTRIES) * PLACES;
      this.#places[at]! -= start;
      this.#places[at + 1]! -= start;
      this.#places[at + 2]! -= start;
    }
  }

  /** Where an entry is stored, by its index; 1 is the newest one. */
  #placeOf(index: number): number {
    this.expect(index);
    return ((this.#first + this.#count - index) % MAX_ENTRIES) * PLACES;
  }

  /** Refuses an index without an entry. */
  expect(index: number): void {
    if (index > this.#count) throw compressionError("an index beyond the table");
  }

  give(index: number, sink: FieldSink): void {
    const at = this.#placeOf(index);
    const places = this.#places;
    sink.field(this.#arena, places[at]!, places[at + 1]!, places[at + 2]!, places[at + 3]!);
  }

  nameLength(index: number): number {
    const at = this.#placeOf(index);
    return this.#places[at + 1]! - this.#places[at]!;
  }

  copyName(index: number, target: Uint8Array): number {
    const at = this.#placeOf(index);
    const from = this.#places[at]!;
    const to = this.#places[at + 1]!;
    for (let i = from; i < to; i++) target[i - from] = this.#arena[i]!;
    return to - from;
  }
}

const NOTHING = new Uint8Array(0);
const NO_PLACES = new Uint16Array(0);
/** Copying fewer bytes than this one by one is faster than making a view. */
const SHORT_COPY = 48;

/** Copies bytes to another buffer, which has room for them. */
export function copyBytes(
  source: Uint8Array,
  from: number,
  to: number,
  target: Uint8Array,
  at: number,
): void {
  if (to - from < SHORT_COPY) {
    const shift = at - from;
    for (let i = from; i < to; i++) target[i + shift] = source[i]!;
  } else target.set(source.subarray(from, to), at);
}

function compressionError(found: string): Http2Error {
  return new Http2Error(CODE.COMPRESSION_ERROR, found);
}
