/** Checks a configuration and completes it. */

import { parseDuration } from "../core/duration.ts";
import type { LimiterPolicy } from "../limiter/policy.ts";
import { resolvePolicies } from "../limiter/resolve_policy.ts";
import { composeFilters } from "../filter/compose_filters.ts";
import { resolveForwarded } from "../http/forwarded.ts";
import { TrustedProxies, type TrustedProxiesOptions } from "../http/trusted_proxies.ts";
import { resolveAccessLog } from "../observe/access_log_options.ts";
import { ConfigError } from "./config_error.ts";
import { findProblems } from "./find_problems.ts";
import type { ProxyConfig, ResolvedConfig } from "./proxy_config.ts";
import { resolveAdmin } from "./resolve_admin.ts";
import { resolveListen } from "./resolve_listen.ts";
import { resolveOverload } from "./overload_options.ts";
import { resolveRollback } from "./rollback_options.ts";
import { resolveTracing } from "./tracing_options.ts";
import { resolveRoutes } from "./resolve_routes.ts";
import { resolveUpstreams } from "./resolve_upstreams.ts";
import { MAX_WORKERS } from "./schema/workers_schema.ts";

/**
 * Checks a configuration and fills in every default. What comes back is frozen; what went in is not changed.
 *
 * @param config a configuration, or anything that claims to be one
 * @param where how error messages call it, such as the name of its file
 * @throws {ConfigError} when anything is wrong with it, listing all of it
 */
export function resolveConfig(config: unknown, where = "configuration"): ResolvedConfig {
  const problems = findProblems(config);
  if (problems.length > 0) throw new ConfigError(where, problems);
  // The schema has just made sure of it.
  return completeConfig(config as ProxyConfig);
}

/** Completes a configuration that is known to be good. */
export function completeConfig(config: ProxyConfig): ResolvedConfig {
  const { listen, upstreams, limiter, onListen = null, gracePeriod = "30s", filters = [], routes = [] } =
    config;
  const { forwarded, paths = "normalize", forward = "received" } = config;
  const { pools, defaultPool } = resolveUpstreams(upstreams);
  const policies = resolvePolicies(
    limiter === undefined ? [] : limiter as LimiterPolicy | readonly LimiterPolicy[],
  );
  const filterSets = [config, ...filters];
  return Object.freeze({
    listen: resolveListen(listen),
    pools,
    defaultPool,
    limiter: policies,
    filters: composeFilters(filterSets),
    routes: resolveRoutes(routes, { defaultPool, limiter, policies, filterSets, paths, forward }),
    paths,
    forward,
    trustedProxies: resolveTrustedProxies(config.trustedProxies),
    forwarded: resolveForwarded(forwarded),
    onListen,
    overload: resolveOverload(config.overload),
    tracing: resolveTracing(config.tracing),
    serverTiming: config.serverTiming ?? false,
    accessLog: config.accessLog === undefined
      ? null
      : config.accessLog === false
      ? false
      : resolveAccessLog(config.accessLog),
    metrics: config.metrics ?? true,
    admin: resolveAdmin(config.admin),
    workers: resolveWorkers(config.workers),
    gracePeriodMs: parseDuration(gracePeriod)!,
    webSocketGraceMs: parseDuration(config.webSocketGrace ?? "5s")!,
    shutdownDelayMs: parseDuration(config.shutdownDelay ?? 0)!,
    rollback: resolveRollback(config.rollback),
  });
}

/** How many workers are meant. */
export function resolveWorkers(workers: ProxyConfig["workers"] = 1): number {
  return workers === "auto" ? Math.min(MAX_WORKERS, navigator.hardwareConcurrency) : workers;
}

function resolveTrustedProxies(trusted: ProxyConfig["trustedProxies"] = []): TrustedProxies | null {
  const { from, field }: TrustedProxiesOptions = "from" in trusted ? trusted : { from: trusted };
  return from.length === 0 ? null : new TrustedProxies(from, field);
}
