/** Checks a configuration and completes it. */

import { findDoubts, findProblems } from "../core/options.ts";
import { parseDuration } from "../core/units.ts";
import { composeFilters } from "../filter/compose_filters.ts";
import { describeFilters, type Filters } from "../filter/filters.ts";
import { resolveForwarded } from "../http/proxy_fields.ts";
import { TrustedProxies, type TrustedProxiesOptions } from "../http/trusted_proxies.ts";
import type { LimiterPolicy, ResolvedPolicy } from "../limiter/policy.ts";
import { resolvePolicies } from "../limiter/resolve_policy.ts";
import { resolveAccessLog } from "../observe/access_log_options.ts";
import { compileRewrite } from "../routing/rewrite.ts";
import type { FindableRoute } from "../routing/route_finder.ts";
import { listOf, type PathForward, type PathMode, type RouteMatch } from "../routing/route_match.ts";
import type { Timeouts } from "../transport/transport.ts";
import { resolveAdmin } from "./admin_options.ts";
import { ConfigError, type ConfigProblem } from "./config_error.ts";
import { CONFIG } from "./config_schema.ts";
import { resolveListen } from "./listen_options.ts";
import { resolveUpstreams } from "./pool_options.ts";
import { MAX_WORKERS, resolveOverload, resolveRollback, resolveTracing } from "./process_options.ts";
import type { ProxyConfig, ResolvedConfig } from "./proxy_config.ts";
import { resolveRetries } from "./retry_options.ts";
import type { ResolvedRoute, RouteOptions } from "./route_options.ts";
import type { TimeoutOptions } from "./server_options.ts";

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

/** Lists what is allowed in a configuration and probably not meant; the configuration is good. */
export function findConfigDoubts(config: unknown): readonly ConfigProblem[] {
  return findDoubts(CONFIG, config);
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
    filterSets: filterSets.filter((set) => describeFilters([set]).length > 0),
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

// Completes routes and their limits.

/** What routes share with the configuration that they are in. */
interface RouteSurroundings {
  readonly defaultPool: string;
  /** The configuration's limiter, as written and complete. */
  readonly limiter: ProxyConfig["limiter"];
  readonly policies: readonly ResolvedPolicy[];
  /** Filter sets of the configuration, its own phases first. */
  readonly filterSets: readonly Filters[];
  readonly paths: PathMode;
  readonly forward: PathForward;
}

/** Completes routes that are known to be good. */
function resolveRoutes(
  routes: readonly RouteOptions[],
  { defaultPool, limiter, policies, filterSets, ...common }: RouteSurroundings,
): readonly ResolvedRoute[] {
  const limits = new RouteLimits(limiter, policies);
  return Object.freeze(routes.map((route) => {
    const { match = {}, upstream = defaultPool, splitKey = null, rewrite, timeouts, filters = [] } = route;
    const { name = nameOf(match), paths = common.paths } = route;
    const { forward = paths === "raw" ? "received" : common.forward } = route;
    return Object.freeze({
      name,
      match,
      pools: typeof upstream === "string" ? [[upstream, 1] as const] : Object.entries(upstream),
      splitKey: splitKey as ResolvedRoute["splitKey"],
      paths,
      forward,
      rewrite: rewrite === undefined ? null : compileRewrite(rewrite),
      rewriteOptions: typeof rewrite === "object" ? rewrite : null,
      limiter: limits.of(route.limiter, name),
      timeouts: resolveTimeouts(timeouts),
      retries: route.retries === undefined ? undefined : resolveRetries(route.retries),
      filters: composeFilters([...filterSets, ...filters]),
      filterSets: filters,
      newContext: composeFilters(filters).newContext ?? null,
    });
  }));
}

function resolveTimeouts(
  { connect, tls = connect, response, idle, total }: TimeoutOptions = {},
): Partial<Timeouts> {
  return Object.freeze({
    ...(connect !== undefined && { connectMs: parseDuration(connect)! }),
    ...(tls !== undefined && { tlsMs: parseDuration(tls)! }),
    ...(response !== undefined && { responseMs: parseDuration(response)! }),
    ...(idle !== undefined && { idleMs: parseDuration(idle)!, eventStreamIdleMs: parseDuration(idle)! }),
    ...(total !== undefined && { totalMs: parseDuration(total)! }),
  });
}

function nameOf({ host, path }: RouteMatch): string {
  return (listOf(host)?.[0] ?? "") + (listOf(path)?.[0] ?? "/*");
}

/** Completes the limits of one route after the other; policies count by their names, so that each needs its own. */
class RouteLimits {
  readonly #shared: readonly ResolvedPolicy[];
  readonly #known = new Map<unknown, readonly ResolvedPolicy[] | null>();
  readonly #names: Set<string>;

  /** @param limiter the configuration's, as written; `shared` is the same, complete */
  constructor(limiter: ProxyConfig["limiter"], shared: readonly ResolvedPolicy[]) {
    this.#shared = shared;
    this.#names = new Set(shared.map(({ name }) => name));
    // A route that names the configuration's limits has nothing of its own.
    this.#known.set(limiter, null);
  }

  /** The policies of a route, the configuration's in front; `null` when it has only those. */
  of(limiter: RouteOptions["limiter"], route: string): readonly ResolvedPolicy[] | null {
    if (limiter === undefined) return null;
    if (limiter === false) return [];
    let policies = this.#known.get(limiter);
    if (policies === undefined) {
      const own = (Array.isArray(limiter) ? limiter : [limiter]) as LimiterPolicy[];
      const named = own.map((policy) => ({ ...policy, name: policy.name ?? this.#freeName(route) }));
      policies = Object.freeze([...this.#shared, ...resolvePolicies(named)]);
      this.#known.set(limiter, policies);
    }
    return policies;
  }

  #freeName(route: string): string {
    const base = route.replaceAll(/[^ -~]/g, "?");
    let name = base;
    for (let n = 2; this.#names.has(name); n++) name = `${base}-${n}`;
    this.#names.add(name);
    return name;
  }
}

/** Each policy of a configuration and of its routes, once. */
export function allPolicies(
  { limiter, routes }: Pick<ResolvedConfig, "limiter" | "routes">,
): readonly ResolvedPolicy[] {
  return [...new Set([...limiter, ...routes.flatMap((route) => route.limiter ?? [])])];
}

/** Phases in which a filter of the configuration may treat the requests of each route in another way. */
const TELLING = ["requestFilter", "requestBodyFilter", "upstreamPeer", "upstreamRequestFilter"] as const;

/** The routes of a configuration, as far as they have to be found. */
export function findableRoutes(
  { routes, limiter: shared, filters: common }: Pick<ResolvedConfig, "routes" | "limiter" | "filters">,
): readonly FindableRoute[] {
  const treatments = new Map<string, number>();
  const numbers = new Map<unknown, number>();
  const numberOf = (value: unknown): number => {
    if (!numbers.has(value)) numbers.set(value, numbers.size);
    return numbers.get(value)!;
  };
  const seesRoutes = TELLING.some((phase) => common[phase] !== undefined);
  return routes.map(({ match, paths, forward, pools, filterSets, limiter }, order) => {
    const policies = limiter ?? shared;
    const limits = policies.length === 0 ? "none" : numberOf(limiter);
    const key = JSON.stringify([pools, paths, limits, filterSets.map(numberOf), seesRoutes ? order : 0]);
    if (!treatments.has(key)) treatments.set(key, treatments.size);
    return {
      match,
      paths,
      normalized: forward === "normalized",
      treatment: treatments.get(key)!,
      guards: [...filterSets, ...policies],
    };
  });
}
