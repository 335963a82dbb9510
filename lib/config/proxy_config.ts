/** What an operator writes, and what the proxy makes of it. */

import type { ResolvedSticky, StickyOptions } from "../balancer/sticky_sessions.ts";
import type { ByteSize } from "../core/byte_size.ts";
import type { Duration } from "../core/duration.ts";
import type { ForwardedOptions, ResolvedForwarded } from "../http/forwarded.ts";
import type { Underscores } from "../http/screen_fields.ts";
import type { TrustedProxies, TrustedProxiesOptions } from "../http/trusted_proxies.ts";
import type { LimiterPolicy, ResolvedPolicy } from "../limiter/policy.ts";
import type { AccessLogOptions, ResolvedAccessLog } from "../observe/access_log_options.ts";
import type { Pool } from "../upstream/pool.ts";
import type { PathForward, PathMode } from "../routing/route_match.ts";
import type { TransportOptions, TransportPlan } from "../transport/select_transport.ts";
import type { Timeouts } from "../transport/transport.ts";
import type { ResolvedWebSocket, WebSocketOptions } from "../transport/websocket/web_socket_options.ts";
import type { AdminOptions, ResolvedAdmin } from "./admin_options.ts";
import type { ListenTlsOptions, ResolvedListenTls } from "./listen_tls.ts";
import type { OverloadOptions, ResolvedOverload } from "./overload_options.ts";
import type { ResolvedRollback, RollbackOptions } from "./rollback_options.ts";
import type { RetryFunction, RetryOptions, RetryPolicy } from "./retry_options.ts";
import type { ClientLimitOptions, ClientLimits } from "./client_limits.ts";
import type { ResolvedTracing, TracingOptions } from "./tracing_options.ts";
import type { BalancingOptions, ResolvedBalancing } from "./balancing_options.ts";
import type { Filters, RequestNaming } from "../filter/filters.ts";
import type { ResolvedServer, ServerOptions, TimeoutOptions } from "./server_options.ts";
import type { ResolvedRoute, RouteOptions } from "./route_options.ts";
import type { RequestContext } from "../filter/request_context.ts";
import type { UpstreamTlsOptions, Way } from "../filter/resolve_peer.ts";

export type { Underscores } from "../http/screen_fields.ts";

/** One place to listen at. */
export interface ListenOptions extends ClientLimitOptions {
  /** Address or name of this machine; `"0.0.0.0"` is every IPv4 address of it, `"::"` every address. @default {"0.0.0.0"} */
  hostname?: string;
  /** TCP port; 0 lets the system choose. @default {6188} */
  port?: number;
  /** Speaks TLS to clients, HTTP/2 and HTTP/1.1 as they choose. */
  tls?: ListenTlsOptions;
  /** Path of a unix socket, in place of `hostname` and `port`; one that nobody listens at any more is replaced. */
  unix?: string;
  /**
   * Sends every client to the same URL with `https` instead of forwarding anything: `"https"`, or `"https:PORT"` where
   * clients reach the TLS listener at another port than 443. Not with `tls`.
   */
  redirect?: "https" | `https:${number}`;
  /**
   * What becomes of fields of requests that have an underscore in their names. Servers behind CGI and its heirs (WSGI,
   * PHP) take `X_Api_Key` for `X-Api-Key`, so that a client could say by the one what a filter has checked or taken off
   * by the other.
   *
   * - `"drop"`: they are not there for anybody: neither keys, routes and filters nor servers, as in nginx;
   * - `"refuse"`: 400;
   * - `"pass"`: they are fields like others. No server may take them for other ones then.
   *
   * @default {"drop"}
   */
  underscores?: Underscores;
  /**
   * Lets other processes listen at the same address, which have to say so too: a new one takes over before the old one stops.
   * The system spreads connections over them. For Linux, with `--unstable-net`. @default {false}
   */
  reusePort?: boolean;
  /**
   * Who talks to clients: `"http1"`, the proxy's own server of HTTP/1.1 and HTTP/2; `"deno"`, the runtime's; `"auto"`, which is
   * the proxy's own. @default {"auto"}
   */
  engine?: EngineName;
  /**
   * Load balancers in front, which say in a header of the PROXY protocol (version 1 or 2) who their client is. It has to be
   * the first that they send on each connection; of others nothing of the kind is taken.
   */
  proxyProtocol?: ProxyProtocolOptions;
  /**
   * Whether clients may speak HTTP/2 without TLS, from the first byte on (RFC 9113 section 3.3); by the engine `"http1"`
   * alone. Of TLS `tls.http2` says it.
   *
   * @default {false}
   */
  http2?: boolean;
}

/** Whose PROXY headers count. */
export interface ProxyProtocolOptions {
  /** Addresses, networks, `"loopback"`, `"private"`, or `"unix"` for whoever comes over a unix socket. */
  from: readonly string[];
}

/** Names of the engines, which talk to clients. */
export const ENGINE_NAMES: readonly EngineName[] = ["auto", "http1", "deno"];
/** Name of one of them. */
export type EngineName = "auto" | "http1" | "deno";

/** `"host:port"`, a port, or the object form. */
export type Listen = string | number | ListenOptions;

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

/** Learns where the proxy listens, and gets hold of its pools. */
export type OnListen = (addresses: readonly string[], pools: ReadonlyMap<string, Pool>) => void;

/** Servers of a pool that has no other options. */
export type PoolServers = readonly (string | ServerOptions)[];

/** Servers, one pool, or pools by name. */
export type Upstreams = PoolServers | PoolOptions | Readonly<Record<string, PoolServers | PoolOptions>>;

/**
 * A configuration: the named exports of `proxy.config.ts`, or its default export made by `defineConfig`.
 *
 * `State` is what `newContext` returns.
 */
export interface ProxyConfig<State = unknown> extends Filters<State> {
  /** Where to listen. @default {"0.0.0.0:6188"} */
  listen?: Listen | readonly Listen[];
  /** Where requests go. */
  upstreams: Upstreams;
  /** How often a client may ask: one policy, or several that all must admit a request. */
  limiter?: LimiterPolicy<RequestContext<State>> | readonly LimiterPolicy<RequestContext<State>>[];
  /** Which requests go where, tried in order; 404 for what none takes. @default {everything goes to the only pool, or the one named `default`} */
  routes?: readonly RouteOptions<State>[];
  /** How paths are compared with those of routes and filters; a route may have another way. @default {"normalize"} */
  paths?: PathMode;
  /** Which path servers get; not `"normalized"` where paths are `"raw"`. @default {"received"} */
  forward?: PathForward;
  /** Filter sets that run after the phases of the configuration itself, on the way back before them. @default {[]} */
  filters?: readonly Filters<State>[];
  /**
   * Called once the proxy accepts connections, with its addresses as `host:port`, and its pools by name, whose servers
   * can be changed from then on. Nobody waits for it; what it throws, or rejects with, is reported.
   */
  onListen?: OnListen;
  /**
   * Proxies in front of this one that are trusted to name the client, and the field that they name it in; an array is
   * those who say it in `X-Forwarded-For`. @default {[]}
   */
  trustedProxies?: readonly string[] | TrustedProxiesOptions;
  /** Which fields tell servers who asked. */
  forwarded?: ForwardedOptions;
  /** What the whole proxy works on at most; more waits or gets 503. @default {no bound} */
  overload?: OverloadOptions;
  /** Which requests are traced; `true` for the defaults. @default {false} */
  tracing?: boolean | TracingOptions;
  /** Tells clients by `Server-Timing` how long queue, connecting, the server and the proxy itself took. @default {false} */
  serverTiming?: boolean;
  /** What of each request is logged, how, and where; `false` for nothing. @default {by the program: text on stdout; by `serve`: nothing} */
  accessLog?: false | AccessLogOptions;
  /** Counts requests, servers, limits and connections for `metrics()`; `false` leaves what costs something a request. @default {true} */
  metrics?: boolean;
  /**
   * Where the proxy is watched and steered: `"host:port"`, `"unix:/path"`, a port of `127.0.0.1`, `true` for `"127.0.0.1:6189"`,
   * or an object with tokens for changes.
   *
   * @default {nowhere}
   */
  admin?: string | number | boolean | AdminOptions;
  /** How long running requests may take to finish once the proxy is told to stop. @default {"30s"} */
  gracePeriod?: Duration;
  /**
   * How long open WebSockets, and other connections that were switched, may go on once the proxy is told to stop or another
   * configuration has taken over; both sides are told then (1001).
   *
   * @default {"5s"}
   */
  webSocketGrace?: Duration;
  /**
   * How long the proxy goes on to take requests once it is told to stop, while it says that it is not ready: for load
   * balancers in front, which have to notice.
   *
   * @default {0}
   */
  shutdownDelay?: Duration;
  /** When this configuration, loaded while the proxy runs, is given up again for the one before. @default {never} */
  rollback?: RollbackOptions;
  /**
   * How many processes serve requests at the same addresses, 1 to 32, or `"auto"` for one a core; only of the program, which
   * they load again, on Linux. Limits, health, loads and metrics are those of one proxy. @default {1}
   */
  workers?: number | "auto";
}

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

/** One place to listen at, complete. */
export interface ResolvedListen {
  readonly hostname: string;
  readonly port: number;
  /** None on a listener without TLS. */
  readonly tls?: ResolvedListenTls;
  /** Path of the socket, which takes the place of host and port. */
  readonly unix?: string;
  /** Port that clients are sent to; none on a listener that forwards. */
  readonly redirectPort?: number;
  /** What becomes of fields with underscores in their names; none where they are dropped. */
  readonly underscores?: Exclude<Underscores, "drop">;
  /** Whether clients may speak HTTP/2 without TLS; there only if they may. */
  readonly http2?: true;
  /** Who talks to clients. */
  readonly engine: "http1" | "deno";
  /** Whether other processes listen at the same address. */
  readonly reusePort?: true;
  /** What clients are allowed; of no meaning to `"deno"`. */
  readonly limits: ClientLimits;
  /** Whose PROXY headers count; none where nobody's do. */
  readonly proxyProtocol?: TrustedProxies;
}

/** A configuration with every default filled in; what the layers above work with. */
export interface ResolvedConfig {
  readonly listen: readonly ResolvedListen[];
  readonly pools: ReadonlyMap<string, ResolvedPool>;
  /** The pool of requests that no filter sends elsewhere. */
  readonly defaultPool: string;
  readonly limiter: readonly ResolvedPolicy[];
  readonly filters: Filters & RequestNaming;
  /** `null` when nobody is trusted to speak for others. */
  readonly trustedProxies: TrustedProxies | null;
  readonly forwarded: ResolvedForwarded;
  readonly routes: readonly ResolvedRoute[];
  readonly paths: PathMode;
  readonly forward: PathForward;
  readonly onListen: OnListen | null;
  /** `null` when nothing is bounded. */
  readonly overload: ResolvedOverload | null;
  /** `null` when nothing is traced. */
  readonly tracing: ResolvedTracing | null;
  readonly serverTiming: boolean;
  /** `null` where the configuration does not say, `false` for nothing. */
  readonly accessLog: ResolvedAccessLog | false | null;
  /** Whether requests are counted. */
  readonly metrics: boolean;
  /** `null` without an admin listener. */
  readonly admin: ResolvedAdmin | null;
  readonly gracePeriodMs: number;
  readonly webSocketGraceMs: number;
  readonly shutdownDelayMs: number;
  /** `null` where it is never given up. */
  readonly rollback: ResolvedRollback | null;
  /** How many processes serve requests beside the one that looks after them; 1 is that one alone. */
  readonly workers: number;
}
