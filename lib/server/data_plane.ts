/** Composition root: the only place that makes the parts of a proxy and connects them. */

import type { NamedKey } from "../limiter/busy_keys.ts";
import { Split } from "../balancer/fnv_hash.ts";
import type { ResolvedPool } from "../config/pool_options.ts";
import type { ResolvedConfig } from "../config/proxy_config.ts";
import { allPolicies, findableRoutes } from "../config/resolve_config.ts";
import type { ResolvedRoute } from "../config/route_options.ts";
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import { LoopMark } from "../http/proxy_fields.ts";
import { compileKey } from "../limiter/key_spec.ts";
import type { PermitLedger } from "../limiter/permits.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { AccessLog } from "../observe/access_log.ts";
import { type ResolvedAccessLog, secretNames } from "../observe/access_log_options.ts";
import { createLossLine } from "../observe/create_log.ts";
import { LineFile, type LineSink, LineWriter } from "../observe/line_writer.ts";
import { type MetricsFormat, writeMetrics } from "../observe/metrics/registry.ts";
import type { PolicyMeters, RouteMeter } from "../observe/metrics/meters.ts";
import type { ExchangeRuntime } from "../proxy/exchange.ts";
import { EXCHANGE_STEPS, selectSteps } from "../proxy/handle_request.ts";
import { OverloadLimit, RunningRequests } from "../proxy/overload_limit.ts";
import { SettledEntry } from "../proxy/settled_entry.ts";
import type {
  AccessLogRuntime,
  Admission,
  PoolRuntime,
  RouteRuntime,
  RouteTable,
} from "../proxy/proxy_runtime.ts";
import { reportCallbackError } from "../proxy/settle_exchange.ts";
import { RouteFinder } from "../routing/route_finder.ts";
import type { Pool } from "../upstream/pool.ts";
import type { SharedCells } from "../upstream/shared_servers.ts";
import { Admissions, LimiterStores } from "./admissions.ts";
import { collectMetrics, readOfWorker } from "./collect_metrics.ts";
import { denoTracer } from "./deno_tracer.ts";
import { createRetries, PoolPlane } from "./pool_plane.ts";
import type { ProxyMetrics } from "./proxy_metrics.ts";
import type { ProxyResources, TransportSource } from "./proxy_resources.ts";
import type { ProxyParts } from "./serve_options.ts";

/** How long a client may pause while it sends or receives content, in milliseconds. */
export const CLIENT_IDLE_MS = 60_000;

/** What a configuration takes over from the former one. */
interface Succession {
  readonly resources: ProxyResources;
  /** The former configuration; `null` for the first one. */
  readonly before: DataPlane | null;
}

/** Everything that one configuration needs except listeners. Disposing it releases all of it. */
export class DataPlane implements AsyncDisposable {
  readonly config: ResolvedConfig;
  readonly runtime: ExchangeRuntime;
  /** The pools by name; their servers may be changed while the proxy runs. */
  readonly pools: ReadonlyMap<string, Pool>;
  /** The metrics; `null` if they are off. */
  readonly counted: ProxyMetrics | null;
  readonly #parts: ProxyParts;
  readonly #resources: ProxyResources;
  readonly #stores: LimiterStores;
  readonly #transports: TransportSource;
  readonly #admissions: Admissions;
  #openLog: OpenAccessLog | null = null;
  readonly #budgets: Record<number, number> = {};
  readonly #poolPlanes = new Map<string, PoolPlane>();
  readonly #stack: AsyncDisposableStack;

  /** Makes all parts. If one cannot be made, disposes those made before it and throws. */
  static create(config: ResolvedConfig, parts: ProxyParts, succession: Succession): DataPlane {
    const stack = new AsyncDisposableStack();
    try {
      return new DataPlane(config, parts, succession, stack);
    } catch (error) {
      void stack.disposeAsync();
      throw error;
    }
  }

  private constructor(
    config: ResolvedConfig,
    parts: ProxyParts,
    { resources, before }: Succession,
    stack: AsyncDisposableStack,
  ) {
    this.#stack = stack;
    const { clock, observer, random } = parts;
    const { wheel } = resources;
    const earlier = before === null ? null : { pools: before.#poolPlanes, admissions: before.#admissions };
    this.config = config;
    this.#parts = parts;
    this.#resources = resources;
    const accessLog = this.#accessLog();
    const counted = this.counted = config.metrics ? resources.metrics : null;
    this.#stores = this.#stack.use(new LimiterStores(parts, counted?.store));
    this.#transports = this.#stack.use(resources.transports.lease());
    const pools = new Map<string, PoolRuntime>();
    for (const pool of config.pools.values()) {
      pools.set(pool.name, this.#createPool(pool, earlier?.pools.get(pool.name)));
    }
    this.pools = new Map(Array.from(pools, ([name, { balancer }]) => [name, balancer.pool]));
    const admissions = this.#admissions = this.#stack.use(
      new Admissions(allPolicies(config), parts, this.#stores, config.admin !== null, earlier?.admissions),
    );
    const admission = admissions.create(config.limiter);
    const admit = (policies: readonly ResolvedPolicy[]) => admissions.create(policies);
    this.runtime = {
      clock,
      wheel,
      observer,
      accessLog,
      secrets: config.accessLog === null || config.accessLog === false
        ? secretNames()
        : config.accessLog.secrets,
      pools,
      members: this.pools,
      defaultPool: pools.get(config.defaultPool)!,
      overload: config.overload === null
        ? null
        : this.#stack.use(new OverloadLimit(config.overload, clock, wheel, parts.shared?.overload ?? null)),
      admission,
      routes: createRoutes(config, {
        pools,
        clock,
        random,
        admission,
        admit,
        budget: (index) => this.#budget(index),
        meter: (name) => this.#routeMeter(name),
      }),
      paths: config.paths,
      normalized: config.forward === "normalized",
      looksAtPaths: comparesPaths(config),
      filters: config.filters,
      trustedProxies: config.trustedProxies,
      forwardedFields: config.forwarded,
      loopMark: config.forwarded.cdnLoop ? new LoopMark(config.forwarded, resources.instanceId) : null,
      filterServices: resources.services,
      namedPeers: resources.namedPeers,
      count: resources.count,
      running: new RunningRequests(),
      meter: this.#routeMeter(""),
      policyMeters: this.#policyMeters(),
      trace: config.tracing === null ? null : { ...config.tracing, tracer: denoTracer(), random },
      serverTiming: config.serverTiming,
      webSocketMeter: counted?.webSockets ?? null,
      requestSteps: selectSteps(config),
      settled: new SettledEntry(),
      steps: EXCHANGE_STEPS,
    };
  }

  /** The shared cells for the retry budget of a route; `null` if there is only one process. */
  #budget(index: number): SharedCells | null {
    const { shared = null } = this.#parts;
    if (shared === null) return null;
    const { servers } = shared;
    const slot = shared.role === "worker" ? shared.budget(index) : servers.allocate();
    if (shared.role === "supervisor") this.#stack.defer(() => servers.free(slot));
    this.#budgets[index] = slot;
    return servers.cells(slot);
  }

  /** Releases the permits of a worker that has ended. */
  giveBackPermits(ledger: PermitLedger): void {
    this.#admissions.giveBackPermits(ledger);
  }

  /** @internal The places in shared memory that workers need to serve this configuration. */
  get placed(): {
    readonly pools: ReadonlyMap<string, PoolPlane>;
    readonly table: ArrayBufferLike | null;
    readonly budgets: Readonly<Record<number, number>>;
  } {
    return { pools: this.#poolPlanes, table: this.#admissions.buffer, budgets: this.#budgets };
  }

  /** Discovers the servers of every pool and checks each new one once; bounded by the timeouts of both. */
  async start(): Promise<void> {
    await this.#stores.load();
    const planes = [...this.#poolPlanes.values()];
    await Promise.all([this.#stores.ready(), ...planes.map((plane) => plane.start())]);
  }

  /**
   * Takes over the counts of policies and the state of servers that are in both configurations. The former one finishes
   * its running requests.
   */
  takeOver(before: DataPlane): void {
    this.#admissions.takeOver(before.#admissions);
    for (const [name, plane] of before.#poolPlanes) {
      const successor = this.#poolPlanes.get(name);
      if (successor === undefined) plane.endDiscovery();
      else successor.takeOver(plane);
    }
    if (before.runtime.overload !== null) this.runtime.overload?.takeOver(before.runtime.overload);
    this.#keepMeters(before.runtime);
  }

  /** Routes and policies that keep their name keep their counts. */
  #keepMeters(before: ExchangeRuntime): void {
    const { meter, policyMeters, routes } = this.runtime;
    if (before.meter !== null) meter?.keep(before.meter);
    if (before.policyMeters !== null) policyMeters?.keep(before.policyMeters);
    const known = new Map(before.routes?.routes.map(({ name, meter }) => [name, meter]));
    for (const { name, meter } of routes?.routes ?? []) {
      const former = known.get(name) ?? null;
      if (former !== null) meter?.keep(former);
    }
  }

  /** The limiters, and how full their table is. */
  get limits(): Pick<Admissions, "limiters" | "table" | "overflows"> {
    return this.#admissions;
  }

  /**
   * The metrics as text.
   *
   * @param running the number of running requests, including those of former configurations
   */
  metrics(running: number, format?: MetricsFormat): string {
    return writeMetrics(collectMetrics(this.#sources(running)), format);
  }

  /** Keeps the gauges of this worker up to date in shared memory, where the supervisor reads them. */
  publish(running: () => number): void {
    this.counted?.publish(() => readOfWorker(this.#sources(running())));
  }

  #sources(running: number): Parameters<typeof collectMetrics>[0] {
    const { count: { arrived }, overload } = this.runtime;
    const { overflows, table } = this.#admissions;
    return {
      pools: [...this.#poolPlanes.values()],
      arrived,
      running,
      overloaded: overload === null ? null : overload.waiting,
      overflows,
      table,
      certificates: this.#resources.certificates?.ends ?? [],
      metrics: this.counted,
    };
  }

  #accessLog(): AccessLogRuntime | null {
    const { accessLog } = this.config;
    if (accessLog === false) return null;
    if (accessLog === null) {
      const { accessLog: log = null } = this.#parts;
      return log === null ? null : { log, headers: [] };
    }
    const opened = this.#openLog = this.#stack.use(openAccessLog(accessLog, this.#parts));
    return { log: opened.log, headers: accessLog.headers };
  }

  /** The names of the keys that have used most of their limits, to be sent to another process. */
  namedKeys(most: number): readonly NamedKey[] {
    return this.#admissions.namedKeys(most);
  }

  /** Adds key names that another process has sent. */
  adoptKeys(keys: readonly NamedKey[]): void {
    this.#admissions.adoptKeys(keys);
  }

  /** Writes lines of a worker to the access log; `false` if the configuration has none. */
  accessLines(text: string): boolean {
    this.#openLog?.lines(text);
    return this.#openLog !== null;
  }

  /** Reopens the file of the access log after it was moved; does nothing without such a file. */
  reopenLog(): void {
    this.#openLog?.reopen();
  }

  #routeMeter(name: string): RouteMeter | null {
    return this.counted === null ? null : this.#stack.use(this.counted.route(name));
  }

  #policyMeters(): PolicyMeters | null {
    if (this.counted === null || this.#admissions.overflows.size === 0) return null;
    return this.#stack.use(this.counted.policies(this.#admissions.overflows.keys()));
  }

  #createPool(resolved: ResolvedPool, before: PoolPlane | null = null): PoolRuntime {
    const { name } = resolved;
    const plane = this.#stack.use(
      new PoolPlane(resolved, {
        ...this.#parts,
        transports: this.#resources.transports,
        leased: this.#transports,
        metrics: this.counted,
        before,
      }),
    );
    this.#poolPlanes.set(name, plane);
    return plane.runtime;
  }

  /** Ends the checks, and closes the connections that no other configuration uses. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Whether anything in the configuration compares paths: an unusual spelling could bypass that. */
function comparesPaths({ routes, paths, forward, filters, limiter }: ResolvedConfig): boolean {
  return routes.length > 0 || paths === "refuse" || forward === "normalized" || limiter.length > 0 ||
    Object.values(filters).some((filter) => filter !== undefined);
}

/** What routes need in addition to their configuration. */
interface RouteParts {
  readonly pools: ReadonlyMap<string, PoolRuntime>;
  readonly clock: Clock;
  readonly random: Random;
  /** The limits of the whole proxy. */
  readonly admission: Admission | null;
  /** The shared cells for the retry budget of a route. */
  budget(index: number): SharedCells | null;
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
    routes: routes.map((route, index) => createRoute(route, index, { ...parts, admit })),
  };
}

function createRoute(
  route: ResolvedRoute,
  index: number,
  { pools, clock, random, admission, admit, meter, budget }: RouteParts,
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
    retries: retries === undefined
      ? undefined
      : createRetries(retries, clock, (retries?.budget ?? null) === null ? null : budget(index)),
    timeouts: Object.keys(timeouts).length === 0
      ? null
      // For every pool, because `upstreamPeer` may return any.
      : new Map(Array.from(pools.values(), (pool) => [pool, { ...pool.timeouts, ...timeouts }])),
  };
}

// Opens the access log of a configuration.

/** An access log that is open. */
interface OpenAccessLog extends AsyncDisposable {
  readonly log: AccessLog;
  /** Writes lines that another process has formatted. */
  lines(text: string): void;
  /** Reopens the file after it was moved; does nothing without a file. */
  reopen(): void;
}

/**
 * Opens an access log.
 *
 * @throws when its file cannot be opened
 */
function openAccessLog(
  options: ResolvedAccessLog,
  { clock, random, observer, stdout = Deno.stdout }: ProxyParts,
): OpenAccessLog {
  const onError = (name: string, error: unknown): void => reportCallbackError(observer, name, error);
  const open = (sink: LineSink): AccessLog => new AccessLog({ sink, options, clock, random, onError });
  if (typeof options.to === "object") {
    const { to } = options;
    const file = new LineFile({
      file: to,
      clock,
      onProblem: (problem) => observer.event({ kind: "access_log", path: to.path, problem }),
    });
    return {
      log: open(file),
      lines: (text) => text.split("\n").forEach((line) => file.line(line)),
      reopen: () => file.reopen(),
      [Symbol.asyncDispose]: () => Promise.resolve(file[Symbol.dispose]()),
    };
  }
  const writer = new LineWriter({
    sink: options.to === "stdout" ? stdout : Deno.stderr,
    clock,
    lossLine: createLossLine(options.format === "json" ? "json" : "text", clock),
  });
  return {
    log: open(writer),
    lines: (text) => writer.line(text),
    reopen: () => {},
    [Symbol.asyncDispose]: async () => {
      await atMostASecond(writer.flush(), clock);
      writer[Symbol.dispose]();
    },
  };
}

/** Bounds the wait, so that a reader of the log that has stopped reading does not delay the shutdown. */
async function atMostASecond(flushed: Promise<void>, clock: ProxyParts["clock"]): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  using _timer = clock.setTimer(resolve, 1000);
  await Promise.race([flushed, promise]);
}
