/** Names of fields without making a new string for each response. */

import { asciiBytes } from "../../http/byte_classes.ts";

const COMMON_NAMES = [
  "accept-ranges access-control-allow-credentials access-control-allow-headers access-control-allow-methods",
  "access-control-allow-origin access-control-expose-headers access-control-max-age age allow alt-svc",
  "cache-control connection content-disposition content-encoding content-language content-length content-location",
  "content-range content-security-policy content-type cross-origin-opener-policy cross-origin-resource-policy date",
  "etag expires keep-alive last-modified link location permissions-policy pragma referrer-policy retry-after server",
  "server-timing set-cookie strict-transport-security te trailer transfer-encoding upgrade vary via",
  "www-authenticate x-cache x-content-type-options x-frame-options x-powered-by x-request-id x-response-time",
  "x-runtime x-xss-protection",
].join(" ").split(" ");

const SLOTS = 512;

function slotOf(length: number, first: number, middle: number, last: number): number {
  return (length * 31 + first * 7 + middle * 3 + last * 17) & (SLOTS - 1);
}

const TABLE: readonly (string | undefined)[] = buildTable();
/** The names of the table once more: bytes are compared faster than characters. */
const LETTERS: readonly (Uint8Array | undefined)[] = TABLE.map((name) =>
  name === undefined ? undefined : asciiBytes(name)
);

function buildTable(): (string | undefined)[] {
  const table: (string | undefined)[] = new Array(SLOTS).fill(undefined);
  for (const name of COMMON_NAMES) {
    const { length } = name;
    let slot = slotOf(length, name.charCodeAt(0), name.charCodeAt(length >> 1), name.charCodeAt(length - 1));
    while (table[slot] !== undefined) slot = (slot + 1) & (SLOTS - 1);
    table[slot] = name;
  }
  return table;
}

function lower(byte: number): number {
  return byte >= 65 && byte <= 90 ? byte | 32 : byte;
}

function equals(letters: Uint8Array, bytes: Uint8Array, from: number): boolean {
  for (let i = 0; i < letters.length; i++) {
    if (lower(bytes[from + i]!) !== letters[i]) return false;
  }
  return true;
}

/** The name in `bytes[from..to)`, at least one byte of ASCII, in lower case. */
export function fieldName(bytes: Uint8Array, from: number, to: number): string {
  const length = to - from;
  const middle = lower(bytes[from + (length >> 1)]!);
  let slot = slotOf(length, lower(bytes[from]!), middle, lower(bytes[to - 1]!));
  for (let letters = LETTERS[slot]; letters !== undefined; letters = LETTERS[slot]) {
    if (letters.length === length && equals(letters, bytes, from)) return TABLE[slot]!;
    slot = (slot + 1) & (SLOTS - 1);
  }
  let name = "";
  for (let i = from; i < to; i++) name += String.fromCharCode(lower(bytes[i]!));
  return name;
}
