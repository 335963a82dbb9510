/** Access by the network of the client. */

import { list } from "../core/options.ts";
import { type Filters, named } from "../filter/filters.ts";
import { CIDR, CidrList } from "../http/ip_address.ts";
import { checkFilter, refuse } from "./filter_support.ts";

const CIDRS = list(CIDR, 'an array such as ["10.0.0.0/8", "::1"]');

/**
 * Allows only clients in the networks; others get 403.
 *
 * The client is `ctx.client`: behind other proxies set `trustedProxies`, otherwise it is the nearest proxy. Clients on
 * a unix socket have no address, and a client unknown to a trusted proxy is `"unknown"`; both are refused.
 *
 * @param networks addresses and networks, such as `"192.0.2.1"`, `"10.0.0.0/8"`, `"2001:db8::/32"`; IPv4 includes IPv4
 * written as IPv6
 * @throws {TypeError} when an entry is neither an address nor a network
 *
 * @example
 * ```ts
 * import { defineConfig, ipAllow } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   filters: [ipAllow(["10.0.0.0/8", "::1"])],
 * });
 * ```
 */
export function ipAllow(networks: readonly string[]): Filters {
  checkFilter("ipAllow", CIDRS, networks, "the networks");
  const allowed = new CidrList(networks);
  return named("ipAllow", {
    requestFilter: (_request, { client }) =>
      allowed.has(client.ip) ? undefined : refuse(403, "The address of the client is not allowed"),
  });
}

/**
 * Refuses clients in the networks with 403.
 *
 * The client is `ctx.client`: behind other proxies set `trustedProxies`, otherwise it is the nearest proxy. Clients on
 * a unix socket have no address, and a client unknown to a trusted proxy is `"unknown"`; both are allowed.
 *
 * @param networks addresses and networks, such as `"192.0.2.1"`, `"10.0.0.0/8"`, `"2001:db8::/32"`; IPv4 includes IPv4
 * written as IPv6
 * @throws {TypeError} when an entry is neither an address nor a network
 *
 * @example
 * ```ts
 * import { defineConfig, ipDeny } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   filters: [ipDeny(["203.0.113.0/24"])],
 * });
 * ```
 */
export function ipDeny(networks: readonly string[]): Filters {
  checkFilter("ipDeny", CIDRS, networks, "the networks");
  const denied = new CidrList(networks);
  return named("ipDeny", {
    requestFilter: (_request, { client }) =>
      denied.has(client.ip) ? refuse(403, "The address of the client is not allowed") : undefined,
  });
}
