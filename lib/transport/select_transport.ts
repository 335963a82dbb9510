/** The transport of a pool: its options, and which one they mean. */

import { type Duration, DURATION_EXPECTED, parseDuration } from "../core/units.ts";
import type { ConnectionLimits } from "./http1/http1_transport.ts";
import type { Http2Limits } from "./http2/connection_group.ts";
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
  /**
   * With `protocol: "h2"`: most requests at the same time on one connection; a server may allow fewer. As many connections are opened
   * as that takes, so that `maxInFlight` limits them as well. @default {100}
   */
  maxStreams?: number;
}

/** By which transport and protocol a pool's servers get requests. */
export interface TransportOptions {
  /**
   * `"http1"`: the proxy's own client, which changes nothing on the way. `"fetch"`: the runtime's. `"auto"`: the proxy's own
   * for the protocol, and `"fetch"` for what only that can: `proxy`. @default {"auto"}
   */
  transport?: "auto" | "http1" | "fetch";
  /**
   * `"h2"` is HTTP/2 without asking, by the proxy's own client: by ALPN with TLS, by prior knowledge without. gRPC needs it, and it
   * passes trailers both ways. @default {"http1"}
   */
  protocol?: "http1" | "h2";
  /** A proxy on the way to the servers: `"http://host:port"` or `"socks5://host:port"`, with `user:password@` or without. */
  proxy?: string;
  /** Limits of the connections to each server. */
  connections?: ConnectionOptions;
  /**
   * Begins each connection with a header of the PROXY protocol, version 1 (text) or 2 (binary), which says who the client is.
   * A connection then serves one client alone; those of checks say that they are the proxy's own. Not by `"fetch"`.
   *
   * @default {none}
   */
  sendProxyProtocol?: ProxyProtocolVersion;
}

/** The same, complete. */
export type TransportPlan = Http1Plan | Http2Plan | FetchPlan;

/** By the proxy's own client. */
interface Http1Plan {
  readonly kind: "http1";
  readonly connections: Readonly<Required<ConnectionLimits>>;
}

/** By the proxy's own client of HTTP/2. */
interface Http2Plan {
  readonly kind: "h2";
  readonly connections: Readonly<Http2Limits>;
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
  if (transport !== "http1") return null;
  if (proxy !== undefined) {
    return 'must not be "http1" where there is a "proxy", which takes "fetch"; leave it out or set it to "fetch"';
  }
  return protocol === "h2" ? 'must not be "http1" where "protocol" is "h2"; leave it out' : null;
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
  const { maxIdle = 256, idleTimeout = "4s", maxStreams = 100 } = connections;
  const idleTimeoutMs = milliseconds("idleTimeout", idleTimeout);
  const kept = Object.freeze({ maxIdle, idleTimeoutMs });
  if (transport === "fetch" || proxy !== undefined) {
    const through = proxy === undefined ? null : completeProxy(proxy);
    return Object.freeze({ kind: "fetch", protocol, proxy: through, connections: kept });
  }
  if (protocol === "http1") return Object.freeze({ kind: "http1", connections: kept });
  return Object.freeze({ kind: "h2", connections: Object.freeze({ ...kept, maxStreams }) });
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
