/** Finds servers by DNS records. */

import { formatAddress } from "./address.ts";
import type { Discover } from "./discovery.ts";
import type { ServerSpec } from "./server_spec.ts";

/** Which records to ask for. */
export interface DnsDiscoveryOptions {
  /** The name of the records, such as `"api.internal"` or `"_http._tcp.api.internal"`. */
  name: string;
  /** Kind of record: addresses, or SRV with host, port, weight and priority. */
  record: "A" | "AAAA" | "SRV";
  /** Port of the servers; required for A and AAAA, not used for SRV. */
  port?: number;
  /** Name server to ask, `"ip"` or `"ip:port"`. @default {those of the system} */
  resolver?: string;
}

/** Asks a name server. */
type Ask = (signal: AbortSignal) => Promise<ServerSpec[]>;

/**
 * Makes a function that finds servers by DNS records.
 *
 * SRV records (RFC 2782) with the lowest priority are primary servers, all others are backups; weight 0 counts
 * as 1.
 *
 * @throws {TypeError} when the port is missing or the resolver is invalid
 */
export function dnsDiscovery({ name, record, port, resolver }: DnsDiscoveryOptions): Discover {
  const nameServer = nameServerOf(resolver);
  if (record === "SRV") return askSrv(name, nameServer);
  if (port === undefined) {
    throw new TypeError(`Cannot discover servers by ${record} records: "port" is missing`);
  }
  return askAddresses(name, record, port, nameServer);
}

type NameServer = Pick<Deno.ResolveDnsOptions, "nameServer">;

function askAddresses(name: string, record: "A" | "AAAA", port: number, nameServer: NameServer): Ask {
  return async (signal) => {
    const hostnames = await Deno.resolveDns(name, record, { ...nameServer, signal });
    // Name servers shuffle the records: sorted, the same records give the same list.
    return distinct(hostnames).map((hostname) => ({
      address: formatAddress({ kind: "tcp", hostname, port }),
    }));
  };
}

function askSrv(name: string, nameServer: NameServer): Ask {
  return async (signal) => {
    const records = await Deno.resolveDns(name, "SRV", { ...nameServer, signal });
    const best = Math.min(...records.map(({ priority }) => priority));
    const servers = records.map(({ target, port, weight, priority }): ServerSpec => ({
      address: formatAddress({ kind: "tcp", hostname: target.replace(/\.$/, ""), port }),
      weight: Math.max(1, weight),
      backup: priority > best,
    }));
    return [...new Map(servers.map((server) => [server.address, server])).values()]
      .sort((a, b) => a.address < b.address ? -1 : 1);
  };
}

function distinct(texts: readonly string[]): string[] {
  return [...new Set(texts)].sort();
}

/** The form of a resolver, for error messages. */
export const RESOLVER_EXPECTED = 'a resolver such as "10.0.0.53:53"';

/** Reads the address of a name server, `"ip"` or `"ip:port"`; `undefined` for any other text. */
export function parseResolver(resolver: string): { ipAddr: string; port: number } | undefined {
  const match = /^(?:\[([\da-f:]+)\]|([\d.]+))(?::(\d+))?$|^([\da-f:]+)$/i.exec(resolver);
  if (match === null) return undefined;
  return { ipAddr: (match[1] ?? match[2] ?? match[4])!, port: Number(match[3] ?? 53) };
}

function nameServerOf(resolver: string | undefined): NameServer {
  if (resolver === undefined) return {};
  const nameServer = parseResolver(resolver);
  if (nameServer !== undefined) return { nameServer };
  throw new TypeError(
    `Cannot discover servers: expected ${RESOLVER_EXPECTED}, received ${JSON.stringify(resolver)}`,
  );
}
