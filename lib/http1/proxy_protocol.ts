/**
 * Headers of the PROXY protocol, versions 1 and 2: what a load balancer reports about its client before the client's
 * bytes.
 *
 * Source: HAProxy, "The PROXY protocol, versions 1 & 2" (2020/03/05).
 */

import { RequestError } from "../core/errors.ts";
import { makeHextets, readIpAddress } from "../http/ip_address.ts";
import type { Bytes } from "../http/message.ts";
import { asciiBytes, decodeLatin1 } from "../http/field_lines.ts";

/** The two ends of a client's connection. */
export interface ProxyAddresses {
  /** Address of the client. */
  readonly ip: string;
  readonly port: number;
  /** The address that the client connected to. */
  readonly localIp: string;
  readonly localPort: number;
}

/** A parsed header. */
export interface ProxyHeader {
  /** Length in bytes. */
  readonly length: number;
  /** `null` if the header names no client: then the addresses of the connection count. */
  readonly addresses: ProxyAddresses | null;
}

/** Most bytes of a header of version 1, including its line end (section 2.1). */
const MAX_V1_BYTES = 107;
/** Most bytes of a header of version 2; addresses need a small part of it, the rest is for TLVs. */
const MAX_V2_BYTES = 4096;
const V2_FIXED_BYTES = 16;

const V1_START = asciiBytes("PROXY ");
const V2_START: Bytes = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a);
const CR = 13;
const LF = 10;

/** Commands of version 2. */
const LOCAL = 0;
const PROXY = 1;
/** Family and protocol of version 2: TCP over IPv4 and IPv6. */
const TCP4 = 0x11;
const TCP6 = 0x21;
/** Length of the addresses, by number of the address family: none, IPv4, IPv6, unix. */
const ADDRESS_BYTES = [0, 12, 36, 216] as const;
/** Type of the TLV with a checksum. */
const CRC32C = 0x03;

/**
 * Reads a header at the beginning of `bytes[0..filled)`.
 *
 * @returns `null` while it is incomplete
 * @throws {RequestError} 400 when there is no header, or it is malformed
 */
export function readProxyHeader(bytes: Bytes, filled: number): ProxyHeader | null {
  if (filled === 0) return null;
  return bytes[0] === V2_START[0] ? readV2(bytes, filled) : readV1(bytes, filled);
}

function readV1(bytes: Bytes, filled: number): ProxyHeader | null {
  if (!startsWith(bytes, filled, V1_START)) throw malformed("it does not begin with one");
  const stop = Math.min(filled, MAX_V1_BYTES);
  let end = V1_START.length;
  while (end < stop && bytes[end] !== CR && bytes[end] !== LF) end++;
  if (end < stop && bytes[end] === LF) throw malformed("its line ends without CRLF");
  if (end + 1 >= stop) {
    if (filled < MAX_V1_BYTES) return null;
    throw malformed("its line is too long");
  }
  if (bytes[end + 1] !== LF) throw malformed("its line ends without CRLF");
  return { length: end + 2, addresses: readLine(decodeLatin1(bytes, V1_START.length, end)) };
}

function readLine(line: string): ProxyAddresses | null {
  // The rest of the line must be ignored (section 2.1).
  if (line === "UNKNOWN" || line.startsWith("UNKNOWN ")) return null;
  const [family, ip, localIp, port, localPort, ...rest] = line.split(" ");
  const version = family === "TCP4" ? 4 : family === "TCP6" ? 6 : 0;
  if (version === 0 || rest.length > 0) throw malformed("its line is not as it has to be");
  return {
    ip: readText(ip, version),
    port: readPort(port),
    localIp: readText(localIp, version),
    localPort: readPort(localPort),
  };
}

function readText(text: string | undefined, version: 4 | 6): string {
  const hextets = makeHextets();
  const dotted = text !== undefined && !text.includes(":");
  if (text === undefined || dotted !== (version === 4) || text.includes("%")) throw malformed("no address");
  if (readIpAddress(text, hextets) === 0) throw malformed("no address");
  return addressText(hextets);
}

function readPort(text = ""): number {
  const port = /^(?:0|[1-9]\d{0,4})$/.test(text) ? Number(text) : Infinity;
  if (port > 65_535) throw malformed("no port");
  return port;
}

function readV2(bytes: Bytes, filled: number): ProxyHeader | null {
  if (!startsWith(bytes, filled, V2_START)) throw malformed("it does not begin with one");
  if (filled > 12 && bytes[12]! >> 4 !== 2) throw malformed("its version is not 2");
  if (filled > 12 && (bytes[12]! & 15) > PROXY) throw malformed("its command is unknown");
  if (filled < V2_FIXED_BYTES) return null;
  const length = V2_FIXED_BYTES + (bytes[14]! << 8) + bytes[15]!;
  if (length > MAX_V2_BYTES) throw malformed("it is too long");
  if (filled < length) return null;
  // A connection of the load balancer itself, without a client (such as a health check).
  if ((bytes[12]! & 15) === LOCAL) return { length, addresses: null };
  const family = bytes[13]!;
  const addressBytes = ADDRESS_BYTES[family >> 4];
  if (addressBytes === undefined || (family & 15) > 2) throw malformed("its family is unknown");
  if (V2_FIXED_BYTES + addressBytes > length) throw malformed("it is too short");
  readTlvs(bytes, V2_FIXED_BYTES + addressBytes, length);
  return { length, addresses: readAddresses(bytes, family) };
}

// For other families the addresses of the connection count (section 2.2).
function readAddresses(bytes: Bytes, family: number): ProxyAddresses | null {
  if (family !== TCP4 && family !== TCP6) return null;
  const size = family === TCP4 ? 4 : 16;
  const ports = V2_FIXED_BYTES + 2 * size;
  return {
    ip: addressAt(bytes, V2_FIXED_BYTES, size),
    port: (bytes[ports]! << 8) + bytes[ports + 1]!,
    localIp: addressAt(bytes, V2_FIXED_BYTES + size, size),
    localPort: (bytes[ports + 2]! << 8) + bytes[ports + 3]!,
  };
}

function addressAt(bytes: Bytes, at: number, size: number): string {
  const hextets = makeHextets();
  if (size === 4) hextets[5] = 0xffff;
  for (let i = 0; i < size / 2; i++) {
    hextets[8 - size / 2 + i] = (bytes[at + 2 * i]! << 8) + bytes[at + 2 * i + 1]!;
  }
  return addressText(hextets);
}

/** Skips the TLVs (type, length, value) after the addresses, and verifies the checksum. */
function readTlvs(bytes: Bytes, from: number, end: number): void {
  let at = from;
  while (at < end) {
    if (at + 3 > end) throw malformed("an addition is cut short");
    const length = (bytes[at + 1]! << 8) + bytes[at + 2]!;
    const value = at + 3;
    if (value + length > end) throw malformed("an addition is cut short");
    if (bytes[at] === CRC32C) verifyChecksum(bytes, value, length, end);
    at = value + length;
  }
}

// The checksum is computed over the header with zeros in place of the checksum (section 2.2.3).
function verifyChecksum(bytes: Bytes, at: number, length: number, end: number): void {
  if (length !== 4) throw malformed("its checksum has not four bytes");
  const expected = ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>>
    0;
  const header = bytes.slice(0, end);
  header.fill(0, at, at + 4);
  if (crc32c(header) !== expected) throw malformed("its checksum is wrong");
}

/** CRC32C (Castagnoli, RFC 3385), with the polynomial 0x1EDC6F41. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) === 1 ? 0x82f6_3b78 : 0);
  }
  return ~crc >>> 0;
}

/**
 * Writes a header.
 *
 * @param addresses of the client's connection; `null` for a connection of the proxy itself, such as a health check,
 * or when they are unknown
 */
export function writeProxyHeader(version: 1 | 2, addresses: ProxyAddresses | null): Bytes {
  const from = makeHextets();
  const to = makeHextets();
  const family = addresses === null ? 0 : readIpAddress(addresses.ip, from);
  const localFamily = addresses === null ? 0 : readIpAddress(addresses.localIp, to);
  const known = addresses !== null && family !== 0;
  // A client of a unix socket has connected to no IP address.
  if (localFamily === 0) to.fill(0).set(family === 4 ? [0, 0, 0, 0, 0, 0xffff] : []);
  // Both must be of one family; IPv4 can be written as IPv6.
  const ipv4 = family === 4 && localFamily !== 6;
  if (version === 1) {
    if (!known) return asciiBytes("PROXY UNKNOWN\r\n");
    const ips = ipv4
      ? `TCP4 ${addressText(from)} ${addressText(to)}`
      : `TCP6 ${ipv6Text(from)} ${ipv6Text(to)}`;
    return asciiBytes(`PROXY ${ips} ${addresses.port} ${addresses.localPort}\r\n`);
  }
  const size = !known ? 0 : ipv4 ? 4 : 16;
  const header = new Uint8Array(V2_FIXED_BYTES + (known ? 2 * size + 4 : 0));
  header.set(V2_START);
  header[12] = 0x20 | (addresses === null ? LOCAL : PROXY);
  if (!known) return header;
  const view = new DataView(header.buffer);
  header[13] = ipv4 ? TCP4 : TCP6;
  view.setUint16(14, header.length - V2_FIXED_BYTES);
  for (let i = 0; i < size / 2; i++) {
    view.setUint16(V2_FIXED_BYTES + 2 * i, from[8 - size / 2 + i]!);
    view.setUint16(V2_FIXED_BYTES + size + 2 * i, to[8 - size / 2 + i]!);
  }
  view.setUint16(header.length - 4, addresses.port);
  view.setUint16(header.length - 2, addresses.localPort);
  return header;
}

function startsWith(bytes: Bytes, filled: number, start: Uint8Array): boolean {
  const length = Math.min(filled, start.length);
  for (let i = 0; i < length; i++) if (bytes[i] !== start[i]) return false;
  return true;
}

/** The usual text of an address; IPv4-mapped IPv6 becomes IPv4. */
function addressText(hextets: Uint16Array): string {
  const mapped = hextets[5] === 0xffff && hextets.subarray(0, 5).every((hextet) => hextet === 0);
  if (!mapped) return ipv6Text(hextets);
  const high = hextets[6]!;
  const low = hextets[7]!;
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

function ipv6Text(hextets: Uint16Array): string {
  // The URL parser writes the shortest form of RFC 5952.
  return new URL(`http://[${Array.from(hextets, (one) => one.toString(16)).join(":")}]/`).hostname.slice(
    1,
    -1,
  );
}

function malformed(found: string): RequestError {
  return new RequestError(`The connection has no good PROXY header: ${found}`);
}
