/** Finds addresses that were meant to be IPv4 and are not. */

const OCTET = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const IPV4 = new RegExp(`^(?:${OCTET}\\.){3}${OCTET}$`);

/**
 * Whether a host is made of numbers without being an IPv4 address: `10.0.0.256`, `10.0.0`, `010.0.0.1`.
 *
 * Resolvers read some of these as other addresses than their author meant.
 */
export function isBrokenIpv4(hostname: string): boolean {
  return /^[\d.]+$/.test(hostname) && !IPV4.test(hostname);
}
