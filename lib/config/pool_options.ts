/** Pools: the destinations of requests. */

import { BALANCING_RULES, checkBalancing } from "./balancing_options.ts";
import { RETRIES } from "./retry_options.ts";
import { SERVER, TIMEOUTS, UPSTREAM_TLS } from "./server_options.ts";
import { checkTransport, TRANSPORT_RULES } from "../transport/select_transport.ts";
import { checkWebSocket, WEB_SOCKET } from "../transport/websocket/web_socket_options.ts";
import {
  type ResolvedSticky,
  resolveSticky,
  STICKY,
  type StickyOptions,
} from "../balancer/sticky_sessions.ts";
import {
  byName,
  byteSize,
  choose,
  isRecord,
  list,
  object,
  reject,
  type Report,
  type Rule,
  type Rules,
  within,
} from "../core/options.ts";
import { type ByteSize, parseByteSize, parseDuration } from "../core/units.ts";
import { findPeerProblem, resolvePeer, type UpstreamTlsOptions, type Way } from "../filter/resolve_peer.ts";
import { selectTransport, type TransportOptions, type TransportPlan } from "../transport/select_transport.ts";
import type { Timeouts } from "../transport/transport.ts";
import {
  type ResolvedWebSocket,
  resolveWebSocket,
  type WebSocketOptions,
} from "../transport/websocket/web_socket_options.ts";
import { formatAddress, parseAddress } from "../upstream/peer.ts";
import { type BalancingOptions, resolveBalancing, type ResolvedBalancing } from "./balancing_options.ts";
import { nearestName } from "../core/describe_value.ts";
import { resolveRetries, type RetryFunction, type RetryOptions, type RetryPolicy } from "./retry_options.ts";
import type { ResolvedServer, ServerOptions, TimeoutOptions } from "./server_options.ts";

/**
 * A group of servers that can replace each other.
 *
 * @example Two pools with options of their own
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: {
 *     web: { servers: ["127.0.0.1:9001", "127.0.0.1:9002"], balance: "least-connections" },
 *     api: { servers: ["127.0.0.1:9101"], timeouts: { response: "5s" }, retries: false },
 *   },
 *   routes: [{ match: { path: "/api/*" }, upstream: "api" }, { upstream: "web" }],
 * });
 * ```
 */
export interface PoolOptions extends TransportOptions, BalancingOptions {
  /** The servers: at least one, unless there is a `discovery`. @default {[]} */
  servers?: readonly (string | ServerOptions)[];
  /**
   * TLS to the servers; `true` uses the host of each address as server name.
   *
   * @default {on for an address that begins with "https://"}
   */
  tls?: boolean | UpstreamTlsOptions;
  /** Sends each client to the server of its first response again, by a cookie. @default {none} */
  sticky?: StickyOptions;
  /** Timeouts of exchanges with these servers. @default {{}} */
  timeouts?: TimeoutOptions;
  /** When a failed request is sent again, or a function that decides; `false` for never. @default {{}} */
  retries?: false | RetryOptions | RetryFunction;
  /**
   * Buffers the content of each request until it is complete or has this size, so that servers do not wait for slow
   * clients. Without it content is forwarded as it arrives.
   *
   * @default {none}
   */
  bufferRequests?: ByteSize;
  /** How WebSockets are forwarded; `false` refuses them with 501. @default {{}} */
  webSocket?: false | WebSocketOptions;
}

/** The servers of a pool without other options. */
export type PoolServers = readonly (string | ServerOptions)[];

/** Servers, one pool, or pools by name. */
export type Upstreams =
  | readonly (string | ServerOptions)[]
  | PoolOptions
  | Readonly<Record<string, readonly (string | ServerOptions)[] | PoolOptions>>;

/** A pool with every default filled in. */
export interface ResolvedPool {
  readonly name: string;
  readonly servers: readonly ResolvedServer[];
  readonly sticky: ResolvedSticky | null;
  readonly balancing: ResolvedBalancing;
  readonly timeouts: Timeouts;
  /** How much of a request's content is buffered before a server is chosen; 0 for none. */
  readonly bufferBytes: number;
  /** `null` if no request is retried. */
  readonly retries: RetryPolicy | null;
  /** `null` if WebSockets are not forwarded. */
  readonly webSocket: ResolvedWebSocket | null;
  readonly transport: TransportPlan;
  /** The configured way to the servers, for servers that are added at run time. */
  readonly way: Way;
}

function addressOf(server: unknown): string | undefined {
  const text = isRecord(server) ? server.address : server;
  return typeof text === "string" ? text : undefined;
}

const LIST = list(SERVER, 'an array of "host:port"', "an array of at least one server");

/** At least one server with a weight, and no server twice. */
const SERVERS: Rule = (value, report) => {
  LIST(value, report);
  if (!Array.isArray(value) || value.length === 0) return;
  if (value.every((server) => isRecord(server) && server.weight === 0)) {
    report("must have a server with a weight above 0");
  }
  const seen = new Map<string, number>();
  value.forEach((server, index) => {
    const parsed = parseAddress(addressOf(server) ?? "");
    if (parsed === undefined) return;
    const id = formatAddress(parsed.address).toLowerCase();
    const first = seen.get(id);
    if (first === undefined) return void seen.set(id, index);
    report(`is the same server as [${first}]`, index);
  });
};

const POOL_RULES: Rules<PoolOptions> = {
  servers: SERVERS,
  tls: UPSTREAM_TLS,
  sticky: STICKY,
  timeouts: TIMEOUTS,
  bufferRequests: byteSize(1, 64 * 1024 * 1024),
  retries: RETRIES,
  webSocket: WEB_SOCKET,
  ...BALANCING_RULES,
  ...TRANSPORT_RULES,
};

/** Names of the options of a pool. */
export const POOL_KEYS: readonly string[] = Object.freeze(Object.keys(POOL_RULES));

/** Finds servers whose address contradicts the options of the way to them; ignores other problems. */
function checkPeers(servers: unknown, way: Way, report: Report): void {
  if (!Array.isArray(servers)) return;
  servers.forEach((server: unknown, index: number) => {
    const parsed = parseAddress(addressOf(server) ?? "");
    if (parsed === undefined) return;
    const message = findPeerProblem(parsed, isRecord(server) ? server.tls : undefined, way);
    if (message !== undefined) report(message, index);
  });
}

/** A pool with its options. */
const POOL = object<PoolOptions>(POOL_RULES, 'an object with "servers"', {
  check(pool, report) {
    checkBalancing(pool, report);
    checkTransport(pool, report);
    checkWebSocket(pool, report);
    checkPeers(pool.servers, pool as Way, within(report, "servers"));
  },
  otherNames: {
    servers: ["backends", "targets", "upstreams", "peers", "to"],
    balance: ["lbPolicy", "policy", "strategy", "algorithm", "loadBalancing", "method"],
    healthCheck: ["healthChecks", "activeHealthCheck", "check", "httpchk"],
    timeouts: ["timeout"],
    sticky: ["stickySessions", "cookie", "affinity"],
    retries: ["retry", "proxyNextUpstream"],
    ejection: ["outlierDetection", "circuitBreaker", "passiveHealthCheck"],
    connections: ["keepAlive", "keepalive", "pool"],
  },
});

/** The servers of a pool without options. */
const SERVERS_ONLY: Rule = (value, report) => {
  SERVERS(value, report);
  checkPeers(value, {}, report);
};

/** The pool for requests without another destination. */
export const DEFAULT_POOL = "default";

/**
 * Whether an object is one pool, not pools by name: it has an option of pools, or a misspelt option of pools whose
 * value is not a pool.
 */
export function isSinglePool(value: Readonly<Record<string, unknown>>): boolean {
  return Object.entries(value).some(([key, entry]) => {
    if (isRecord(entry) && (Object.hasOwn(entry, "servers") || Object.hasOwn(entry, "discovery"))) {
      return false;
    }
    return POOL_KEYS.includes(key) || nearestName(key, POOL_KEYS) !== undefined;
  });
}

/** Names of inherited members of objects. */
const RESERVED: readonly string[] = ["__proto__", "prototype", "constructor"];

const NAMED = byName(
  choose((value) => Array.isArray(value) ? SERVERS_ONLY : POOL),
  "pools by name",
  (name) => {
    if (RESERVED.includes(name)) return "is not a name for a pool";
    if (/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name)) return undefined;
    return 'is not a name for a pool: letters, digits, "-", "_" and "." are';
  },
);

/** Servers, one pool, or pools by name. */
export const UPSTREAMS: Rule = (value: unknown, report: Report): void => {
  if (Array.isArray(value)) return SERVERS_ONLY(value, report);
  if (!isRecord(value)) {
    return reject(value, 'an array of "host:port", an object with "servers", or either by name', report);
  }
  if (Object.keys(value).length === 0) return report("must have at least one pool");
  return (isSinglePool(value) ? POOL : NAMED)(value, report);
};

/** Pools by name, and the pool for requests without another destination. */
interface ResolvedUpstreams {
  readonly pools: ReadonlyMap<string, ResolvedPool>;
  readonly defaultPool: string;
}

/** Fills in the defaults of validated upstreams. */
export function resolveUpstreams(upstreams: Upstreams): ResolvedUpstreams {
  const named = poolsByName(upstreams);
  const pools = new Map(named.map(([name, options]) => [name, resolvePool(name, options)]));
  const defaultPool = pools.has(DEFAULT_POOL) ? DEFAULT_POOL : named[0]![0];
  return { pools, defaultPool };
}

function poolsByName(upstreams: Upstreams): [string, PoolOptions][] {
  if (isServers(upstreams)) return [[DEFAULT_POOL, { servers: upstreams }]];
  if (isSinglePool(upstreams as Record<string, unknown>)) return [[DEFAULT_POOL, upstreams as PoolOptions]];
  return Object.entries(upstreams as Record<string, PoolServers | PoolOptions>)
    .map(([name, pool]) => [name, isServers(pool) ? { servers: pool } : pool]);
}

function isServers(upstreams: Upstreams): upstreams is PoolServers {
  return Array.isArray(upstreams);
}

function resolvePool(name: string, options: PoolOptions): ResolvedPool {
  const { servers = [], tls, protocol = "http1", proxy, sticky, webSocket } = options;
  const timeouts = resolveTimeouts(options.timeouts);
  const { transport = "auto", sendProxyProtocol, bufferRequests } = options;
  const way: Way = Object.freeze({ tls, transport, protocol, proxy, sendProxyProtocol });
  return Object.freeze({
    name,
    servers: Object.freeze(servers.map((server) => completeServer(server, way))),
    balancing: resolveBalancing(options, timeouts.totalMs),
    sticky: sticky === undefined ? null : resolveSticky(sticky),
    timeouts,
    bufferBytes: bufferRequests === undefined ? 0 : parseByteSize(bufferRequests)!,
    retries: resolveRetries(options.retries),
    webSocket: webSocket === false ? null : resolveWebSocket(webSocket),
    transport: selectTransport(options),
    way,
  });
}

function completeServer(server: string | ServerOptions, way: Way): ResolvedServer {
  const options = typeof server === "string" ? { address: server } : server;
  const { address, tls, weight = 1, backup = false, tags = [], maxInFlight = Infinity } = options;
  const peer = resolvePeer(address, tls, way);
  const id = formatAddress(peer.address);
  return Object.freeze({ id, peer, weight, backup, tags: Object.freeze([...tags]), maxInFlight });
}

function resolveTimeouts(timeouts: TimeoutOptions = {}): Timeouts {
  const { connect = "3s", tls = connect, response = "30s", idle = "60s", total } = timeouts;
  return Object.freeze({
    connectMs: parseDuration(connect)!,
    tlsMs: parseDuration(tls)!,
    responseMs: parseDuration(response)!,
    idleMs: parseDuration(idle)!,
    eventStreamIdleMs: timeouts.idle === undefined ? Infinity : parseDuration(timeouts.idle)!,
    totalMs: total === undefined ? Infinity : parseDuration(total)!,
  });
}
