/** Validates a configuration and fills in its defaults. */

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
 * Lists all problems of a configuration; empty if it is valid.
 *
 * @param subject name of the configuration as a whole, for messages
 */
export function findConfigProblems(config: unknown, subject = "the configuration"): readonly ConfigProblem[] {
  return findProblems(CONFIG, config).map(({ path, message }) =>
    path === "" ? { path, message: `${subject} ${message}` } : { path, message }
  );
}

/** Lists parts of a valid configuration that are probably not intended. */
export function findConfigDoubts(config: unknown): readonly ConfigProblem[] {
  return findDoubts(CONFIG, config);
}

/**
 * Validates a configuration and fills in every default. The result is frozen; the argument is not changed.
 *
 * @param config a configuration, or any other value
 * @param where name of the configuration in error messages, such as its file name
 * @throws {ConfigError} when the configuration is invalid; it lists all problems
 */
export function resolveConfig(config: unknown, where = "configuration"): ResolvedConfig {
  const problems = findConfigProblems(config);
  if (problems.length > 0) throw new ConfigError(where, problems);
  // The schema has just verified this.
  return completeConfig(config as ProxyConfig);
}

/** Fills in the defaults of a validated configuration. */
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

/** The number of workers. */
export function resolveWorkers(workers: ProxyConfig["workers"] = 1): number {
  return workers === "auto" ? Math.min(MAX_WORKERS, navigator.hardwareConcurrency) : workers;
}

function resolveTrustedProxies(trusted: ProxyConfig["trustedProxies"] = []): TrustedProxies | null {
  const { from, field }: TrustedProxiesOptions = "from" in trusted ? trusted : { from: trusted };
  return from.length === 0 ? null : new TrustedProxies(from, field);
}

// Resolves routes and their limits.

/** Options of the configuration that its routes inherit. */
interface InheritedOptions {
  readonly defaultPool: string;
  /** The limiter of the configuration, as configured and resolved. */
  readonly limiter: ProxyConfig["limiter"];
  readonly policies: readonly ResolvedPolicy[];
  /** Filter sets of the configuration, its top-level phases first. */
  readonly filterSets: readonly Filters[];
  readonly paths: PathMode;
  readonly forward: PathForward;
}

/** Fills in the defaults of validated routes. */
function resolveRoutes(
  routes: readonly RouteOptions[],
  { defaultPool, limiter, policies, filterSets, ...common }: InheritedOptions,
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

/** Resolves the limits of routes. Policies count by their names, so each needs a unique name. */
class RouteLimits {
  readonly #shared: readonly ResolvedPolicy[];
  readonly #known = new Map<unknown, readonly ResolvedPolicy[] | null>();
  readonly #names: Set<string>;

  /** @param limiter the limiter of the configuration, as configured; `shared` is the resolved form */
  constructor(limiter: ProxyConfig["limiter"], shared: readonly ResolvedPolicy[]) {
    this.#shared = shared;
    this.#names = new Set(shared.map(({ name }) => name));
    // A route that uses the configuration's limiter object adds no policy.
    this.#known.set(limiter, null);
  }

  /**
   * The policies of the configuration followed by those of the route; `null` if only those of the configuration apply.
   */
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

/** All policies of a configuration and its routes, without duplicates. */
export function allPolicies(
  { limiter, routes }: Pick<ResolvedConfig, "limiter" | "routes">,
): readonly ResolvedPolicy[] {
  return [...new Set([...limiter, ...routes.flatMap((route) => route.limiter ?? [])])];
}

/** Phases in which a filter of the configuration may treat requests differently by their route. */
const ROUTE_AWARE_PHASES = [
  "requestFilter",
  "requestBodyFilter",
  "upstreamPeer",
  "upstreamRequestFilter",
] as const;

/** The routes of a configuration in the form for the route finder. */
export function findableRoutes(
  { routes, limiter: shared, filters: common }: Pick<ResolvedConfig, "routes" | "limiter" | "filters">,
): readonly FindableRoute[] {
  const treatments = new Map<string, number>();
  const numbers = new Map<unknown, number>();
  const numberOf = (value: unknown): number => {
    if (!numbers.has(value)) numbers.set(value, numbers.size);
    return numbers.get(value)!;
  };
  const seesRoutes = ROUTE_AWARE_PHASES.some((phase) => common[phase] !== undefined);
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
