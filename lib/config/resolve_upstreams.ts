/** Completes pools and their servers. */

import { resolveSticky } from "../balancer/sticky_sessions.ts";
import { parseByteSize } from "../core/byte_size.ts";
import { parseDuration } from "../core/duration.ts";
import { selectTransport } from "../transport/select_transport.ts";
import type { Timeouts } from "../transport/transport.ts";
import { resolveWebSocket } from "../transport/websocket/web_socket_options.ts";
import { formatAddress } from "../upstream/address.ts";
import { resolveRetries } from "./retry_options.ts";
import type { PoolOptions, PoolServers, ResolvedPool, Upstreams } from "./proxy_config.ts";
import type { ResolvedServer, ServerOptions, TimeoutOptions } from "./server_options.ts";
import { resolveBalancing } from "./resolve_balancing.ts";
import { resolvePeer, type Way } from "../filter/resolve_peer.ts";
import { DEFAULT_POOL, isSinglePool } from "./schema/upstreams_schema.ts";

/** Pools by name, and the one that takes what nothing sends elsewhere. */
interface ResolvedUpstreams {
  readonly pools: ReadonlyMap<string, ResolvedPool>;
  readonly defaultPool: string;
}

/** Completes upstreams that are known to be good. */
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
  const { servers = [], tls, protocol, proxy, sticky, webSocket } = options;
  const timeouts = resolveTimeouts(options.timeouts);
  const { transport, sendProxyProtocol, bufferRequests } = options;
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
