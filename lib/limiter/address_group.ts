/** One client, one key: the network that an address belongs to. */

import { makeHextets, readIpAddress } from "../http/ip_address.ts";

/**
 * The text that stands for everybody in the same network as the address.
 *
 * An IPv4 address stands for itself, also when it is written as IPv6. An IPv6 address stands for its first
 * `ipv6Prefix` bits, because whoever has one usually has the whole network to choose from. What is no address stands
 * for itself.
 */
export function addressGroup(address: string, ipv6Prefix: number): string {
  if (address.indexOf(":") < 0) return address;
  const hextets = makeHextets();
  const version = readIpAddress(address, hextets);
  if (version === 0) return address;
  if (version === 4) {
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
