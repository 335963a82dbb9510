/** What an operator says about servers that are found while the proxy runs. */

import type { Duration } from "../core/duration.ts";
import { parseDuration } from "../core/duration.ts";
import type { Discover } from "../upstream/discovery.ts";
import { dnsDiscovery, type DnsDiscoveryOptions } from "../upstream/dns_discovery.ts";
import type { ServerOptions } from "./server_options.ts";

/**
 * Finds the servers of a pool; the signal aborts when the time is up. A search that fails or finds nothing leaves the
 * servers as they are.
 */
export type FindServers = (signal: AbortSignal) => Promise<readonly (string | ServerOptions)[]>;

/** How often servers are looked for. */
export interface DiscoveryPacing {
  /** From the end of a search to the next one. @default {"30s"} */
  interval?: Duration;
  /** How long a search may take. @default {"5s"} */
  timeout?: Duration;
}

/** Servers by the DNS, or by a function that is called at an interval of its own. */
export type DiscoveryOptions =
  & DiscoveryPacing
  & (({ type: "dns" } & DnsDiscoveryOptions) | { type: "custom"; discover: FindServers });

/** Discovery, complete. */
export interface ResolvedDiscovery {
  /** Where servers are looked for, in words. */
  readonly source: string;
  readonly discover: Discover;
  readonly intervalMs: number;
  readonly timeoutMs: number;
}

/** Completes a discovery that is known to be good. */
export function resolveDiscovery(discovery: DiscoveryOptions | FindServers): ResolvedDiscovery {
  const options: DiscoveryOptions = typeof discovery === "function"
    ? { type: "custom", discover: discovery }
    : discovery;
  const { interval = "30s", timeout = "5s" } = options;
  return Object.freeze({
    source: describeSource(options),
    discover: options.type === "dns" ? dnsDiscovery(options) : options.discover as Discover,
    intervalMs: parseDuration(interval)!,
    timeoutMs: parseDuration(timeout)!,
  });
}

function describeSource(options: DiscoveryOptions): string {
  if (options.type === "custom") return "by a function";
  const { name, record, port, resolver } = options;
  const place = port === undefined ? "" : ` with port ${port}`;
  return `by ${record} records of ${name}${place}${resolver === undefined ? "" : ` from ${resolver}`}`;
}
