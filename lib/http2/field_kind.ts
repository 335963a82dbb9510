/**
 * What a field means for the protocol itself, and which fields are not allowed in a message (RFC 9113 sections 8.2
 * and 8.3).
 */

import {
  asciiBytes,
  equalsToken,
  fieldId,
  fieldIdOf,
  TOKEN_BYTES,
  VALUE_BYTES,
} from "../http/field_lines.ts";

/** The results of {@linkcode kindOf}. Those from `FIRST_BAD` on make a message malformed. */
export const KIND = {
  OTHER: 0,
  COOKIE: 1,
  HOST: 2,
  CONTENT_LENGTH: 3,
  EXPECT: 4,
  METHOD: 5,
  SCHEME: 6,
  AUTHORITY: 7,
  PATH: 8,
  STATUS: 9,
  PROTOCOL: 10,
  FIRST_BAD: 16,
  BAD_NAME: 16,
  UPPER_CASE: 17,
  BAD_VALUE: 18,
  OF_CONNECTION: 19,
  BAD_TE: 20,
  UNKNOWN_PSEUDO: 21,
} as const;

/** The first and the last kind of pseudo fields. */
export const FIRST_PSEUDO: number = KIND.METHOD;
export const LAST_PSEUDO: number = KIND.PROTOCOL;

const FAULTS: Readonly<Record<number, string>> = {
  [KIND.BAD_NAME]: "a field name with a forbidden character",
  [KIND.UPPER_CASE]: "a field name in upper case",
  [KIND.BAD_VALUE]: "a field value with a forbidden character, or white space around it",
  [KIND.OF_CONNECTION]: "a field that is about a connection of HTTP/1.1",
  [KIND.BAD_TE]: 'a TE field other than "trailers"',
  [KIND.UNKNOWN_PSEUDO]: "an unknown pseudo field",
};

/** The fault of a kind from `FIRST_BAD` on, as the end of a sentence. */
export function faultOfKind(kind: number): string {
  return FAULTS[kind]!;
}

const COLON = 58;
const TE_ID = fieldId("te");
const TRAILERS = asciiBytes("trailers");

const KINDS_BY_ID: Uint8Array = new Uint8Array(256);
KINDS_BY_ID[fieldId("cookie")] = KIND.COOKIE;
KINDS_BY_ID[fieldId("host")] = KIND.HOST;
KINDS_BY_ID[fieldId("content-length")] = KIND.CONTENT_LENGTH;
KINDS_BY_ID[fieldId("expect")] = KIND.EXPECT;
for (const name of ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"]) {
  KINDS_BY_ID[fieldId(name)] = KIND.OF_CONNECTION;
}

const PSEUDO = [
  [":method", KIND.METHOD],
  [":scheme", KIND.SCHEME],
  [":authority", KIND.AUTHORITY],
  [":path", KIND.PATH],
  [":status", KIND.STATUS],
  [":protocol", KIND.PROTOCOL],
].map(([name, kind]) => ({ letters: asciiBytes(name as string), kind: kind as number }));

/** The kind of a field. Its name is `bytes[from..nameEnd)`; its value follows and ends at `end`. */
export function kindOf(bytes: Uint8Array, from: number, nameEnd: number, end: number): number {
  if (!isValue(bytes, nameEnd, end)) return KIND.BAD_VALUE;
  if (nameEnd === from) return KIND.BAD_NAME;
  if (bytes[from] === COLON) return pseudoKind(bytes, from, nameEnd);
  for (let i = from; i < nameEnd; i++) {
    const byte = bytes[i]!;
    if (byte >= 65 && byte <= 90) return KIND.UPPER_CASE;
    if (TOKEN_BYTES[byte] !== 1) return KIND.BAD_NAME;
  }
  const id = fieldIdOf(bytes, from, nameEnd);
  if (id === TE_ID && !equalsToken(bytes, nameEnd, end, TRAILERS)) return KIND.BAD_TE;
  return KINDS_BY_ID[id]!;
}

function pseudoKind(bytes: Uint8Array, from: number, nameEnd: number): number {
  next: for (const { letters, kind } of PSEUDO) {
    if (letters.length !== nameEnd - from) continue;
    for (let i = 0; i < letters.length; i++) {
      if (letters[i] !== bytes[from + i]) continue next;
    }
    return kind;
  }
  return KIND.UNKNOWN_PSEUDO;
}

function isValue(bytes: Uint8Array, from: number, to: number): boolean {
  if (from === to) return true;
  if (isBlank(bytes[from]!) || isBlank(bytes[to - 1]!)) return false;
  for (let i = from; i < to; i++) {
    if (VALUE_BYTES[bytes[i]!] !== 1) return false;
  }
  return true;
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x09;
}
