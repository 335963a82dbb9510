/** One client, one key: the network that an address belongs to. */

const HEXTETS = 8;
const INVALID = -1;

/** Value of a hexadecimal digit, `-1` for anything else. */
function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : INVALID;
}

/** Reads `a.b.c.d` from `start` to the end of `text`, as 32 bits; `-1` when it is not that. */
function readIpv4(text: string, start: number): number {
  let value = 0;
  let octet = 0;
  let digits = 0;
  let dots = 0;
  for (let i = start; i <= text.length; i++) {
    const code = i < text.length ? text.charCodeAt(i) : 0x2e;
    if (code === 0x2e) {
      if (digits === 0 || octet > 255 || ++dots > 4) return INVALID;
      value = value * 256 + octet;
      octet = digits = 0;
    } else if (code >= 0x30 && code <= 0x39 && ++digits <= 3) {
      octet = octet * 10 + code - 0x30;
    } else {
      return INVALID;
    }
  }
  return dots === 4 ? value : INVALID;
}

/** Reads an IPv6 address (RFC 4291 section 2.2) into eight numbers; `null` when it is not one. */
function readIpv6(text: string): number[] | null {
  const zone = text.indexOf("%");
  const address = zone < 0 ? text : text.slice(0, zone);
  const hextets: number[] = [];
  let gap = INVALID;
  let at = 0;
  if (address.startsWith("::")) {
    gap = 0;
    at = 2;
  }
  while (at < address.length) {
    let value = 0;
    let end = at;
    for (let digit; end < address.length && (digit = hexDigit(address.charCodeAt(end))) >= 0; end++) {
      value = value * 16 + digit;
    }
    if (address.charCodeAt(end) === 0x2e) {
      const ipv4 = readIpv4(address, at);
      if (ipv4 < 0) return null;
      hextets.push(Math.floor(ipv4 / 65536), ipv4 % 65536);
      break;
    }
    if (end === at || end - at > 4) return null;
    hextets.push(value);
    if (end === address.length) break;
    if (address.charCodeAt(end) !== 0x3a) return null;
    at = end + 1;
    if (address.charCodeAt(at) === 0x3a) {
      if (gap >= 0) return null;
      gap = hextets.length;
      at++;
    } else if (at === address.length) {
      return null;
    }
  }
  if (gap < 0) return hextets.length === HEXTETS ? hextets : null;
  if (hextets.length >= HEXTETS) return null;
  hextets.splice(gap, 0, ...new Array<number>(HEXTETS - hextets.length).fill(0));
  return hextets;
}

/** Whether the address is an IPv4 one in the clothes of IPv6 (`::ffff:0:0/96`, RFC 4291 section 2.5.5.2). */
function isMappedIpv4(hextets: readonly number[]): boolean {
  return hextets[5] === 0xffff && hextets[0] === 0 && hextets[1] === 0 && hextets[2] === 0 &&
    hextets[3] === 0 &&
    hextets[4] === 0;
}

/**
 * The text that stands for everybody in the same network as the address.
 *
 * An IPv4 address stands for itself, also when it is written as IPv6. An IPv6 address stands for its first
 * `ipv6Prefix` bits, because whoever has one usually has the whole network to choose from. What is no address stands
 * for itself.
 */
export function addressGroup(address: string, ipv6Prefix: number): string {
  if (address.indexOf(":") < 0) return address;
  const hextets = readIpv6(address);
  if (hextets === null) return address;
  if (isMappedIpv4(hextets)) {
    const high = hextets[6]!;
    const low = hextets[7]!;
    return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  }
  let group = "";
  for (let i = 0; i * 16 < ipv6Prefix; i++) {
    const bits = Math.min(16, ipv6Prefix - i * 16);
    group += (hextets[i]! & (0xffff << (16 - bits))).toString(16) + ":";
  }
  return `${group}:/${ipv6Prefix}`;
}
