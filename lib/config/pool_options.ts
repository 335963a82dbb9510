/** Pools: what requests can be sent to. */

import { type ResolvedSticky, resolveSticky, type StickyOptions } from "../balancer/sticky_sessions.ts";
import { type ByteSize, parseByteSize, parseDuration } from "../core/units.ts";
import { findPeerProblem, resolvePeer, type UpstreamTlsOptions, type Way } from "../filter/resolve_peer.ts";
import { selectTransport, type TransportOptions, type TransportPlan } from "../transport/select_transport.ts";
import type { Timeouts } from "../transport/transport.ts";
import {
  type ResolvedWebSocket,
  resolveWebSocket,
  type WebSocketOptions,
} from "../transport/websocket/web_socket_options.ts";
import { formatAddress, parseAddress } from "../upstream/address.ts";
import * as v from "valibot";
import {
  balancingEntries,
  type BalancingOptions,
  checkBalancing,
  resolveBalancing,
  type ResolvedBalancing,
} from "./balancing_options.ts";
import { nearestName } from "./nearest_name.ts";
import {
  resolveRetries,
  retriesSchema,
  type RetryFunction,
  type RetryOptions,
  type RetryPolicy,
} from "./retry_options.ts";
import { byteSizeSchema, isRecord, mustBe, optionsObject, pathItem } from "./schema/schemas.ts";
import { stickySchema } from "./schema/sticky_schema.ts";
import { checkTransport, transportEntries } from "./schema/transport_schema.ts";
import { checkWebSocket, webSocketSchema } from "./schema/web_socket_schema.ts";
import {
  type ResolvedServer,
  type ServerOptions,
  serverSchema,
  type TimeoutOptions,
  timeoutsSchema,
  tlsSchema,
} from "./server_options.ts";

/** A group of servers that can stand in for each other. */
export interface PoolOptions extends TransportOptions, BalancingOptions {
  /** At least one, each of them once; not needed where there is a `discovery`. */
  servers?: readonly (string | ServerOptions)[];
  /** TLS towards the servers; `true` takes the host of each address as its name. @default {false} */
  tls?: boolean | UpstreamTlsOptions;
  /** Ties each client to the server that responded first, by a cookie; without it nobody is tied. */
  sticky?: StickyOptions;
  /** How long exchanges with these servers may take. */
  timeouts?: TimeoutOptions;
  /** When a request that failed is sent again, or a function that decides; `false` for never. */
  retries?: false | RetryOptions | RetryFunction;
  /**
   * Holds the content of each request back until it is whole, or has this size, so that no server waits for a slow client.
   * Without it content goes on as it comes.
   *
   * @default {none}
   */
  bufferRequests?: ByteSize;
  /** How WebSockets are forwarded; `false` refuses them with 501. */
  webSocket?: false | WebSocketOptions;
}

/** Servers of a pool that has no other options. */
export type PoolServers = readonly (string | ServerOptions)[];

/** Servers, one pool, or pools by name. */
export type Upstreams = PoolServers | PoolOptions | Readonly<Record<string, PoolServers | PoolOptions>>;

/** A pool, complete. */
export interface ResolvedPool {
  readonly name: string;
  readonly servers: readonly ResolvedServer[];
  readonly sticky: ResolvedSticky | null;
  readonly balancing: ResolvedBalancing;
  readonly timeouts: Timeouts;
  /** How much of a request's content is waited for before a server is chosen; 0 is nothing. */
  readonly bufferBytes: number;
  /** `null` where nothing is sent again. */
  readonly retries: RetryPolicy | null;
  /** `null` where WebSockets are not forwarded. */
  readonly webSocket: ResolvedWebSocket | null;
  readonly transport: TransportPlan;
  /** The way to the servers as configured, for those that are added while the proxy runs. */
  readonly way: Way;
}

const POOL_EXPECTED = 'an object with "servers"';

function addressOf(server: unknown): string | undefined {
  const text = isRecord(server) ? server.address : server;
  return typeof text === "string" ? text : undefined;
}

function weightOf(server: unknown): unknown {
  return isRecord(server) ? server.weight : 1;
}

/** Servers that are there at all, each of them once. */
const serversSchema: v.GenericSchema = v.pipe(
  v.array(serverSchema, mustBe('an array of "host:port"')),
  v.minLength(1, mustBe("an array of at least one server")),
  v.rawCheck(({ dataset, addIssue }) => {
    const servers: unknown = dataset.value;
    if (!Array.isArray(servers) || servers.length === 0) return;
    if (servers.every((server) => weightOf(server) === 0)) {
      addIssue({ message: "must have a server with a weight above 0" });
    }
    const seen = new Map<string, number>();
    servers.forEach((server, index) => {
      const parsed = parseAddress(addressOf(server) ?? "");
      if (parsed === undefined) return;
      const id = formatAddress(parsed.address).toLowerCase();
      const first = seen.get(id);
      if (first === undefined) return void seen.set(id, index);
      addIssue({ message: `is the same server as [${first}]`, path: [pathItem(servers, index)] });
    });
  }),
);

/** Options of a pool that make sense one by one. */
export const poolEntries = {
  servers: v.optional(serversSchema),
  tls: v.optional(tlsSchema),
  sticky: v.optional(stickySchema),
  timeouts: v.optional(timeoutsSchema),
  bufferRequests: v.optional(byteSizeSchema(1, 64 * 1024 * 1024)),
  retries: v.optional(retriesSchema),
  webSocket: v.optional(webSocketSchema),
  ...balancingEntries,
  ...transportEntries,
} satisfies Record<keyof PoolOptions, v.GenericSchema>;

/**
 * Finds servers whose address and the way to them contradict each other; looks past whatever else is wrong.
 *
 * @param below what the servers are in, when that is what is checked
 */
function checkPeers(
  servers: unknown,
  way: Way,
  addIssue: v.RawCheckContext<unknown>["addIssue"],
  below?: v.IssuePathItem,
): void {
  if (!Array.isArray(servers)) return;
  servers.forEach((server: unknown, index: number) => {
    const parsed = parseAddress(addressOf(server) ?? "");
    if (parsed === undefined) return;
    const message = findPeerProblem(parsed, isRecord(server) ? server.tls : undefined, way);
    if (message === undefined) return;
    const item = pathItem(servers, index);
    addIssue({ message, path: below === undefined ? [item] : [below, item] });
  });
}

/** Servers that are a pool without options. */
const bareServersSchema: v.GenericSchema = v.pipe(
  serversSchema,
  v.rawCheck(({ dataset, addIssue }) => checkPeers(dataset.value, {}, addIssue)),
);

/** A pool with its options. */
const poolSchema: v.GenericSchema = v.pipe(
  optionsObject(poolEntries, POOL_EXPECTED),
  v.rawCheck(({ dataset: { value }, addIssue }) => {
    if (!isRecord(value)) return;
    checkBalancing(value, addIssue);
    checkTransport(value, addIssue);
    checkWebSocket(value, addIssue);
    checkPeers(value.servers, value, addIssue, pathItem(value, "servers"));
  }),
);

const POOL_KEYS = Object.keys(poolEntries);
const POOL_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;

/** Names that the schema of records passes by, so that nothing looks at what stands there. */
const PASSED_BY: ReadonlySet<string> = new Set(["__proto__", "prototype", "constructor"]);

/** The pool of requests that nothing sends elsewhere. */
export const DEFAULT_POOL = "default";

/**
 * Whether an object is one pool and not pools by name: it has an option of pools, or a key that is a misspelt one
 * and does not hold a pool.
 */
export function isSinglePool(value: Readonly<Record<string, unknown>>): boolean {
  return Object.entries(value).some(([key, entry]) => {
    if (isRecord(entry) && (Object.hasOwn(entry, "servers") || Object.hasOwn(entry, "discovery"))) {
      return false;
    }
    return POOL_KEYS.includes(key) || nearestName(key, POOL_KEYS) !== undefined;
  });
}

const namedPoolsSchema = v.pipe(
  v.unknown(),
  v.rawCheck(({ dataset: { value }, addIssue }) => {
    if (!isRecord(value)) return;
    for (const name of Object.keys(value).filter((each) => PASSED_BY.has(each))) {
      addIssue({ message: "is not a name for a pool", path: [pathItem(value, name)] });
    }
  }),
  v.record(
    v.pipe(
      v.string(),
      v.regex(POOL_NAME, 'is not a name for a pool: letters, digits, "-", "_" and "." are'),
    ),
    v.lazy((input) => Array.isArray(input) ? bareServersSchema : poolSchema),
  ),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!isRecord(dataset.value)) return;
    const names = Object.keys(dataset.value);
    if (names.length === 0) addIssue({ message: "must have at least one pool" });
  }),
);

const otherwiseSchema = v.custom(
  () => false,
  mustBe('an array of "host:port", an object with "servers", or either by name'),
);

/** Servers, one pool, or pools by name. */
export const upstreamsSchema: v.GenericSchema = v.lazy((input) => {
  if (Array.isArray(input)) return bareServersSchema;
  if (!isRecord(input)) return otherwiseSchema;
  return isSinglePool(input) ? poolSchema : namedPoolsSchema;
});

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
