/** What all requests of one proxy share. */

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

/** A pool at work. */
export interface PoolRuntime {
  readonly name: string;
  readonly balancer: LoadBalancer;
  /** What the balancer hashes; `null` when nothing is. */
  readonly key: CompiledKey | null;
  readonly transport: Transport;
  readonly timeouts: Timeouts;
  /** How much of a request's content is waited for before a server is chosen; 0 is nothing. */
  readonly bufferBytes: number;
  /** `null` where nothing is sent again. */
  readonly retries: RetryRuntime | null;
  /** How WebSockets are forwarded; `null` when they are not. */
  readonly webSocket: WebSocketRuntime | null;
  /** When a pool without a server may have one again, in seconds; tells clients when to come back. */
  readonly retryAfterSeconds: number;
  /** `null` where nobody wants to know, as of all meters. */
  readonly meter: PoolMeter | null;
}

/** Retries of a pool or a route. */
export interface RetryRuntime {
  readonly policy: RetryPolicy;
  /** `null` for any number. */
  readonly budget: RetryBudget | null;
}

/** WebSockets of a pool. */
export interface WebSocketRuntime extends ResolvedWebSocket {
  /** One that gives connections over. */
  readonly transport: Transport;
}

/** The limits at work. */
export interface Admission {
  readonly limiter: RateLimiter;
  readonly headers: LimitHeaders;
  readonly bodies: RefusalBodies;
}

/** A route at work. */
export interface RouteRuntime {
  readonly name: string;
  /** The pool of its requests; `null` when a split decides. */
  readonly pool: PoolRuntime | null;
  readonly split: Split<PoolRuntime> | null;
  /** What the split goes by; `null` for chance. */
  readonly splitKey: CompiledKey | null;
  readonly paths: PathMode;
  /** Whether the server gets the normal form of the path. */
  readonly normalized: boolean;
  readonly rewrite: RewriteFunction<RequestContext> | null;
  readonly admission: Admission | null;
  /** For each pool; `null` when the pools' own hold. */
  readonly timeouts: ReadonlyMap<PoolRuntime, Timeouts> | null;
  /** `undefined` when the pools' own hold, `null` where nothing is sent again. */
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

/** The access log at work. */
export interface AccessLogRuntime {
  readonly log: AccessLog;
  /** Names of the fields of requests that are logged. */
  readonly headers: readonly string[];
}

/** Traces at work. */
export interface TraceRuntime extends ResolvedTracing {
  /** Collects spans; `null` where the runtime does not, and requests only carry ids. */
  readonly tracer: Tracer | null;
  readonly random: Random;
}

/** One proxy: made once from a configuration, used by all of its requests. */
export interface ProxyRuntime {
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
  readonly pools: ReadonlyMap<string, PoolRuntime>;
  /** The members of each, for those who look at them from outside. */
  readonly members: ReadonlyMap<string, Pool>;
  readonly defaultPool: PoolRuntime;
  /** `null` when nothing bounds what the whole proxy works on. */
  readonly overload: OverloadLimit | null;
  /** `null` when nothing is limited. */
  readonly admission: Admission | null;
  readonly filters: Filters & RequestNaming;
  /** `null` when nobody is trusted to speak for others. */
  readonly trustedProxies: TrustedProxies | null;
  /** Which header fields tell servers who the client is. */
  readonly forwardedFields: ResolvedForwarded;
  /** By what requests are known that come back; `null` when that is not wanted. */
  readonly loopMark: LoopMark | null;
  /** `null` when there are none: everything goes to the default pool. */
  readonly routes: RouteTable | null;
  /** How paths are compared where there is no route. */
  readonly paths: PathMode;
  /** Whether servers get the normal form of the path where there is no route. */
  readonly normalized: boolean;
  /** Whether anything of the configuration looks at paths, so that it matters how they are written. */
  readonly looksAtPaths: boolean;
  readonly namedPeers: NamedPeers;
  readonly filterServices: FilterServices;
  readonly observer: Observer;
  /** `null` when requests are told to the observer alone. */
  readonly accessLog: AccessLogRuntime | null;
  /** Names of keys and fields whose values are not reported; `null` when all are. */
  readonly secrets: ReadonlySet<string> | null;
  /** How many requests have arrived. */
  readonly count: { arrived: number };
  readonly running: RunningRequests;
  /** Counts requests that no route takes. */
  readonly meter: RouteMeter | null;
  readonly policyMeters: PolicyMeters | null;
  /** `null` where nothing is traced. */
  readonly trace: TraceRuntime | null;
  /** Whether clients are told what took how long. */
  readonly serverTiming: boolean;
  readonly webSocketMeter: WebSocketMeter | null;
}

// Servers that `upstreamPeer` names outright, kept so that each has its connections.

/** A server that belongs to no pool. */
export interface NamedPeer {
  readonly peer: Peer;
  /** As it stands in the log. */
  readonly address: string;
}

/** What {@linkcode NamedPeers} takes. */
interface NamedPeersOptions {
  /** Told of a peer that is not kept any longer. */
  readonly onForget: (peer: Peer) => void;
  /** How many are kept; the one that was unused for longest goes first. @default {1000} */
  readonly maxPeers?: number;
}

/** Gives the same peer for the same options, because connections are kept by the peer. */
export class NamedPeers {
  readonly #peers = new Map<string, NamedPeer>();
  readonly #onForget: (peer: Peer) => void;
  readonly #maxPeers: number;

  constructor({ onForget, maxPeers = 1000 }: NamedPeersOptions) {
    this.#onForget = onForget;
    this.#maxPeers = maxPeers;
  }

  /**
   * The peer for what a filter returned.
   *
   * @throws {TypeError} when the address cannot be read
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
