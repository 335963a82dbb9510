/** The parts that all requests of one proxy share. */

import type { LoadBalancer } from "../balancer/load_balancer.ts";
import type { Split } from "../balancer/fnv_hash.ts";
import type { ResolvedTracing } from "../config/process_options.ts";
import type { RetryPolicy } from "../config/retry_options.ts";
import type { Clock } from "../core/clock.ts";
import type { DeadlineWheel } from "../core/cancellation.ts";
import type { Random } from "../core/random.ts";
import type { Filters, RequestNaming } from "../filter/filters.ts";
import type { FilterServices, RequestContext } from "../filter/request_context.ts";
import { checkedPeer, type PeerOptions } from "../filter/resolve_peer.ts";
import type { LoopMark, ResolvedForwarded } from "../http/proxy_fields.ts";
import type { TrustedProxies } from "../http/trusted_proxies.ts";
import type { CompiledKey } from "../limiter/key_spec.ts";
import type { LimitHeaders, RefusalBodies } from "../limiter/limit_headers.ts";
import type { RateLimiter } from "../limiter/limiter.ts";
import type { AccessLog } from "../observe/access_log.ts";
import type { PolicyMeters, PoolMeter, RouteMeter, WebSocketMeter } from "../observe/metrics/meters.ts";
import type { Observer } from "../observe/observer.ts";
import type { Tracer } from "../observe/tracer.ts";
import type { RewriteFunction } from "../routing/rewrite.ts";
import type { RouteFinder } from "../routing/route_finder.ts";
import type { PathMode } from "../routing/route_match.ts";
import type { Timeouts, Transport } from "../transport/transport.ts";
import type { ResolvedWebSocket } from "../transport/websocket/web_socket_options.ts";
import { formatAddress, type Peer } from "../upstream/peer.ts";
import type { Pool } from "../upstream/pool.ts";
import type { OverloadLimit, RetryBudget, RunningRequests } from "./overload_limit.ts";

/** A pool with its running parts. */
export interface PoolRuntime {
  readonly name: string;
  readonly balancer: LoadBalancer;
  /** The key that the balancer hashes; `null` for none. */
  readonly key: CompiledKey | null;
  readonly transport: Transport;
  readonly timeouts: Timeouts;
  /** How many bytes of a request's content are awaited before a server is selected; 0 for none. */
  readonly bufferBytes: number;
  /** `null` for no retries. */
  readonly retries: RetryRuntime | null;
  /** How WebSockets are forwarded; `null` when they are not. */
  readonly webSocket: WebSocketRuntime | null;
  /** When a pool without a server may have one again, in seconds; clients get it as `Retry-After`. */
  readonly retryAfterSeconds: number;
  /** `null` without metrics, like all meters. */
  readonly meter: PoolMeter | null;
}

/** Retries of a pool or a route. */
export interface RetryRuntime {
  readonly policy: RetryPolicy;
  /** `null` for no limit. */
  readonly budget: RetryBudget | null;
}

/** WebSockets of a pool. */
export interface WebSocketRuntime extends ResolvedWebSocket {
  /** A transport that supports switching protocols. */
  readonly transport: Transport;
}

/** The limiter with its response fields. */
export interface Admission {
  readonly limiter: RateLimiter;
  readonly headers: LimitHeaders;
  readonly bodies: RefusalBodies;
}

/** A route with its running parts. */
export interface RouteRuntime {
  readonly name: string;
  /** The pool of its requests; `null` when a split decides. */
  readonly pool: PoolRuntime | null;
  readonly split: Split<PoolRuntime> | null;
  /** The key of the split; `null` for a random choice. */
  readonly splitKey: CompiledKey | null;
  readonly paths: PathMode;
  /** Whether the server gets the normal form of the path. */
  readonly normalized: boolean;
  readonly rewrite: RewriteFunction<RequestContext> | null;
  readonly admission: Admission | null;
  /** For each pool; `null` when those of the pools apply. */
  readonly timeouts: ReadonlyMap<PoolRuntime, Timeouts> | null;
  /** `undefined` when those of the pools apply, `null` for no retries. */
  readonly retries: RetryRuntime | null | undefined;
  readonly filters: Filters & RequestNaming;
  readonly newContext: Filters["newContext"] | null;
  readonly meter: RouteMeter | null;
}

/** All routes of a proxy. */
export interface RouteTable {
  readonly finder: RouteFinder;
  /** In the order of the configuration. */
  readonly routes: readonly RouteRuntime[];
}

/** The access log with its options. */
export interface AccessLogRuntime {
  readonly log: AccessLog;
  /** Names of the request fields that are logged. */
  readonly headers: readonly string[];
}

/** Tracing with its options. */
export interface TraceRuntime extends ResolvedTracing {
  /** Collects spans; `null` when the runtime does not, and requests only carry ids. */
  readonly tracer: Tracer | null;
  readonly random: Random;
}

/** One proxy: made once from a configuration, used by all of its requests. */
export interface ProxyRuntime {
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
  readonly pools: ReadonlyMap<string, PoolRuntime>;
  /** The members of each pool, for use outside of requests. */
  readonly members: ReadonlyMap<string, Pool>;
  readonly defaultPool: PoolRuntime;
  /** `null` without an overload limit. */
  readonly overload: OverloadLimit | null;
  /** `null` when nothing is limited. */
  readonly admission: Admission | null;
  readonly filters: Filters & RequestNaming;
  /** `null` without trusted proxies. */
  readonly trustedProxies: TrustedProxies | null;
  /** Which header fields inform servers about the client. */
  readonly forwardedFields: ResolvedForwarded;
  /** Recognises requests that return to this proxy; `null` when disabled. */
  readonly loopMark: LoopMark | null;
  /** `null` without routes: all requests use the default pool. */
  readonly routes: RouteTable | null;
  /** How paths are compared without a route. */
  readonly paths: PathMode;
  /** Whether servers get the normal form of the path without a route. */
  readonly normalized: boolean;
  /** Whether the configuration uses paths, so that their notation matters. */
  readonly looksAtPaths: boolean;
  readonly namedPeers: NamedPeers;
  readonly filterServices: FilterServices;
  readonly observer: Observer;
  /** `null` when only the observer receives requests. */
  readonly accessLog: AccessLogRuntime | null;
  /** Names of keys and fields whose values are not reported; `null` when all are. */
  readonly secrets: ReadonlySet<string> | null;
  /** How many requests have arrived; and the number of the process if there are several. */
  readonly count: { arrived: number; readonly process?: number };
  readonly running: RunningRequests;
  /** Counts requests that no route matches. */
  readonly meter: RouteMeter | null;
  readonly policyMeters: PolicyMeters | null;
  /** `null` without tracing. */
  readonly trace: TraceRuntime | null;
  /** Whether responses get a `Server-Timing` field. */
  readonly serverTiming: boolean;
  readonly webSocketMeter: WebSocketMeter | null;
}

// Peers that `upstreamPeer` names directly, kept so that each keeps its connections.

/** A server that belongs to no pool. */
export interface NamedPeer {
  readonly peer: Peer;
  /** Its text in the log. */
  readonly address: string;
}

/** Options of {@linkcode NamedPeers}. */
interface NamedPeersOptions {
  /** Called with a peer that is no longer kept. */
  readonly onForget: (peer: Peer) => void;
  /** How many are kept; the least recently used one is removed first. @default {1000} */
  readonly maxPeers?: number;
}

/** Returns the same peer for the same options, because connections are kept per peer. */
export class NamedPeers {
  readonly #peers = new Map<string, NamedPeer>();
  readonly #onForget: (peer: Peer) => void;
  readonly #maxPeers: number;

  constructor({ onForget, maxPeers = 1000 }: NamedPeersOptions) {
    this.#onForget = onForget;
    this.#maxPeers = maxPeers;
  }

  /**
   * The peer for the result of a filter.
   *
   * @throws {TypeError} when the address is invalid
   */
  get(options: PeerOptions): NamedPeer {
    const key = JSON.stringify([options.address, options.tls]);
    let named = this.#peers.get(key);
    if (named === undefined) {
      const peer = checkedPeer(options.address, options.tls);
      named = { peer, address: formatAddress(peer.address) };
    } else {
      this.#peers.delete(key);
    }
    this.#peers.set(key, named);
    if (this.#peers.size > this.#maxPeers) this.#forgetOldest();
    return named;
  }

  #forgetOldest(): void {
    for (const [key, { peer }] of this.#peers) {
      this.#peers.delete(key);
      this.#onForget(peer);
      return;
    }
  }
}
