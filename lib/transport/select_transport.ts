/** The transport of a pool: its options, and how it is chosen. */

import {
  DURATION_ABOVE_0,
  must,
  object,
  type Report,
  type Rule,
  type Rules,
  type Unchecked,
  wholeOrInfinity,
  word,
} from "../core/options.ts";
import { type Duration, parseDuration } from "../core/units.ts";
import type { ConnectionLimits } from "./http1/http1_transport.ts";
import type { Http2Limits } from "./http2/connection_group.ts";
import { expectedProxy, type OutboundProxy, parseProxy, PROXY_EXPECTED } from "./outbound_proxy.ts";

/** Names of the transports. */
const TRANSPORT_NAMES = ["auto", "http1", "fetch"] as const;
/** Names of the protocols that transports speak. */
const PROTOCOL_NAMES = ["http1", "h2"] as const;

/** Limits of the connections to each server. */
type ConnectionOptions = NonNullable<TransportOptions["connections"]>;

/** Transport and protocol for the servers of a pool. */
export interface TransportOptions {
  /**
   * `"http1"`: the proxy's own client, which changes nothing. `"fetch"`: the client of the runtime. `"auto"`: the
   * proxy's own client, but `"fetch"` where `proxy` is set, which only `"fetch"` supports.
   *
   * @default {"auto"}
   */
  transport?: "auto" | "http1" | "fetch";
  /**
   * `"h2"` is always HTTP/2: the servers must speak it, with TLS (ALPN) or without (prior knowledge). gRPC needs it.
   *
   * @default {"http1"}
   */
  protocol?: "http1" | "h2";
  /**
   * A proxy before the servers: `"http://host:port"` or `"socks5://host:port"`, with or without `user:password@`.
   *
   * @default {none}
   */
  proxy?: string;
  /** Limits of the connections to each server. @default {{}} */
  connections?: {
    /** Most idle connections that are kept. @default {256} */
    maxIdle?: number;
    /** How long an idle connection is kept; many servers close theirs after 5 s. @default {"4s"} */
    idleTimeout?: Duration;
    /**
     * With `protocol: "h2"`: most requests at the same time on one connection; a server may allow fewer. The proxy
     * opens as many connections as the requests need, so `maxInFlight` limits them too. @default {100}
     */
    maxStreams?: number;
  };
  /**
   * Sends a header of the PROXY protocol first on each connection, version 1 (text) or 2 (binary), with the address
   * of the client. Each connection then serves only one client; health checks send the address of the proxy. Not with
   * `"fetch"`.
   *
   * @default {none}
   */
  sendProxyProtocol?: 1 | 2;
}

/** The options in resolved form. */
export type TransportPlan = Http1Plan | Http2Plan | FetchPlan;

/** With the proxy's HTTP/1.1 client. */
interface Http1Plan {
  readonly kind: "http1";
  readonly connections: Readonly<Required<ConnectionLimits>>;
}

/** With the proxy's HTTP/2 client. */
interface Http2Plan {
  readonly kind: "h2";
  readonly connections: Readonly<Http2Limits>;
}

/** With the `fetch` of the runtime. */
interface FetchPlan {
  readonly kind: "fetch";
  readonly protocol: "http1" | "h2";
  readonly proxy: OutboundProxy | null;
  readonly connections: Readonly<Required<Pick<ConnectionLimits, "maxIdle" | "idleTimeoutMs">>>;
}

/** Removed options, and what replaces them. */
const REMOVED: Readonly<Record<string, string>> = {
  maxConnections:
    '"maxInFlight" of a server, or of the pool, limits its requests and with them its connections',
  maxQueue: 'requests wait in the "queue" of the pool, and its "size" is how many',
  queueTimeout: 'requests wait in the "queue" of the pool, and its "timeout" is how long',
};

const CONNECTIONS: Rule = object<ConnectionOptions>(
  {
    maxIdle: wholeOrInfinity(0),
    idleTimeout: DURATION_ABOVE_0,
    maxStreams: wholeOrInfinity(1),
  },
  'an object with "maxIdle", "idleTimeout" and "maxStreams"',
  {
    explain: (name) =>
      Object.hasOwn(REMOVED, name) ? `is not an option any more: ${REMOVED[name]}` : undefined,
  },
);

/** Options of a pool for the transport to its servers. */
export const TRANSPORT_RULES: Rules<TransportOptions> = {
  transport: word(TRANSPORT_NAMES),
  protocol: word(PROTOCOL_NAMES),
  proxy: must(
    (value) => typeof value === "string" && expectedProxy(value) === undefined,
    (value) => (typeof value === "string" ? expectedProxy(value) : undefined) ?? PROXY_EXPECTED,
  ),
  sendProxyProtocol: must((value) => value === 1 || value === 2, "1 or 2"),
  connections: CONNECTIONS,
};

/** Reports options of a pool that contradict each other. */
export function checkTransport(pool: Unchecked<TransportOptions>, report: Report): void {
  const { transport, protocol, proxy, sendProxyProtocol, connections } = pool;
  const byFetch = transport === "fetch"
    ? '"transport" is "fetch"'
    : proxy === undefined
    ? null
    : 'there is a "proxy"';
  if (sendProxyProtocol !== undefined && byFetch !== null) {
    report(`must not stand where ${byFetch}: "fetch" sends no PROXY headers`, "sendProxyProtocol");
  }
  const { maxStreams } = (connections ?? {}) as ConnectionOptions;
  if (maxStreams !== undefined && (protocol !== "h2" || byFetch !== null)) {
    report(
      'must not have "maxStreams" unless "protocol" is "h2", without "fetch" or a "proxy"',
      "connections",
    );
  }
  if (transport !== "http1") return;
  if (proxy !== undefined) {
    report(
      'must not be "http1" where there is a "proxy", which takes "fetch"; leave it out or set it to "fetch"',
      "transport",
    );
  } else if (protocol === "h2") {
    report('must not be "http1" where "protocol" is "h2"; leave it out', "transport");
  }
}

/** Chooses the transport and fills in the defaults of validated options. */
export function selectTransport(options: Readonly<TransportOptions> = {}): TransportPlan {
  const { transport = "auto", protocol = "http1", proxy, connections = {} } = options;
  const { maxIdle = 256, idleTimeout = "4s", maxStreams = 100 } = connections;
  const kept = Object.freeze({ maxIdle, idleTimeoutMs: parseDuration(idleTimeout)! });
  if (transport === "fetch" || proxy !== undefined) {
    const through = proxy === undefined ? null : parseProxy(proxy)!;
    return Object.freeze({ kind: "fetch", protocol, proxy: through, connections: kept });
  }
  if (protocol === "http1") return Object.freeze({ kind: "http1", connections: kept });
  return Object.freeze({ kind: "h2", connections: Object.freeze({ ...kept, maxStreams }) });
}
