/** Checks a configuration and completes it. */

import { findProblems } from "../core/options.ts";
import { parseDuration } from "../core/units.ts";
import { composeFilters } from "../filter/compose_filters.ts";
import { resolveForwarded } from "../http/proxy_fields.ts";
import { TrustedProxies, type TrustedProxiesOptions } from "../http/trusted_proxies.ts";
import type { LimiterPolicy } from "../limiter/policy.ts";
import { resolvePolicies } from "../limiter/resolve_policy.ts";
import { resolveAccessLog } from "../observe/access_log_options.ts";
import { resolveAdmin } from "./admin_options.ts";
import { ConfigError, type ConfigProblem } from "./config_error.ts";
import { CONFIG } from "./config_schema.ts";
import { resolveListen } from "./listen_options.ts";
import { resolveUpstreams } from "./pool_options.ts";
import { MAX_WORKERS, resolveOverload, resolveRollback, resolveTracing } from "./process_options.ts";
import type { ProxyConfig, ResolvedConfig } from "./proxy_config.ts";
import { resolveRoutes } from "./resolve_routes.ts";

/**
 * Lists everything that is wrong with a configuration; empty when nothing is.
 *
 * @param subject what the configuration as a whole is called
 */
export function findConfigProblems(config: unknown, subject = "the configuration"): readonly ConfigProblem[] {
  return findProblems(CONFIG, config).map(({ path, message }) =>
    path === "" ? { path, message: `${subject} ${message}` } : { path, message }
  );
}

/**
 * Checks a configuration and fills in every default. What comes back is frozen; what went in is not changed.
 *
 * @param config a configuration, or anything that claims to be one
 * @param where how error messages call it, such as the name of its file
 * @throws {ConfigError} when anything is wrong with it, listing all of it
 */
export function resolveConfig(config: unknown, where = "configuration"): ResolvedConfig {
  const problems = findConfigProblems(config);
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
