/**
 * A rate-limited, load-balanced HTTP reverse proxy that is configured by code.
 *
 * As a program: `deno run -A jsr:@x/lbproxy proxy.config.ts`. As a library: {@linkcode serve} starts a proxy from
 * the same configuration, and {@linkcode createHandler} makes it a handler of one's own `Deno.serve`.
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
export type {
  RedisStoreOptions,
  RedisTlsOptions,
  ResolvedRedisStore,
  StoreErrorAction,
} from "./lib/limiter/redis_store_options.ts";
export { ListenError } from "./lib/engine/engine.ts";
export { defineConfig, type OnListen, type ProxyConfig } from "./lib/config/proxy_config.ts";
export { ConfigError, type ConfigProblem } from "./lib/config/config_error.ts";
export type { EngineName, Listen, ListenOptions, ProxyProtocolOptions } from "./lib/config/listen_options.ts";
export type { PoolOptions, PoolServers, Upstreams } from "./lib/config/pool_options.ts";
export type { Underscores } from "./lib/http/hop_by_hop.ts";
export type {
  AdminOptions,
  AdminTlsOptions,
  AdminToken,
  ReadinessOptions,
} from "./lib/config/admin_options.ts";
export type {
  CertificateLookup,
  CertificateOptions,
  ClientCertificateMode,
  ClientCertificateOptions,
  ListenTlsOptions,
  TlsVersion,
  UnknownNames,
  VerifyClientCertificate,
} from "./lib/config/listen_tls.ts";
export type { ClientCertificate } from "./lib/http/client_certificate.ts";
export type { ClientLimitOptions, ClientTimeoutOptions } from "./lib/config/client_limits.ts";
export type { ServerOptions, TimeoutOptions } from "./lib/config/server_options.ts";
export type {
  OverloadOptions,
  RollbackOptions,
  TraceTrust,
  TracingOptions,
} from "./lib/config/process_options.ts";
export type {
  BackoffOptions,
  RetryBudgetOptions,
  RetryFailure,
  RetryFunction,
  RetryOptions,
  RetryReason,
} from "./lib/config/retry_options.ts";
export type { BalancingOptions, ChoosePoolServer } from "./lib/config/balancing_options.ts";
export type { DiscoveryOptions, DiscoveryPacing, FindServers } from "./lib/config/discovery_options.ts";
export type { DnsDiscoveryOptions } from "./lib/upstream/dns_discovery.ts";
export type {
  Awaitable,
  FilteredContent,
  Filters,
  ProxyResponse,
  SizedContent,
  UpstreamRequest,
} from "./lib/filter/filters.ts";
export type { PeerOptions, UpstreamTlsOptions } from "./lib/filter/resolve_peer.ts";
export type {
  AttemptInfo,
  ClientInfo,
  RequestContext,
  ServerInfo,
  Timings,
} from "./lib/filter/request_context.ts";
export { basicAuth, type BasicAuthOptions, type CheckPassword } from "./lib/filters/basic_auth.ts";
export type { IdentityEncoding } from "./lib/filters/credentials.ts";
export {
  bearerAuth,
  type BearerAuthOptions,
  type CheckToken,
  type Claims,
  type JwtOptions,
} from "./lib/filters/bearer_auth.ts";
export { compress, type CompressOptions, type ContentCoding } from "./lib/filters/compress.ts";
export { cors, type CorsOptions } from "./lib/filters/cors.ts";
export { ipAllow, ipDeny } from "./lib/filters/ip_filter.ts";
export { maxBodySize } from "./lib/filters/max_body_size.ts";
export { mirror, type MirrorOptions, type MirrorPool, type MirrorTarget } from "./lib/filters/mirror.ts";
export {
  redirect,
  type RedirectOptions,
  type RedirectTo,
  rewritePath,
  type RewriteTarget,
} from "./lib/filters/redirect_and_rewrite.ts";
export {
  type FieldValue,
  removeHeaders,
  type RemoveHeadersOptions,
  securityHeaders,
  type SecurityHeadersOptions,
  setHeaders,
  type SetHeadersOptions,
} from "./lib/filters/headers.ts";
export { requestId, type RequestIdOptions } from "./lib/filters/request_id.ts";
export {
  type KeyRefusals,
  simulate,
  type SimulatedRefusal,
  type SimulateOptions,
  type SimulationResult,
} from "./lib/simulator/simulate.ts";
export type { SimulatedRequest } from "./lib/simulator/simulated_request.ts";
export type { ForwardedOptions } from "./lib/http/forwarded.ts";
export type { TrustedField, TrustedProxiesOptions } from "./lib/http/trusted_proxies.ts";
export type { RouteOptions } from "./lib/config/route_options.ts";
export type { PathForward, PathMode, RouteMatch } from "./lib/routing/route_match.ts";
export type { RewriteFunction, RewriteOptions } from "./lib/routing/rewrite.ts";
export { HeaderFields } from "./lib/http/header_fields.ts";
export { LoadBalancer, type LoadBalancerOptions } from "./lib/balancer/load_balancer.ts";
export type { LoadBalancerHooks } from "./lib/balancer/load_balancer_options.ts";
export type { StickyOptions, StickySessions } from "./lib/balancer/sticky_sessions.ts";
export type { PickRequest } from "./lib/balancer/algorithm.ts";
export type { Balance, BalanceName, ChooseServer } from "./lib/balancer/create_algorithm.ts";
export type { Claim, QueueOptions, Refusal } from "./lib/balancer/waiting_line.ts";
export type { EjectionChange } from "./lib/health/ejection.ts";
export type { EjectionOptions } from "./lib/health/ejection_options.ts";
export type { GrpcCheckRequest } from "./lib/health/grpc_check.ts";
export type { BodyTest, HttpCheckRequest } from "./lib/health/http_check.ts";
export type { CheckImpossible, HealthChange } from "./lib/health/health_checker.ts";
export type { CheckResult, LastCheck } from "./lib/health/server_check.ts";
export type { SlowStartOptions } from "./lib/health/slow_start.ts";
export { Cancellation, Lease } from "./lib/core/cancellation.ts";
export { type Health, type Outcome, Server, type Stage } from "./lib/upstream/server.ts";
export type { Ineligibility, Standing } from "./lib/upstream/eligibility.ts";
export type { Address } from "./lib/upstream/address.ts";
export type { Peer, PeerTls, ProxyProtocolVersion } from "./lib/upstream/peer.ts";
export {
  Pool,
  type PoolChange,
  type PoolInit,
  type PoolListener,
  type ServerLike,
} from "./lib/upstream/pool.ts";
export type { ResolveServer, ServerInit, ServerSpec } from "./lib/upstream/server_spec.ts";
export type { ConnectionOptions, TransportOptions } from "./lib/transport/select_transport.ts";
export type {
  ActiveCheckOptions,
  CheckPacing,
  CheckServer,
  HealthCheckOptions,
} from "./lib/health/health_check_options.ts";
export type {
  AllowedDecision,
  Decision,
  DueCharge,
  LimitedDecision,
  UnlimitedDecision,
} from "./lib/limiter/policy.ts";
export type {
  AlgorithmName,
  HeaderStyle,
  KeyedNumber,
  LimiterPolicy,
  MissingKeyAction,
  ResolvedPolicy,
} from "./lib/limiter/policy.ts";
export type { PolicyDecision } from "./lib/limiter/policy.ts";
export type { CompiledKey, KeyFunction, KeySource, KeySpec, NamedKey } from "./lib/limiter/key_spec.ts";
export {
  ClientGoneError,
  type ErrorSource,
  FilterError,
  NoServerError,
  ProxyError,
  RequestError,
  type SendPhase,
  UpstreamError,
  type UpstreamErrorCode,
} from "./lib/core/errors.ts";
export type { ByteSize, Duration } from "./lib/core/units.ts";
export type { WebSocketOptions } from "./lib/transport/websocket/web_socket_options.ts";
export type { Clock, Timers } from "./lib/core/clock.ts";
export type { Random } from "./lib/core/random.ts";
export type { Observer, RequestLog } from "./lib/observe/observer.ts";
export type { LogLevel, ProxyEvent, ProxyEvents } from "./lib/observe/events.ts";
export { METRICS_TYPES, type MetricsFormat, metricsFormat } from "./lib/observe/metrics/exposition.ts";
export type { AccessAttempt, AccessDecision, AccessEntry } from "./lib/observe/access_entry.ts";
export type {
  AccessField,
  AccessFormat,
  AccessLogFile,
  AccessLogOptions,
} from "./lib/observe/access_log_options.ts";

if (import.meta.main) {
  // Not awaited: a configuration that imports this module would wait for it, and this module for the configuration.
  import("./lib/cli/run.ts").then(({ run }) => run(Deno.args));
}
