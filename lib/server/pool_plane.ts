/** One pool: its servers, its load balancer, its discovery. */

import { LoadBalancer } from "../balancer/load_balancer.ts";
import { callAside, messageOf } from "../core/callback.ts";
import type { ResolvedPool } from "../config/pool_options.ts";
import { resolveServer } from "../filter/resolve_peer.ts";
import type { HealthChange } from "../health/health_checker.ts";
import type { ProxyEvent } from "../observe/events.ts";
import type { PoolMeter, ServerMeter } from "../observe/metrics/meters.ts";
import type { Observer } from "../observe/observer.ts";
import { reportCallbackError } from "../proxy/settle_exchange.ts";
import type { PoolRuntime, WebSocketRuntime } from "../proxy/proxy_runtime.ts";
import { selectTransport } from "../transport/select_transport.ts";
import { Discovery } from "../upstream/discovery.ts";
import { Pool, type PoolChange } from "../upstream/pool.ts";
import type { Server } from "../upstream/server.ts";
import type { Clock } from "../core/clock.ts";
import type { SharedCells } from "../upstream/shared_servers.ts";
import { RetryBudget } from "../proxy/overload_limit.ts";
import type { RetryPolicy } from "../config/retry_options.ts";
import type { RetryRuntime } from "../proxy/proxy_runtime.ts";
import type { ProxyMetrics } from "./proxy_metrics.ts";
import type { PlacedPool, ProxyParts, SharedParts } from "./serve_options.ts";
import type { Transports, TransportSource } from "./proxy_resources.ts";

/**
 * Makes the retry policy of a pool or route, with its budget.
 *
 * @param cells hold the budget if several processes share it; `null` if there is only one process
 */
export function createRetries(
  policy: RetryPolicy | null,
  clock: Clock,
  cells: SharedCells | null,
): RetryRuntime | null {
  if (policy === null) return null;
  const { budget } = policy;
  if (budget === null) return { policy, budget };
  const aheadMs = cells === null ? 0 : clock.wallTime() - clock.now();
  return { policy, budget: new RetryBudget(budget, cells?.budget ?? null, aheadMs) };
}

const NO_CHANGE: Pick<PoolChange, "added" | "removed"> = { added: [], removed: [] };

/** What a {@linkcode PoolPlane} needs in addition to its configuration. */
interface PoolParts extends ProxyParts {
  /** All transports of the proxy; they keep connections to servers across configurations. */
  readonly transports: Transports;
  /** The transports of this configuration. */
  readonly leased: TransportSource;
  /** The metrics; `null` if they are off. */
  readonly metrics: ProxyMetrics | null;
  /** The pool of the same name in the former configuration. */
  readonly before: PoolPlane | null;
}

/** Makes and connects the parts of a pool, and reports changes of its servers. */
export class PoolPlane implements AsyncDisposable {
  readonly runtime: PoolRuntime;
  readonly #pool: Pool;
  readonly #resolved: ResolvedPool;
  readonly #observer: Observer;
  readonly #balancer: LoadBalancer;
  readonly #discovery: Discovery | null;
  readonly #transports: Transports;
  readonly #shared: SharedParts | null;
  readonly #secret: string | null;
  /** Whether disposing this pool frees its slot. */
  #ownsSlot: boolean;
  readonly #metrics: ProxyMetrics | null;
  readonly #meter: PoolMeter | null;

  constructor(resolved: ResolvedPool, parts: PoolParts) {
    const { name, servers, balancing, timeouts, retries } = resolved;
    const { transports, leased, before } = parts;
    const transport = leased.get(resolved.transport);
    this.#resolved = resolved;
    this.#observer = parts.observer;
    this.#transports = transports;
    const { shared = null } = parts;
    const placed = shared === null || shared.role === "supervisor" ? null : shared.pool(name);
    this.#ownsSlot = shared !== null && shared.role === "supervisor" && before === null;
    const pool = this.#pool = new Pool({
      name,
      servers: placed?.servers ?? [...servers, ...foundBefore(resolved, before)],
      resolve: resolveServer(resolved.way),
      before: before === null ? null : before.#pool,
      shared: shared?.servers ?? null,
      slot: placed?.slot,
    });
    this.#shared = shared;
    this.#secret = placed?.secret ?? resolved.sticky?.secret ?? null;
    this.#metrics = parts.metrics;
    this.#meter = this.#metrics?.pool(name) ?? null;
    pool.subscribe({
      onAdded: (server) => this.#count(server),
      onRemoved: (server) => this.#forget(server),
    });
    for (const server of pool.servers) this.#count(server);
    this.#balancer = this.#createBalancer(parts);
    this.#discovery = this.#createDiscovery(parts);
    const { healthCheck, key } = balancing;
    const retryAfterSeconds = Math.max(1, Math.ceil((healthCheck?.intervalMs ?? 1000) / 1000));
    this.runtime = {
      name,
      balancer: this.#balancer,
      key: key?.of ?? null,
      transport,
      timeouts,
      bufferBytes: resolved.bufferBytes,
      retries: createRetries(retries, parts.clock, pool.cells),
      webSocket: webSocketRuntime(resolved, leased),
      retryAfterSeconds,
      meter: this.#meter,
    };
  }

  /** Number of discovery runs that failed or foundBefore nothing; `null` without discovery. */
  get discoveryFailures(): number | null {
    return this.#discovery?.failures ?? null;
  }

  /** Discovers servers and checks each one once; bounded by the timeouts of both. */
  async start(): Promise<void> {
    await this.#discovery?.start();
    await this.#balancer.startHealthChecks();
    this.#balancer.prepare();
  }

  /** Takes over the state of servers that are in both pools. The former pool finishes its running requests. */
  takeOver(before: PoolPlane): void {
    before.endDiscovery();
    this.#ownsSlot = before.#ownsSlot;
    before.#ownsSlot = false;
    this.#balancer.takeOver(before.#balancer);
    if (before.#meter !== null) this.#meter?.keep(before.#meter);
    for (const server of this.#pool.servers) {
      this.#count(server);
      const former = before.#meterOf(server);
      if (former !== undefined) this.#meterOf(server)?.keep(former);
    }
  }

  get #isWorker(): boolean {
    return this.#shared !== null && this.#shared.role === "worker";
  }

  /** The slot, servers and secret of the pool, for workers. */
  get placed(): PlacedPool {
    return { slot: this.#pool.slot!, servers: this.#pool.placed, secret: this.#secret };
  }

  #count(server: Server): void {
    if (this.#metrics === null) return;
    let meter = this.#meterOf(server);
    if (meter === undefined) {
      meter = this.#metrics.server(this.#pool.name, server.id);
      this.#meter!.servers.set(server, meter);
    }
    this.#transports.meters.set(server.peer, meter);
  }

  /** Releases what is kept for a server that is in no pool any more. */
  #forget(server: Server): void {
    this.#transports.forget(server.peer);
    this.#transports.meters.delete(server.peer);
    this.#meterOf(server)?.[Symbol.dispose]();
    this.#meter?.servers.delete(server);
    if (this.#shared?.role === "supervisor") this.#shared.servers.free(server.cells!.slot);
  }

  #meterOf(server: Server): ServerMeter | undefined {
    return this.#meter?.servers.get(server);
  }

  /** Ends discovery. */
  endDiscovery(): void {
    this.#discovery?.[Symbol.dispose]();
  }

  #createBalancer({ clock, random }: ProxyParts): LoadBalancer {
    const { balancing, sticky } = this.#resolved;
    return new LoadBalancer({
      pool: this.#pool,
      ...balancing,
      sticky: sticky === null ? null : { ...sticky, secret: this.#secret! },
      worker: this.#isWorker,
      clock,
      random,
      onHealthChange: (server, healthy, reason) => this.#healthChanged(server, healthy, reason),
      onCheckImpossible: (server, message) =>
        this.#observer.event({
          kind: "health_check_error",
          pool: this.#pool.name,
          server: server.id,
          message,
        }),
      onEjection: (server, ejected, reason) => this.#ejectionChanged(server, ejected, reason),
      onPanic: (panic) =>
        this.#observer.event({ kind: "panic", pool: this.#pool.name, panic, ...this.#counts() }),
      onBalanceError: (error) => reportCallbackError(this.#observer, "balance", error),
    });
  }

  #createDiscovery({ clock, random }: ProxyParts): Discovery | null {
    const { discovery } = this.#resolved.balancing;
    if (discovery === null || this.#isWorker) return null;
    const { discover, intervalMs, timeoutMs } = discovery;
    return new Discovery({
      pool: this.#pool,
      discover,
      intervalMs,
      timeoutMs,
      clock,
      random,
      onChange: (change) => this.#discovered("changed", null, change),
      onFailure: (error) => this.#discovered("failed", messageOf(error)),
      onRecovery: () => this.#discovered("recovered", null),
    });
  }

  #healthChanged(server: Server, healthy: boolean, reason: string): void {
    this.#meterOf(server)?.healthChanged(healthy);
    const { servers, name } = this.#pool;
    this.#observer.event({
      kind: "health",
      pool: name,
      server: server.id,
      healthy,
      reason: reason === "" ? null : reason,
      healthyServers: servers.filter((each) => each.healthy).length,
      totalServers: servers.length,
    });
    this.#callHook(server, healthy, reason);
  }

  /** Calls `onHealthChange`; if it throws or rejects, the checks go on. */
  #callHook(...change: Parameters<HealthChange>): void {
    const { onHealthChange } = this.#resolved.balancing;
    if (onHealthChange === null) return;
    callAside(
      () => onHealthChange(...change),
      (error) => reportCallbackError(this.#observer, "onHealthChange", error),
    );
  }

  #ejectionChanged(server: Server, ejected: boolean, reason: string): void {
    if (ejected) this.#meterOf(server)?.ejected();
    this.#observer.event({
      kind: "ejection",
      pool: this.#pool.name,
      server: server.id,
      ejected,
      reason: ejected ? reason : null,
      ...this.#counts(),
    });
  }

  #discovered(
    state: ProxyEvent<"discovery">["state"],
    message: string | null,
    { added, removed }: Pick<PoolChange, "added" | "removed"> = NO_CHANGE,
  ): void {
    const { name, servers } = this.#pool;
    this.#observer.event({
      kind: "discovery",
      pool: name,
      state,
      message,
      added: added.map(({ id }) => id),
      removed: removed.map(({ id }) => id),
      totalServers: servers.length,
    });
  }

  #counts(): { availableServers: number; totalServers: number } {
    const { servers } = this.#pool;
    return {
      availableServers: servers.filter((each) => each.available).length,
      totalServers: servers.length,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.endDiscovery();
    for (const server of this.#pool.release()) this.#forget(server);
    if (this.#ownsSlot) this.#shared!.servers.free(this.#pool.slot!);
    await this.#balancer[Symbol.asyncDispose]();
    this.#meter?.[Symbol.dispose]();
  }
}

/** Servers that the former pool has discovered; used until this pool's own discovery succeeds. */
function foundBefore({ balancing, servers }: ResolvedPool, before: PoolPlane | null): readonly Server[] {
  if (balancing.discovery === null || before === null || before.discoveryFailures === null) return [];
  const ids = new Set(servers.map(({ id }) => id));
  return before.runtime.balancer.pool.servers.filter(({ id }) => !ids.has(id));
}

/** How WebSockets are forwarded. Not by `fetch`, which does not expose its connection, so not through an outbound proxy. */
function webSocketRuntime(
  { webSocket, transport: plan }: ResolvedPool,
  transports: TransportSource,
): WebSocketRuntime | null {
  if (webSocket === null || (plan.kind === "fetch" && plan.proxy !== null)) return null;
  return { ...webSocket, transport: transports.get(plan.kind === "fetch" ? selectTransport() : plan) };
}
