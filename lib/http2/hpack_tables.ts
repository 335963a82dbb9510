/** The static table of HPACK (RFC 7541 appendix A). */

import { asciiBytes } from "../http/field_lines.ts";

const ENTRIES: readonly (readonly [name: string, value: string])[] = `:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate`.split("\n").map((line) => {
  const space = line.indexOf(" ");
  return space < 0 ? [line, ""] : [line.slice(0, space), line.slice(space + 1)];
});

/** Number of entries; the first has the index 1. */
export const STATIC_ENTRIES: number = ENTRIES.length;

/** Names and values, one after another. */
export const STATIC_BYTES: Uint8Array = asciiBytes(ENTRIES.map((entry) => entry.join("")).join(""));

/**
 * By index: where the name begins in {@linkcode STATIC_BYTES}, and where it ends; the value ends where the next name
 * begins.
 */
export const STATIC_NAME_STARTS: Uint16Array = new Uint16Array(STATIC_ENTRIES + 2);
export const STATIC_NAME_ENDS: Uint16Array = new Uint16Array(STATIC_ENTRIES + 2);

const NAME_INDEXES = new Map<string, number>();

ENTRIES.forEach(([name, value], i) => {
  const start = STATIC_NAME_STARTS[i + 1]!;
  STATIC_NAME_ENDS[i + 1] = start + name.length;
  STATIC_NAME_STARTS[i + 2] = start + name.length + value.length;
  if (!NAME_INDEXES.has(name)) NAME_INDEXES.set(name, i + 1);
});

/** The index of the first entry with a name; 0 when there is none. */
export function staticIndexOf(name: string): number {
  return NAME_INDEXES.get(name) ?? 0;
}

// The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B).

/** Length in bits of the code of each byte, and of EOS. The code is canonical: the codes follow from their lengths. */
const LENGTHS: Uint8Array = Uint8Array.from(
  `13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28 28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28 6 10
  10 12 13 6 8 11 10 10 8 11 8 6 6 6 5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10 13 6 7 7 7 7 7 7 7 7 7 7 7 7 7
  7 7 7 7 7 7 7 7 7 8 7 8 13 19 13 14 6 15 5 6 5 6 5 6 6 6 5 7 7 6 6 6 5 6 7 6 5 5 6 7 7 7 7 7 15 11
  14 13 28 20 22 20 20 22 22 22 23 22 23 23 23 23 23 24 23 24 24 22 23 24 23 23 23 23 21 22 23 22 23
  23 24 22 21 20 22 22 23 23 21 23 22 22 24 21 22 23 23 21 21 22 21 23 22 23 23 20 22 22 22 23 22 22
  23 26 26 20 19 22 23 22 25 26 26 26 27 27 26 24 25 19 21 26 27 27 26 27 24 21 21 26 26 28 27 27 27
  20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23 26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26 30`
    .split(/\s+/).map(Number),
);

const EOS = 256;
const CODES: Int32Array = canonicalCodes();

function canonicalCodes(): Int32Array {
  const codes = new Int32Array(LENGTHS.length);
  let code = 0;
  for (let bits = 1; bits <= 30; bits++) {
    code *= 2;
    for (let symbol = 0; symbol < LENGTHS.length; symbol++) {
      if (LENGTHS[symbol] === bits) codes[symbol] = code++;
    }
  }
  return codes;
}

// The decoder walks the tree in steps of four bits. An entry has the next inner node, and the decoded byte, if any.
// No code is shorter than five bits, so one step decodes at most one byte.
const PASSES = 0x100;
const FAILS = 0x200;
const NODE_SHIFT = 10;
const STEPS: Int32Array = new Int32Array(256 * 16);
/** 1 for nodes where a string may end: padding of less than eight ones (RFC 7541 section 5.2). */
const MAY_END: Uint8Array = new Uint8Array(256);

buildSteps();

function buildSteps(): void {
  // Children of each node: a node when positive; a symbol, as `-1 - symbol`, when negative.
  const children: number[][] = [[0, 0]];
  for (let symbol = 0; symbol <= EOS; symbol++) {
    let node = 0;
    for (let bit = LENGTHS[symbol]! - 1; bit >= 0; bit--) {
      const side = (CODES[symbol]! >> bit) & 1;
      if (bit === 0) children[node]![side] = -1 - symbol;
      else {
        if (children[node]![side] === 0) children[node]![side] = children.push([0, 0]) - 1;
        node = children[node]![side]!;
      }
    }
  }
  children.forEach((_, start) => {
    for (let nibble = 0; nibble < 16; nibble++) {
      STEPS[start * 16 + nibble] = stepFrom(children, start, nibble);
    }
  });
  let node = 0;
  for (let ones = 0; ones <= 7; ones++) {
    MAY_END[node] = 1;
    node = children[node]![1]!;
  }
}

function stepFrom(children: readonly number[][], start: number, nibble: number): number {
  let node = start;
  let passed = 0;
  for (let bit = 3; bit >= 0; bit--) {
    const next = children[node]![(nibble >> bit) & 1]!;
    if (next >= 0) node = next;
    else {
      const symbol = -1 - next;
      if (symbol === EOS) return FAILS;
      passed = PASSES | symbol;
      node = 0;
    }
  }
  return (node << NODE_SHIFT) | passed;
}

/** The most bytes that so many encoded bytes decode to. */
export function mostDecoded(bytes: number): number {
  return (bytes * 8 / 5) | 0;
}

/**
 * Decodes `bytes[from..to)` into a buffer that has room for {@linkcode mostDecoded}.
 *
 * @returns the end of the decoded bytes; -1 when the code is invalid, or its padding is not less than eight ones
 */
export function decodeHuffman(
  bytes: Uint8Array,
  from: number,
  to: number,
  target: Uint8Array,
  at: number,
): number {
  let node = 0;
  let end = at;
  for (let i = from; i < to; i++) {
    const byte = bytes[i]!;
    const first = STEPS[node * 16 + (byte >> 4)]!;
    if ((first & PASSES) !== 0) target[end++] = first & 0xff;
    else if (first === FAILS) return -1;
    const second = STEPS[(first >> NODE_SHIFT) * 16 + (byte & 15)]!;
    if ((second & PASSES) !== 0) target[end++] = second & 0xff;
    else if (second === FAILS) return -1;
    node = second >> NODE_SHIFT;
  }
  return MAY_END[node] === 1 ? end : -1;
}

/** How many bytes `bytes[from..to)` take when encoded; `map` is applied to each byte first. */
export function huffmanLength(bytes: Uint8Array, from: number, to: number, map: Uint8Array): number {
  let bits = 0;
  for (let i = from; i < to; i++) bits += LENGTHS[map[bytes[i]!]!]!;
  return (bits + 7) >> 3;
}

/** Encodes `bytes[from..to)`, with `map` applied to each byte; returns the end of the encoded bytes. */
export function encodeHuffman(
  bytes: Uint8Array,
  from: number,
  to: number,
  map: Uint8Array,
  target: Uint8Array,
  at: number,
): number {
  // Codes have up to 30 bits, and up to 7 are pending: codes above 24 bits are added in two parts.
  let pending = 0;
  let bits = 0;
  let end = at;
  for (let i = from; i < to; i++) {
    const byte = map[bytes[i]!]!;
    const code = CODES[byte]!;
    let left = LENGTHS[byte]!;
    if (left > 24) {
      left -= 8;
      pending = (pending << 8) | (code >> left);
      target[end++] = (pending >> bits) & 0xff;
    }
    pending = (pending << left) | (code & ((1 << left) - 1));
    bits += left;
    while (bits >= 8) {
      bits -= 8;
      target[end++] = (pending >> bits) & 0xff;
    }
    pending &= (1 << bits) - 1;
  }
  if (bits > 0) target[end++] = ((pending << (8 - bits)) | (0xff >> bits)) & 0xff;
  return end;
}
