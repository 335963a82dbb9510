/**
 * A rate-limited, load-balanced HTTP reverse proxy that is configured by code.
 *
 * As a program: `deno run -A jsr:@x/lbproxy proxy.config.ts`. As a library: {@linkcode serve} starts a proxy from the
 * same configuration, and {@linkcode createHandler} makes a handler for your own `Deno.serve`.
 *
 * @example
 * ```ts
 * import { defineConfig, serve } from "@x/lbproxy";
 * import { assertEquals } from "@std/assert";
 *
 * await using upstream = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () => new Response("hello"));
 *
 * const config = defineConfig({
 *   listen: "127.0.0.1:0",
 *   upstreams: [`127.0.0.1:${upstream.addr.port}`],
 *   limiter: { key: "header:appid", limit: 1, window: "1m" },
 * });
 * await using proxy = await serve(config);
 *
 * const ask = async () => {
 *   const response = await fetch(`http://${proxy.addresses[0]}/`, { headers: { appid: "myclient" } });
 *   await response.body?.cancel();
 *   return response.status;
 * };
 * assertEquals([await ask(), await ask()], [200, 429]);
 * ```
 *
 * @module
 */

export { createHandler, type ProxyHandler } from "./lib/server/create_handler.ts";
export { type ProxyServer, serve } from "./lib/server/serve.ts";
export type { ServeOptions } from "./lib/server/serve_options.ts";
export type { RunningProxy } from "./lib/server/running_proxy.ts";
export type { ReloadOutcome } from "./lib/server/generations.ts";
export type { ConfigurationInfo } from "./lib/admin/admin_target.ts";
export { RateLimiter, type RateLimiterOptions, type ServeSource } from "./lib/server/rate_limiter.ts";
export type { LimitControl, PolicyStatus } from "./lib/limiter/limit_control.ts";
export type { RedisStoreOptions } from "./lib/limiter/redis_store_options.ts";
export { ListenError } from "./lib/engine/engine.ts";
export { defineConfig, type ProxyConfig } from "./lib/config/proxy_config.ts";
export { ConfigError, type ConfigProblem } from "./lib/config/config_error.ts";
export type { ListenOptions } from "./lib/config/listen_options.ts";
export type { PoolOptions, Upstreams } from "./lib/config/pool_options.ts";
export type { AdminOptions } from "./lib/config/admin_options.ts";
export type {
  CertificateOptions,
  ClientCertificateOptions,
  ListenTlsOptions,
} from "./lib/config/listen_tls.ts";
export type { ClientCertificate } from "./lib/http/client_certificate.ts";
export type { DiscoveryOptions, ServerOptions, TimeoutOptions } from "./lib/config/server_options.ts";
export type { OverloadOptions, RollbackOptions, TracingOptions } from "./lib/config/process_options.ts";
export type { RetryFunction, RetryOptions } from "./lib/config/retry_options.ts";
export type { BalancingOptions } from "./lib/config/balancing_options.ts";
export type { Awaitable, Filters, ProxyResponse, UpstreamRequest } from "./lib/filter/filters.ts";
export type { PeerOptions, UpstreamTlsOptions } from "./lib/filter/resolve_peer.ts";
export type { RequestContext } from "./lib/filter/request_context.ts";
export { basicAuth, type BasicAuthOptions } from "./lib/filters/basic_auth.ts";
export { bearerAuth, type BearerAuthOptions, type JwtOptions } from "./lib/filters/bearer_auth.ts";
export { compress, type CompressOptions } from "./lib/filters/compress.ts";
export { cors, type CorsOptions } from "./lib/filters/cors.ts";
export { ipAllow, ipDeny } from "./lib/filters/ip_filter.ts";
export { maxBodySize } from "./lib/filters/max_body_size.ts";
export { mirror, type MirrorOptions } from "./lib/filters/mirror.ts";
export { redirect, type RedirectOptions, rewritePath } from "./lib/filters/redirect_and_rewrite.ts";
export {
  removeHeaders,
  securityHeaders,
  type SecurityHeadersOptions,
  setHeaders,
  type SetHeadersOptions,
} from "./lib/filters/headers.ts";
export { requestId, type RequestIdOptions } from "./lib/filters/request_id.ts";
export { simulate, type SimulateOptions, type SimulationResult } from "./lib/simulator/simulate.ts";
export type { SimulatedRequest } from "./lib/simulator/simulated_request.ts";
export type { ForwardedOptions } from "./lib/http/proxy_fields.ts";
export type { TrustedProxiesOptions } from "./lib/http/trusted_proxies.ts";
export type { RouteOptions } from "./lib/config/route_options.ts";
export type { PathMode, RouteMatch } from "./lib/routing/route_match.ts";
export type { RewriteOptions } from "./lib/routing/rewrite.ts";
export { HeaderFields } from "./lib/http/header_fields.ts";
export { LoadBalancer, type LoadBalancerOptions } from "./lib/balancer/load_balancer.ts";
export type { StickyOptions } from "./lib/balancer/sticky_sessions.ts";
export type { BalanceName } from "./lib/balancer/create_algorithm.ts";
export type { QueueOptions } from "./lib/balancer/waiting_line.ts";
export type { EjectionOptions } from "./lib/health/ejection_options.ts";
export type { HttpCheckRequest } from "./lib/health/http_check.ts";
export type { SlowStartOptions } from "./lib/health/slow_start.ts";
export { Lease } from "./lib/core/cancellation.ts";
export { Server } from "./lib/upstream/server.ts";
export type { Address, Peer, ServerSpec } from "./lib/upstream/peer.ts";
export { Pool } from "./lib/upstream/pool.ts";
export type { TransportOptions } from "./lib/transport/select_transport.ts";
export type { ActiveCheckOptions } from "./lib/health/health_check_options.ts";
export type { AllowedDecision, Decision, LimitedDecision } from "./lib/limiter/policy.ts";
export type { LimiterPolicy, ResolvedPolicy } from "./lib/limiter/policy.ts";
export type { PolicyDecision } from "./lib/limiter/policy.ts";
export type { KeySource, KeySpec } from "./lib/limiter/key_spec.ts";
export {
  ClientGoneError,
  FilterError,
  NoServerError,
  ProxyError,
  RequestError,
  UpstreamError,
  type UpstreamErrorCode,
} from "./lib/core/errors.ts";
export type { ByteSize, Duration } from "./lib/core/units.ts";
export type { WebSocketOptions } from "./lib/transport/websocket/web_socket_options.ts";
export type { Clock } from "./lib/core/clock.ts";
export type { AccessEntry, Observer, RequestLog } from "./lib/observe/observer.ts";
export type { ProxyEvent, ProxyEvents } from "./lib/observe/events.ts";
export { METRICS_TYPES, metricsFormat } from "./lib/observe/metrics/registry.ts";
export type { AccessLogOptions } from "./lib/observe/access_log_options.ts";

if (import.meta.main) {
  // Not awaited: otherwise a configuration that imports this module would wait for it, and this module for the
  // configuration.
  import("./lib/cli/run.ts").then(({ run }) => run(Deno.args));
}
