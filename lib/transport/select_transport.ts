/** The transport of a pool: its options, and which one they mean. */

import { type Duration, DURATION_EXPECTED, parseDuration } from "../core/duration.ts";
import type { ConnectionLimits } from "./http1/connection_pool.ts";
import type { ProxyProtocolVersion } from "../upstream/peer.ts";
import { type OutboundProxy, parseProxy, PROXY_EXPECTED } from "./outbound_proxy.ts";

/** Names of the transports. */
export const TRANSPORT_NAMES = ["auto", "http1", "fetch"] as const;
/** Names of the protocols that transports speak. */
export const PROTOCOL_NAMES = ["http1", "h2"] as const;

/** How many connections each server gets, and for how long. */
export interface ConnectionOptions {
  /** Most connections that are kept for later. @default {256} */
  maxIdle?: number;
  /** How long one is kept; a little below the 5 s after which many servers close theirs. @default {"4s"} */
  idleTimeout?: Duration;
}

/** By which transport and protocol a pool's servers get requests. */
export interface TransportOptions {
  /**
   * `"http1"`: the proxy's own client, which changes nothing on the way. `"fetch"`: the runtime's. `"auto"`: `"http1"`,
   * and `"fetch"` for what only that can: `protocol: "h2"` and `proxy`. @default {"auto"}
   */
  transport?: "auto" | "http1" | "fetch";
  /** `"h2"` is HTTP/2 without asking: by ALPN with TLS, by prior knowledge without. @default {"http1"} */
  protocol?: "http1" | "h2";
  /** A proxy on the way to the servers: `"http://host:port"` or `"socks5://host:port"`, with `user:password@` or without. */
  proxy?: string;
  /** Limits of the connections to each server. */
  connections?: ConnectionOptions;
  /**
   * Begins each connection with a header of the PROXY protocol, version 1 (text) or 2 (binary), which says who the client is.
   * A connection then serves one client alone; those of checks say that they are the proxy's own. By `"http1"` only.
   *
   * @default {none}
   */
  sendProxyProtocol?: ProxyProtocolVersion;
}

/** The same, complete. */
export type TransportPlan = Http1Plan | FetchPlan;

/** By the proxy's own client. */
interface Http1Plan {
  readonly kind: "http1";
  readonly connections: Readonly<Required<ConnectionLimits>>;
}

/** By the runtime's `fetch`. */
interface FetchPlan {
  readonly kind: "fetch";
  readonly protocol: "http1" | "h2";
  readonly proxy: OutboundProxy | null;
  readonly connections: Readonly<Required<Pick<ConnectionLimits, "maxIdle" | "idleTimeoutMs">>>;
}

/**
 * Says what is wrong with the option `transport`, to be read after its name; `null` when nothing is.
 *
 * Mistakes within one option are reported elsewhere.
 */
export function findTransportProblem(options: Readonly<TransportOptions>): string | null {
  const { transport = "auto", protocol, proxy } = options;
  const needsFetch = protocol === "h2"
    ? '"protocol" is "h2"'
    : proxy === undefined
    ? null
    : 'there is a "proxy"';
  if (transport !== "http1" || needsFetch === null) return null;
  return `must not be "http1" where ${needsFetch}, which takes "fetch"; leave it out or set it to "fetch"`;
}

/**
 * Chooses the transport and completes its options.
 *
 * @throws {TypeError} when an option cannot be read, or two contradict each other
 */
export function selectTransport(options: Readonly<TransportOptions> = {}): TransportPlan {
  const problem = findTransportProblem(options);
  if (problem !== null) throw new TypeError(`Cannot select a transport: "transport" ${problem}`);
  const { transport = "auto", protocol = "http1", proxy, connections = {} } = options;
  const { maxIdle = 256, idleTimeout = "4s" } = connections;
  const idleTimeoutMs = milliseconds("idleTimeout", idleTimeout);
  const kept = Object.freeze({ maxIdle, idleTimeoutMs });
  if (transport === "fetch" || protocol === "h2" || proxy !== undefined) {
    const through = proxy === undefined ? null : completeProxy(proxy);
    return Object.freeze({ kind: "fetch", protocol, proxy: through, connections: kept });
  }
  return Object.freeze({ kind: "http1", connections: kept });
}

function completeProxy(text: string): OutboundProxy {
  const proxy = parseProxy(text);
  if (proxy !== undefined) return proxy;
  throw new TypeError(`Cannot select a transport: "proxy" must be ${PROXY_EXPECTED}`);
}

function milliseconds(option: string, value: Duration): number {
  const ms = parseDuration(value);
  if (ms !== undefined) return ms;
  const received = JSON.stringify(value);
  throw new TypeError(
    `Cannot select a transport: "connections.${option}" must be ${DURATION_EXPECTED}, received ${received}`,
  );
}
