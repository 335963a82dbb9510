/** Addresses as numbers. */

const INVALID = -1;
const HEXTETS = 8;

/** Makes a place that {@linkcode readIpAddress} writes to. */
export function makeHextets(): Uint16Array {
  return new Uint16Array(HEXTETS);
}

/**
 * Reads an IP address as eight numbers of 16 bits, IPv4 as `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2), so that an
 * IPv4 address is the same however it is written. A zone (`%eth0`) is left out.
 *
 * Strict: four decimal numbers without leading zeros for IPv4. Others read `010.0.0.1` as 8.0.0.1 and `10.1` as
 * 10.0.0.1; whoever believes either lets in somebody whom its author never meant.
 *
 * @returns 4 or 6, 4 for IPv4 in the clothes of IPv6 too; 0 when it is no address, and then `into` holds nothing of use
 */
export function readIpAddress(text: string, into: Uint16Array): 0 | 4 | 6 {
  if (text.indexOf(":") < 0) {
    const ipv4 = readIpv4(text, 0, text.length);
    if (ipv4 < 0) return 0;
    into.fill(0, 0, 5);
    into[5] = 0xffff;
    into[6] = ipv4 >>> 16;
    into[7] = ipv4;
    return 4;
  }
  const zone = text.indexOf("%");
  if (zone >= 0 && !isZone(text, zone + 1)) return 0;
  if (!readIpv6(text, zone < 0 ? text.length : zone, into)) return 0;
  return isMappedIpv4(into) ? 4 : 6;
}

/** Whether the rest of the text may be the name of an interface. */
function isZone(text: string, start: number): boolean {
  for (let i = start; i < text.length; i++) {
    const code = text.charCodeAt(i);
    const isAlphanumeric = (code >= 0x30 && code <= 0x39) || ((code | 0x20) >= 0x61 && (code | 0x20) <= 0x7a);
    if (!isAlphanumeric && code !== 0x2d && code !== 0x2e && code !== 0x3a) return false;
  }
  return start < text.length;
}

/** Value of a hexadecimal digit, `-1` for anything else. */
function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : INVALID;
}

/** Reads `a.b.c.d` between two positions as 32 bits; `-1` when it is not that. */
function readIpv4(text: string, start: number, end: number): number {
  let value = 0;
  let octet = 0;
  let digits = 0;
  let dots = 0;
  for (let i = start; i <= end; i++) {
    const code = i < end ? text.charCodeAt(i) : 0x2e;
    if (code === 0x2e) {
      if (digits === 0 || octet > 255 || ++dots > 4) return INVALID;
      value = value * 256 + octet;
      octet = digits = 0;
    } else if (code >= 0x30 && code <= 0x39 && digits < 3 && (digits === 0 || octet !== 0)) {
      octet = octet * 10 + code - 0x30;
      digits++;
    } else {
      return INVALID;
    }
  }
  return dots === 4 ? value : INVALID;
}

/** Reads IPv6 (RFC 4291 section 2.2) up to a position; `false` when it is not that. */
function readIpv6(text: string, end: number, into: Uint16Array): boolean {
  let count = 0;
  let gap = INVALID;
  let at = 0;
  if (text.startsWith("::")) {
    gap = 0;
    at = 2;
  }
  while (at < end) {
    if (count === HEXTETS) return false;
    let value = 0;
    let next = at;
    for (let digit; next < end && (digit = hexDigit(text.charCodeAt(next))) >= 0; next++) {
      value = value * 16 + digit;
    }
    if (next < end && text.charCodeAt(next) === 0x2e) {
      const ipv4 = count > HEXTETS - 2 ? INVALID : readIpv4(text, at, end);
      if (ipv4 < 0) return false;
      into[count++] = ipv4 >>> 16;
      into[count++] = ipv4;
      break;
    }
    if (next === at || next - at > 4) return false;
    into[count++] = value;
    if (next === end) break;
    if (text.charCodeAt(next) !== 0x3a) return false;
    at = next + 1;
    if (at === end) return false;
    if (text.charCodeAt(at) === 0x3a) {
      if (gap >= 0) return false;
      gap = count;
      at++;
    }
  }
  if (gap < 0) return count === HEXTETS;
  if (count === HEXTETS) return false;
  into.copyWithin(HEXTETS - (count - gap), gap, count);
  into.fill(0, gap, HEXTETS - (count - gap));
  return true;
}

function isMappedIpv4(hextets: Uint16Array): boolean {
  if (hextets[5] !== 0xffff) return false;
  for (let i = 0; i < 5; i++) if (hextets[i] !== 0) return false;
  return true;
}
