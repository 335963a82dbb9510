/** The parts of a target as they came, in bytes. */

import { HEX_DIGITS } from "./byte_classes.ts";
import { decodeLatin1 } from "./field_lines.ts";
import { makeHextets, readIpAddress } from "./ip_address.ts";

const PERCENT = 37;
const COLON = 58;
const LEFT_BRACKET = 91;
const RIGHT_BRACKET = 93;

/** The target in `bytes[from..to)`; bytes above 0x7F percent-encoded. */
export function decodeTarget(bytes: Uint8Array, from: number, to: number): string {
  let text = "";
  let start = from;
  for (let i = from; i < to; i++) {
    const byte = bytes[i]!;
    if (byte < 128) continue;
    text += decodeLatin1(bytes, start, i) + "%" + byte.toString(16).toUpperCase();
    start = i + 1;
  }
  return text + decodeLatin1(bytes, start, to);
}

/** 1 for what may stand in a registered name or an IPv4 address as it is: a comma would make a list of it (RFC 3986). */
const NAME_BYTES: Uint8Array = Uint8Array.from(
  { length: 256 },
  (_, byte) => byte < 128 && /[!$&'()*+\-.;=_~0-9A-Za-z]/.test(String.fromCharCode(byte)) ? 1 : 0,
);
/** 1 for what may stand between the brackets of an IPv6 address. */
const IPV6_BYTES: Uint8Array = Uint8Array.from(
  { length: 256 },
  (_, byte) => byte < 128 && /[:.0-9A-Fa-f]/.test(String.fromCharCode(byte)) ? 1 : 0,
);

/**
 * Whether the bytes are a host with an optional port (RFC 9110 section 7.2), without anything that could be read as
 * another part of a URL.
 */
export function isAuthority(bytes: Uint8Array, from: number, to: number): boolean {
  let at = from;
  if (bytes[at] === LEFT_BRACKET && at < to) {
    at++;
    while (at < to && IPV6_BYTES[bytes[at]!] === 1) at++;
    if (at === to || bytes[at] !== RIGHT_BRACKET || !isIpv6(decodeLatin1(bytes, from + 1, at))) return false;
    at++;
  } else {
    for (; at < to; at++) {
      if (NAME_BYTES[bytes[at]!] === 1) continue;
      if (bytes[at] !== PERCENT) break;
      if (at + 2 >= to || HEX_DIGITS[bytes[at + 1]!] === 255 || HEX_DIGITS[bytes[at + 2]!] === 255) {
        return false;
      }
      at += 2;
    }
    if (at === from) return false;
  }
  if (at - from > 255) return false;
  if (at === to) return true;
  if (bytes[at] !== COLON) return false;
  let port = 0;
  for (at++; at < to; at++) {
    const digit = bytes[at]! - 48;
    if (digit < 0 || digit > 9) return false;
    port = port * 10 + digit;
    if (port > MAX_PORT) return false;
  }
  return true;
}

const MAX_PORT = 65_535;

function isIpv6(text: string): boolean {
  return text.includes(":") && readIpAddress(text, makeHextets()) !== 0;
}
