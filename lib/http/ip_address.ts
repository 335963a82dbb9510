/** IP addresses as numbers, and lists of networks. */

import { must, type Rule } from "../core/options.ts";

const INVALID = -1;
const HEXTETS = 8;

/** Makes a buffer that {@linkcode readIpAddress} writes to. */
export function makeHextets(): Uint16Array {
  return new Uint16Array(HEXTETS);
}

/**
 * Reads an IP address as eight numbers of 16 bits. IPv4 is read as `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2), so
 * that an IPv4 address is the same in either notation. A zone (`%eth0`) is ignored.
 *
 * Strict: four decimal numbers without leading zeros for IPv4. Other parsers read `010.0.0.1` as 8.0.0.1 and `10.1`
 * as 10.0.0.1; accepting these would allow addresses that the author of a list never meant.
 *
 * @returns 4 or 6 (4 for IPv4-mapped IPv6 too); 0 when it is no address, and then the content of `into` is undefined
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

/** Whether the rest of the text may be the name of a network interface. */
function isZone(text: string, start: number): boolean {
  for (let i = start; i < text.length; i++) {
    const code = text.charCodeAt(i);
    const isAlphanumeric = (code >= 0x30 && code <= 0x39) || ((code | 0x20) >= 0x61 && (code | 0x20) <= 0x7a);
    if (!isAlphanumeric && code !== 0x2d && code !== 0x2e && code !== 0x3a) return false;
  }
  return start < text.length;
}

/** Value of a hexadecimal digit; `-1` for anything else. */
function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : INVALID;
}

/** Reads `a.b.c.d` in `text[start..end)` as 32 bits; `-1` when it is not that. */
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

// Lists of networks.

/** The accepted forms of a network, for error messages. */
const CIDR_EXPECTED = 'an address or a network such as "192.0.2.1", "10.0.0.0/8", "2001:db8::/32"';

/** A network: the leading bits that its addresses share. */
interface Cidr {
  /** 4 or 6; an IPv4 network written as IPv6 (`::ffff:10.0.0.0/104`) is 4. */
  readonly version: 4 | 6;
  /** The first address as eight numbers of 16 bits, IPv4 as `::ffff:a.b.c.d`. */
  readonly hextets: Uint16Array;
  /** Length of the prefix, of 128 bits. */
  readonly bits: number;
}

const IPV4_OFFSET = 96;

/**
 * Reads an address, or a network as `address/bits` (RFC 4632 section 3.1, RFC 4291 section 2.3); `undefined` when it
 * is neither.
 *
 * Strict: no short forms (`10/8`), no leading zeros (`010.0.0.1`), no zone, and no bit beyond the prefix
 * (`10.0.0.1/8`), since then the address or the number of bits is a mistake.
 */
function parseCidr(text: string): Cidr | undefined {
  const cidr = readCidr(text);
  return cidr === undefined || hasHostBits(cidr) ? undefined : cidr;
}

/**
 * The accepted form of an entry, with a hint that fits the value; `undefined` when the value is valid.
 *
 * @param value an entry of a configuration, of any type
 */
export function expectedCidr(value: unknown): string | undefined {
  const cidr = typeof value === "string" ? readCidr(value) : undefined;
  if (cidr === undefined) return CIDR_EXPECTED;
  if (!hasHostBits(cidr)) return undefined;
  const address = cidr.version === 4 ? ipv4Text(cidr) : ipv6Text(cidr);
  const bits = cidr.version === 4 ? cidr.bits - IPV4_OFFSET : cidr.bits;
  return `a network without bits beyond its prefix, "${address}/${bits}" or the address alone`;
}

/** An address or a network. */
export const CIDR: Rule = must(
  (value) => expectedCidr(value) === undefined,
  (value) => expectedCidr(value) ?? "",
);

/**
 * A list of networks in which addresses are looked up.
 *
 * An IPv4 address is the same in either notation, so `10.0.0.0/8` contains `::ffff:10.1.2.3` too. An IPv6 network
 * contains no IPv4 addresses, except a network below `::ffff:0:0/96`: `::/0` is all of IPv6 and no IPv4.
 */
export class CidrList {
  /** The entries as they were written. */
  readonly entries: readonly string[];
  /** For each IPv4 network: its first address, then its mask. */
  readonly #ipv4: Int32Array;
  readonly #ipv6: readonly Cidr[];
  readonly #hextets: Uint16Array = makeHextets();

  /** @throws {TypeError} when an entry is no network (see {@linkcode parseCidr}) */
  constructor(entries: readonly string[]) {
    const cidrs = entries.map((entry) => {
      const expected = expectedCidr(entry);
      if (expected === undefined) return parseCidr(entry)!;
      throw new TypeError(
        `Cannot make a list of networks: expected ${expected}, received ${JSON.stringify(entry)}`,
      );
    });
    this.entries = Object.freeze([...entries]);
    const ipv4 = cidrs.filter(({ version }) => version === 4);
    this.#ipv4 = new Int32Array(ipv4.flatMap((cidr) => [lowWord(cidr.hextets), maskOf(cidr.bits)]));
    this.#ipv6 = cidrs.filter(({ version }) => version === 6);
  }

  /** Whether the address is in one of the networks; `false` for a text that is no address, such as `""`. */
  has(address: string): boolean {
    const hextets = this.#hextets;
    const version = readIpAddress(address, hextets);
    if (version === 4) return this.#hasIpv4(lowWord(hextets));
    if (version === 0) return false;
    for (let i = 0; i < this.#ipv6.length; i++) {
      if (startsLike(hextets, this.#ipv6[i]!)) return true;
    }
    return false;
  }

  #hasIpv4(word: number): boolean {
    const networks = this.#ipv4;
    for (let i = 0; i < networks.length; i += 2) {
      if ((word & networks[i + 1]!) === networks[i]) return true;
    }
    return false;
  }
}

/** Reads a network that may have bits beyond its prefix. */
function readCidr(text: string): Cidr | undefined {
  const slash = text.indexOf("/");
  const address = slash < 0 ? text : text.slice(0, slash);
  if (address.includes("%")) return undefined;
  const hextets = makeHextets();
  const version = readIpAddress(address, hextets);
  if (version === 0) return undefined;
  const dotted = !address.includes(":");
  let bits = 128;
  if (slash >= 0) {
    const length = text.slice(slash + 1);
    if (!/^(?:0|[1-9]\d{0,2})$/.test(length)) return undefined;
    bits = Number(length) + (dotted ? IPV4_OFFSET : 0);
    if (bits > 128) return undefined;
  }
  // A prefix that ends before the IPv4 part is an IPv6 network, whatever follows.
  return { version: bits < IPV4_OFFSET ? 6 : version, hextets, bits };
}

function hasHostBits({ hextets, bits }: Cidr): boolean {
  for (let i = 0; i < hextets.length; i++) {
    if ((hextets[i]! & ~hextetMask(bits, i)) !== 0) return true;
  }
  return false;
}

/** The bits of hextet `i` that belong to a prefix. */
function hextetMask(bits: number, i: number): number {
  const own = Math.min(16, Math.max(0, bits - 16 * i));
  return (0xffff << (16 - own)) & 0xffff;
}

function startsLike(hextets: Uint16Array, cidr: Cidr): boolean {
  for (let i = 0; i * 16 < cidr.bits; i++) {
    if ((hextets[i]! & hextetMask(cidr.bits, i)) !== cidr.hextets[i]) return false;
  }
  return true;
}

/** The IPv4 address: the last 32 bits. */
function lowWord(hextets: Uint16Array): number {
  return (hextets[6]! << 16) | hextets[7]!;
}

function maskOf(bits: number): number {
  return bits === IPV4_OFFSET ? 0 : -1 << (128 - bits);
}

function ipv4Text({ hextets, bits }: Cidr): string {
  const word = lowWord(hextets) & maskOf(bits);
  return `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`;
}

function ipv6Text({ hextets, bits }: Cidr): string {
  const plain = Array.from(hextets, (one, i) => (one & hextetMask(bits, i)).toString(16)).join(":");
  // The URL parser writes the shortest form of RFC 5952.
  return new URL(`http://[${plain}]/`).hostname.slice(1, -1);
}
