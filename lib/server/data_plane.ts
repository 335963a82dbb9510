/** Composition root: the only place where the parts of a proxy are made and joined. */

import { DeadlineWheel } from "../core/deadline_wheel.ts";
import type { ResolvedConfig, ResolvedPool } from "../config/proxy_config.ts";
import { allPolicies } from "../config/route_limits.ts";
import { LoopMark } from "../http/forwarded.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import type { RedisStores } from "../redis/redis_stores.ts";
import { NamedPeers } from "../proxy/choose_upstream.ts";
import { EXCHANGE_STEPS } from "../proxy/handle_request.ts";
import type { PoolRuntime, ProxyRuntime } from "../proxy/proxy_runtime.ts";
import { RunningRequests } from "../proxy/running_requests.ts";
import { writeMetrics } from "../observe/exposition.ts";
import type { Pool } from "../upstream/pool.ts";
import { Admissions } from "./admissions.ts";
import { createRoutes } from "./create_routes.ts";
import { collectMetrics } from "./collect_metrics.ts";
import { PoolPlane } from "./pool_plane.ts";
import type { ServeOptions } from "./serve.ts";
import { Transports } from "./transports.ts";

/** How often waiting things look at the clock; the most that a timeout can be late. */
const TICK_MS = 20;

/** What a {@linkcode DataPlane} takes; it disposes the stores with itself. */
export interface DataPlaneOptions extends Required<ServeOptions> {
  /** Opens the stores of limits that are shared with other machines; `null` when none is. @default {null} */
  stores?: RedisStores | null;
}

/** Everything of a proxy but its listeners; holds it all, and lets go of it all at once. */
export class DataPlane implements AsyncDisposable {
  readonly runtime: ProxyRuntime;
  /** The pools by name, to be changed while the proxy runs. */
  readonly pools: ReadonlyMap<string, Pool>;
  readonly #options: DataPlaneOptions;
  readonly #transports: Transports;
  readonly #admissions: Admissions;
  readonly #poolPlanes: PoolPlane[] = [];
  readonly #stack = new AsyncDisposableStack();

  constructor(config: ResolvedConfig, options: DataPlaneOptions) {
    const { clock, observer } = options;
    this.#options = options;
    if (options.stores) this.#stack.use(options.stores);
    const wheel = this.#stack.use(new DeadlineWheel({ clock, tickMs: TICK_MS }));
    this.#transports = this.#stack.use(new Transports({ clock, wheel }));
    const pools = new Map<string, PoolRuntime>();
    for (const pool of config.pools.values()) pools.set(pool.name, this.#createPool(pool));
    this.pools = new Map(Array.from(pools, ([name, { balancer }]) => [name, balancer.pool]));
    const running = new RunningRequests();
    const admissions = this.#admissions = this.#stack.use(new Admissions(allPolicies(config), options));
    const admission = admissions.create(config.limiter);
    const admit = (policies: readonly ResolvedPolicy[]) => admissions.create(policies);
    this.runtime = {
      clock,
      wheel,
      observer,
      pools,
      members: this.pools,
      defaultPool: pools.get(config.defaultPool)!,
      admission,
      routes: createRoutes(config, { pools, random: options.random, admission, admit }),
      paths: config.paths,
      normalized: config.forward === "normalized",
      looksAtPaths: looksAtPaths(config),
      filters: config.filters,
      trustedProxies: config.trustedProxies,
      forwardedFields: config.forwarded,
      loopMark: config.forwarded.cdnLoop
        ? new LoopMark(config.forwarded, crypto.randomUUID().slice(0, 18))
        : null,
      namedPeers: new NamedPeers({ onForget: (peer) => this.#transports.forget(peer) }),
      count: { arrived: 0 },
      running,
      steps: EXCHANGE_STEPS,
    };
  }

  /** Finds the servers of every pool and checks each of them once; bounded by the timeouts of both. */
  async start(): Promise<void> {
    await Promise.all([this.#options.stores?.ready(), ...this.#poolPlanes.map((plane) => plane.start())]);
  }

  /** What it knows of itself as numbers. */
  metrics(): string {
    const { count: { arrived }, running } = this.runtime;
    const { overflows } = this.#admissions;
    return writeMetrics(
      collectMetrics({ pools: this.#poolPlanes, arrived, running: running.size, overflows }),
    );
  }

  #createPool(resolved: ResolvedPool): PoolRuntime {
    const plane = this.#stack.use(new PoolPlane(resolved, this.#transports, this.#options));
    this.#poolPlanes.push(plane);
    return plane.runtime;
  }

  /** Ends the checks and closes every connection to a server. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Whether a path written in an unusual way could slip past anything of the configuration. */
function looksAtPaths({ routes, paths, forward, filters, limiter }: ResolvedConfig): boolean {
  return routes.length > 0 || paths === "refuse" || forward === "normalized" || limiter.length > 0 ||
    Object.values(filters).some((filter) => filter !== undefined);
}
