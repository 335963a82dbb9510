/** The configuration as written by an operator, and in its resolved form. */

import type { ListenOptions } from "./listen_options.ts";
import type { Duration } from "../core/units.ts";
import type { Filters, RequestNaming } from "../filter/filters.ts";
import type { RequestContext } from "../filter/request_context.ts";
import type { ForwardedOptions, ResolvedForwarded } from "../http/proxy_fields.ts";
import type { TrustedProxies, TrustedProxiesOptions } from "../http/trusted_proxies.ts";
import type { LimiterPolicy, ResolvedPolicy } from "../limiter/policy.ts";
import type { AccessLogOptions, ResolvedAccessLog } from "../observe/access_log_options.ts";
import type { PathForward, PathMode } from "../routing/route_match.ts";
import type { Pool } from "../upstream/pool.ts";
import type { AdminOptions, ResolvedAdmin } from "./admin_options.ts";
import type { ResolvedListen } from "./listen_options.ts";
import type { ResolvedPool, Upstreams } from "./pool_options.ts";
import type {
  OverloadOptions,
  ResolvedOverload,
  ResolvedRollback,
  ResolvedTracing,
  RollbackOptions,
  TracingOptions,
} from "./process_options.ts";
import type { ResolvedRoute, RouteOptions } from "./route_options.ts";

/**
 * Returns the configuration unchanged. It lets an editor complete and check it, and gives `ctx.state` in filters the
 * type of the result of `newContext`.
 *
 * Write `newContext` above the filters that use its state: types are inferred from top to bottom.
 *
 * @example In proxy.config.ts
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001", "127.0.0.1:9002"],
 *   newContext: () => ({ beta: false }),
 *   requestFilter(request, ctx) {
 *     ctx.state.beta = request.headers.has("x-beta");
 *   },
 * });
 * ```
 */
export function defineConfig<State = unknown>(config: ProxyConfig<State>): ProxyConfig<State> {
  return config;
}

/** Receives the listen addresses, and the pools. */
type OnListen = (addresses: readonly string[], pools: ReadonlyMap<string, Pool>) => void;

/**
 * A configuration: the named exports of `proxy.config.ts`, or its default export made by `defineConfig`.
 *
 * `State` is the type of the result of `newContext`.
 */
export interface ProxyConfig<State = unknown> extends Filters<State> {
  /**
   * Listen addresses: `"host:port"`, `"unix:/path"`, a port, an object with options, or an array of these.
   *
   * @default {"0.0.0.0:6188"}
   */
  listen?: string | number | ListenOptions | readonly (string | number | ListenOptions)[];
  /** The servers that requests are forwarded to. */
  upstreams: Upstreams;
  /** How many requests a client may send: one policy, or several that all must admit a request. @default {none} */
  limiter?: LimiterPolicy<RequestContext<State>> | readonly LimiterPolicy<RequestContext<State>>[];
  /**
   * Destinations of requests, tried in order; a request that no route matches gets 404.
   *
   * @default {everything goes to the only pool, or the one named `default`}
   */
  routes?: readonly RouteOptions<State>[];
  /** How paths are compared with those of routes and filters; a route may override it. @default {"normalize"} */
  paths?: PathMode;
  /** The path for servers; not `"normalized"` if paths are `"raw"`. @default {"received"} */
  forward?: "received" | "normalized";
  /**
   * Filter sets. Requests pass them after the top-level filters of the configuration, responses before them.
   *
   * @default {[]}
   */
  filters?: readonly Filters<State>[];
  /**
   * Called when the proxy accepts connections, with its addresses as `host:port`, and its pools by name, whose servers
   * can be changed from then on. The proxy does not wait for it; errors that it throws are logged.
   *
   * @default {none}
   */
  onListen?: (addresses: readonly string[], pools: ReadonlyMap<string, Pool>) => void;
  /**
   * Proxies in front of this one that are trusted to name the client, and the field in which they do; an array means
   * `X-Forwarded-For`.
   *
   * @default {[]}
   */
  trustedProxies?: readonly string[] | TrustedProxiesOptions;
  /** Header fields that inform servers about the client. @default {{}} */
  forwarded?: ForwardedOptions;
  /** Maximum number of requests in the whole proxy at once; further requests wait or get 503. @default {no bound} */
  overload?: OverloadOptions;
  /** Which requests are traced; `true` for the defaults. @default {false} */
  tracing?: boolean | TracingOptions;
  /** Sends clients the time of queue, connecting, server and proxy in `Server-Timing`. @default {false} */
  serverTiming?: boolean;
  /**
   * Fields, format and destination of the access log; `false` logs nothing.
   *
   * @default {by the program: text on stdout; by `serve`: nothing}
   */
  accessLog?: false | AccessLogOptions;
  /**
   * Counts requests, servers, limits and connections for `metrics()`; `false` leaves out the counts that cost time
   * for each request.
   *
   * @default {true}
   */
  metrics?: boolean;
  /**
   * Address of the admin listener: `"host:port"`, `"unix:/path"`, a port of `127.0.0.1`, `true` for `"127.0.0.1:6189"`,
   * or an object with tokens for changes.
   *
   * @default {nowhere}
   */
  admin?: string | number | boolean | AdminOptions;
  /** How long running requests may take to finish after the proxy begins to stop. @default {"30s"} */
  gracePeriod?: Duration;
  /**
   * How long open WebSockets and other upgraded connections may stay open after the proxy begins to stop, or after
   * a reload; then both sides get close code 1001.
   *
   * @default {"5s"}
   */
  webSocketGrace?: Duration;
  /**
   * How long the proxy still accepts requests after it begins to stop, while `/readyz` responds 503; load balancers in
   * front need this time to notice.
   *
   * @default {0}
   */
  shutdownDelay?: Duration;
  /** When the proxy returns to the previous configuration after a reload. @default {never} */
  rollback?: RollbackOptions;
  /**
   * How many processes serve requests at the same addresses, 1 to 32, or `"auto"` for one per core; only for the
   * program `lbproxy`, on Linux. They share limits, health, loads and metrics like one proxy.
   *
   * @default {1}
   */
  workers?: number | "auto";
}

/** A configuration with every default filled in, for the layers above. */
export interface ResolvedConfig {
  readonly listen: readonly ResolvedListen[];
  readonly pools: ReadonlyMap<string, ResolvedPool>;
  /** The pool for requests that no filter sends elsewhere. */
  readonly defaultPool: string;
  readonly limiter: readonly ResolvedPolicy[];
  readonly filters: Filters & RequestNaming;
  /** The sets in `filters`: the top-level filters of the configuration first. */
  readonly filterSets: readonly Filters[];
  /** `null` if no proxy is trusted. */
  readonly trustedProxies: TrustedProxies | null;
  readonly forwarded: ResolvedForwarded;
  readonly routes: readonly ResolvedRoute[];
  readonly paths: PathMode;
  readonly forward: PathForward;
  readonly onListen: OnListen | null;
  /** `null` if nothing is limited. */
  readonly overload: ResolvedOverload | null;
  /** `null` if nothing is traced. */
  readonly tracing: ResolvedTracing | null;
  readonly serverTiming: boolean;
  /** `null` if not configured, `false` for no access log. */
  readonly accessLog: ResolvedAccessLog | false | null;
  /** Whether requests are counted. */
  readonly metrics: boolean;
  /** `null` without an admin listener. */
  readonly admin: ResolvedAdmin | null;
  readonly gracePeriodMs: number;
  readonly webSocketGraceMs: number;
  readonly shutdownDelayMs: number;
  /** `null` if there is no rollback. */
  readonly rollback: ResolvedRollback | null;
  /** Number of processes that serve requests, in addition to the supervisor; 1 for a single process without one. */
  readonly workers: number;
}
