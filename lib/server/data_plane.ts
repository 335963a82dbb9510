/** Composition root: the only place where the parts of a proxy are made and joined. */

import { Split } from "../balancer/split.ts";
import { findableRoutes } from "../config/findable_routes.ts";
import type { ResolvedConfig, ResolvedPool } from "../config/proxy_config.ts";
import { allPolicies } from "../config/route_limits.ts";
import type { ResolvedRoute } from "../config/route_options.ts";
import type { Clock } from "../core/clock.ts";
import { DeadlineWheel } from "../core/deadline_wheel.ts";
import type { Random } from "../core/random.ts";
import { LoopMark } from "../http/forwarded.ts";
import { compileKey } from "../limiter/key_spec.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import type { PolicyMeters, RouteMeter } from "../observe/metrics/meters.ts";
import { type MetricsFormat, writeMetrics } from "../observe/metrics/exposition.ts";
import { NamedPeers } from "../proxy/named_peers.ts";
import type { ExchangeRuntime } from "../proxy/exchange.ts";
import { OverloadLimit } from "../proxy/overload_limit.ts";
import { EXCHANGE_STEPS, selectSteps } from "../proxy/handle_request.ts";
import type { Admission, PoolRuntime, RouteRuntime, RouteTable } from "../proxy/proxy_runtime.ts";
import { RunningRequests } from "../proxy/running_requests.ts";
import { RouteFinder } from "../routing/route_finder.ts";
import type { Pool } from "../upstream/pool.ts";
import { Admissions, LimiterStores } from "./admissions.ts";
import { collectMetrics } from "./collect_metrics.ts";
import { createRetries, PoolPlane } from "./pool_plane.ts";
import { ProxyMetrics } from "./proxy_metrics.ts";
import type { ProxyParts } from "./serve_options.ts";
import { ProxyServices, Transports } from "./transports.ts";

/** Tick of the deadlines: a timeout is late by less than two. */
const TICK_MS = 20;

/**
 * How long requests that were called off, and connections without requests, may take to end; neither a filter that
 * never returns nor a client that never closes may hold the end up.
 */
const LAST_WORDS_MS = 1000;
/** How long a client may pause while it sends content, or takes it. */
export const CLIENT_IDLE_MS = 60_000;

/** Everything of a proxy but its listeners; holds it all, and lets go of it all at once. */
export class DataPlane implements AsyncDisposable {
  readonly runtime: ExchangeRuntime;
  /** The pools by name, to be changed while the proxy runs. */
  readonly pools: ReadonlyMap<string, Pool>;
  /** What is counted; `null` where that is off. */
  readonly counted: ProxyMetrics | null;
  readonly #config: ResolvedConfig;
  readonly #parts: ProxyParts;
  readonly #stores: LimiterStores;
  readonly #transports: Transports;
  readonly #admissions: Admissions;
  readonly #poolPlanes: PoolPlane[] = [];
  readonly #stack = new AsyncDisposableStack();

  /** @param metrics those of the proxy, when it has had another configuration before */
  constructor(config: ResolvedConfig, parts: ProxyParts, metrics: ProxyMetrics | null = null) {
    const { clock, observer, random } = parts;
    this.#config = config;
    this.#parts = parts;
    const counted = this.counted = config.metrics
      ? metrics ?? this.#stack.use(new ProxyMetrics(clock))
      : null;
    this.#stores = this.#stack.use(new LimiterStores(parts, counted?.store));
    const wheel = this.#stack.use(new DeadlineWheel({ clock, tickMs: TICK_MS }));
    this.#transports = this.#stack.use(new Transports({ clock, wheel }));
    const pools = new Map<string, PoolRuntime>();
    for (const pool of config.pools.values()) pools.set(pool.name, this.#createPool(pool));
    this.pools = new Map(Array.from(pools, ([name, { balancer }]) => [name, balancer.pool]));
    const running = new RunningRequests();
    const admissions = this.#admissions = this.#stack.use(
      new Admissions(allPolicies(config), parts, this.#stores, config.admin !== null),
    );
    const admission = admissions.create(config.limiter);
    const admit = (policies: readonly ResolvedPolicy[]) => admissions.create(policies);
    this.runtime = {
      clock,
      wheel,
      observer,
      pools,
      members: this.pools,
      defaultPool: pools.get(config.defaultPool)!,
      overload: config.overload === null
        ? null
        : this.#stack.use(new OverloadLimit(config.overload, clock, wheel)),
      admission,
      routes: createRoutes(config, {
        pools,
        random,
        admission,
        admit,
        meter: (name) => this.#routeMeter(name),
      }),
      paths: config.paths,
      normalized: config.forward === "normalized",
      looksAtPaths: looksAtPaths(config),
      filters: config.filters,
      trustedProxies: config.trustedProxies,
      forwardedFields: config.forwarded,
      loopMark: config.forwarded.cdnLoop
        ? new LoopMark(config.forwarded, crypto.randomUUID().slice(0, 18))
        : null,
      filterServices: this.#stack.use(new ProxyServices(this.#transports, random)),
      namedPeers: new NamedPeers({ onForget: (peer) => this.#transports.forget(peer) }),
      count: { arrived: 0 },
      running,
      meter: counted === null ? null : this.#stack.use(counted.route("")),
      policyMeters: this.#policyMeters(),
      webSocketMeter: counted?.webSockets ?? null,
      requestSteps: selectSteps(config),
      steps: EXCHANGE_STEPS,
    };
  }

  /** Finds the servers of every pool and checks each of them once; bounded by the timeouts of both. */
  async start(): Promise<void> {
    await this.#stores.load();
    await Promise.all([this.#stores.ready(), ...this.#poolPlanes.map((plane) => plane.start())]);
  }

  /**
   * Finishes the requests that run; what has not ended within the grace period is called off.
   *
   * @param reason what the log says of it
   * @param close takes no new requests, and resolves once the last connection has ended
   * @returns how many requests were called off
   */
  async drain(reason: string, close: () => Promise<void>): Promise<number> {
    const { gracePeriodMs } = this.#config;
    const { running, clock, observer } = this.runtime;
    const endAt = clock.now() + gracePeriodMs;
    observer.event({ kind: "shutdown", reason, runningRequests: running.size, gracePeriodMs });
    running.endTunnels();
    const closed = close();
    do {
      await atMost(clock, running.untilEmpty(), endAt - clock.now());
      // A connection may outlive its requests: one whose client never did its TLS handshake, or never sends the rest
      // of what was refused.
      await atMost(clock, closed, Math.min(endAt - clock.now(), LAST_WORDS_MS));
    } while (running.size > 0 && clock.now() < endAt);
    const abandoned = running.size;
    running.abandon();
    if (abandoned > 0) await atMost(clock, closed, LAST_WORDS_MS);
    return abandoned;
  }

  /** Its limiters, and how full their table is. */
  get limits(): Pick<Admissions, "limiters" | "table" | "overflows"> {
    return this.#admissions;
  }

  /** Its metrics as text. */
  metrics(format?: MetricsFormat): string {
    const { count: { arrived }, running, overload } = this.runtime;
    const { overflows, table } = this.#admissions;
    const metrics = collectMetrics({
      pools: this.#poolPlanes,
      arrived,
      running: running.size,
      overloaded: overload === null ? null : overload.waiting,
      overflows,
      table,
      metrics: this.counted,
    });
    return writeMetrics(metrics, format);
  }

  #routeMeter(name: string): RouteMeter | null {
    return this.counted === null ? null : this.#stack.use(this.counted.route(name));
  }

  #policyMeters(): PolicyMeters | null {
    if (this.counted === null || this.#admissions.overflows.size === 0) return null;
    return this.#stack.use(this.counted.policies(this.#admissions.overflows.keys()));
  }

  #createPool(resolved: ResolvedPool): PoolRuntime {
    const plane = this.#stack.use(new PoolPlane(resolved, this.#transports, this.#parts, this.counted));
    this.#poolPlanes.push(plane);
    return plane.runtime;
  }

  /** Ends the checks and closes every connection to a server. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Whether anything of the configuration compares paths, which an unusual spelling could slip past. */
function looksAtPaths({ routes, paths, forward, filters, limiter }: ResolvedConfig): boolean {
  return routes.length > 0 || paths === "refuse" || forward === "normalized" || limiter.length > 0 ||
    Object.values(filters).some((filter) => filter !== undefined);
}

/** Waits until the promise settles, at most for `delayMs`. */
async function atMost(clock: Clock, promise: Promise<unknown>, delayMs: number): Promise<void> {
  if (delayMs === Infinity) return void await promise;
  const { promise: over, resolve } = Promise.withResolvers<void>();
  using _timer = clock.setTimer(resolve, Math.max(0, delayMs));
  await Promise.race([promise, over]);
}

/** What routes take beside their configuration. */
interface RouteParts {
  readonly pools: ReadonlyMap<string, PoolRuntime>;
  readonly random: Random;
  /** The configuration's own limits. */
  readonly admission: Admission | null;
  /** Makes the meter of a route. */
  meter(name: string): RouteMeter | null;
  /** Makes the limits of a route. */
  admit(policies: readonly ResolvedPolicy[]): Admission | null;
}

/** Makes the routes; `null` when there are none. */
function createRoutes(config: ResolvedConfig, parts: RouteParts): RouteTable | null {
  const { routes } = config;
  if (routes.length === 0) return null;
  const known = new Map<readonly ResolvedPolicy[], Admission | null>();
  const admit = (policies: readonly ResolvedPolicy[]): Admission | null => {
    let made = known.get(policies);
    if (made === undefined) known.set(policies, made = parts.admit(policies));
    return made;
  };
  return {
    finder: new RouteFinder(findableRoutes(config)),
    routes: routes.map((route) => createRoute(route, { ...parts, admit })),
  };
}

function createRoute(
  route: ResolvedRoute,
  { pools, random, admission, admit, meter }: RouteParts,
): RouteRuntime {
  const { name, rewrite, paths, forward, filters, newContext, splitKey, limiter, timeouts, retries } = route;
  const weights = route.pools.map(([pool, weight]) => [pools.get(pool)!, weight] as const);
  const alone = weights.length === 1;
  return {
    name,
    paths,
    normalized: forward === "normalized",
    rewrite,
    filters,
    newContext,
    pool: alone ? weights[0]![0] : null,
    split: alone ? null : new Split(weights, random),
    splitKey: splitKey === null ? null : compileKey(splitKey),
    admission: limiter === null ? admission : admit(limiter),
    meter: meter(name),
    retries: retries === undefined ? undefined : createRetries(retries),
    timeouts: Object.keys(timeouts).length === 0
      ? null
      // For every pool, because `upstreamPeer` may name any.
      : new Map(Array.from(pools.values(), (pool) => [pool, { ...pool.timeouts, ...timeouts }])),
  };
}
