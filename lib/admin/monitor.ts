/** Samples a proxy once a second, for the status and its rates. */

import { cpuUsage } from "node:process";
import type { ResolvedAdmin } from "../config/admin_options.ts";
import { describeKey } from "../config/describe_limits.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import type { ProxyEvent } from "../observe/events.ts";
import { distributionSince, quantile } from "../observe/metrics/series.ts";
import type { Traffic } from "../observe/metrics/traffic.ts";
import type { PoolRuntime } from "../proxy/proxy_runtime.ts";
import type { Server } from "../upstream/server.ts";
import type { AdminTarget, WorkerCounts, WorkerInfo } from "./admin_target.ts";
import { History, ServerHistory, type ServerRecord } from "./server_history.ts";
import type {
  CheckStatus,
  ConfigurationStatus,
  KeyStatus,
  LimitStatus,
  PoolStatus,
  RequestStatus,
  ServerStatus,
  Status,
  TableStatus,
  WorkerStatus,
} from "./status.ts";

const INTERVAL_MS = 1000;
/** Number of keys per policy in a status. */
const HOTTEST = 10;

/** The resource usage of a worker. */
interface ProcessUse extends Pick<WorkerCounts, "cpuSeconds" | "loopDelay"> {
  readonly cpu: number;
  readonly loopDelayMs: number;
}

/**
 * Calculates rates and the time of the last state change of servers, and makes the status on request.
 *
 * Does nothing per request: it reads counts that exist anyway.
 */
export class Monitor implements Disposable {
  /** Called after each sample. */
  onLook: (() => void) | null = null;
  readonly history: History = new History();
  readonly #target: AdminTarget;
  readonly #admin: ResolvedAdmin;
  readonly #servers = new ServerHistory();
  #timer: Disposable | null = null;
  #sampledAt: number;
  #arrived: number;
  #perSecond = 0;
  #cpuMicros: number;
  #cpu = 0;
  #loopDelayMs = 0;
  /** Usage of each worker at the last sample, by process id. */
  #processes = new Map<number, ProcessUse>();
  /** Traffic of the last second; `null` if metrics are off, and in the first second. */
  #recent: Traffic | null = null;
  readonly #readTraffic: (() => Traffic) | null;
  #lastReload: ConfigurationStatus["lastReload"] = null;

  /** @param admin its `readyz` is used if a configuration that was loaded later has no `admin` */
  constructor(target: AdminTarget, admin: ResolvedAdmin) {
    this.#target = target;
    this.#admin = admin;
    this.#sampledAt = target.clock.now();
    this.#arrived = target.arrived;
    this.#cpuMicros = usedMicros();
    this.#readTraffic = target.traffic?.reader() ?? null;
    this.#sampleServers(0);
    this.#schedule();
  }

  /** Receives an event. */
  note(event: ProxyEvent): void {
    if (event.kind === "reload") {
      const { outcome, problems, trigger } = event;
      const message = outcome === "rolled_back" ? trigger : problems.join("; ");
      const at = rfc3339(this.#target.clock.wallTime());
      this.#lastReload = { at, applied: outcome === "applied", message };
    }
    this.#servers.note(event);
    this.#sampleServers(0);
  }

  #schedule(): void {
    this.#timer = this.#target.clock.setTimer(() => this.#tick(), INTERVAL_MS);
  }

  #tick(): void {
    const now = this.#target.clock.now();
    const elapsedMs = now - this.#sampledAt;
    this.#sampledAt = now;
    this.#schedule();
    if (elapsedMs <= 0) return;
    const { arrived } = this.#target;
    this.#perSecond = Math.max(0, arrived - this.#arrived) * 1000 / elapsedMs;
    this.#arrived = arrived;
    const cpuMicros = usedMicros();
    this.#cpu = (cpuMicros - this.#cpuMicros) / 1000 / elapsedMs;
    this.#cpuMicros = cpuMicros;
    this.#loopDelayMs = Math.max(0, elapsedMs - INTERVAL_MS);
    this.#recent = this.#readTraffic === null ? null : this.#readTraffic();
    this.#sampleWorkers(elapsedMs);
    this.#sampleServers(elapsedMs);
    const { codes, refused, latency } = this.#requests(null);
    this.history.add(this.#target.clock.wallTime(), {
      perSecond: this.#perSecond,
      inFlight: this.#target.running,
      cpu: this.#cpu,
      ok: (codes["1xx"] ?? 0) + (codes["2xx"] ?? 0) + (codes["3xx"] ?? 0),
      client: codes["4xx"] ?? 0,
      server: codes["5xx"] ?? 0,
      refused,
      p50: latency?.p50Ms ?? null,
      p95: latency?.p95Ms ?? null,
      p99: latency?.p99Ms ?? null,
    });
    this.onLook?.();
  }

  #sampleServers(elapsedMs: number): void {
    const { pools, clock } = this.#target;
    this.#servers.look(pools, clock.wallTime(), elapsedMs);
  }

  /** Whether the proxy serves requests, and each pool of `readyz` has enough servers. */
  get ready(): boolean {
    return this.unready === null;
  }

  /** Why the proxy is not ready; `null` if it is. */
  get unready(): string | null {
    const { config: { admin }, pools } = this.#target;
    if (this.#state !== "serving") return this.#state === "stopping" ? "The proxy stops" : "The proxy starts";
    const { pools: names, minServers } = (admin ?? this.#admin).readyz;
    const short = names.filter((name) =>
      !pools.some((pool) => pool.name === name && availableOf(pool) >= minServers)
    );
    return short.length === 0 ? null : `Too few servers in ${short.join(" and ")}`;
  }

  get #state(): Status["state"] {
    const { stopping, addresses } = this.#target;
    if (stopping) return "stopping";
    return addresses.length === 0 ? "starting" : "serving";
  }

  /** Updates the names of keys from workers. */
  async refresh(): Promise<void> {
    if (this.#target.limits.limiters.length > 0) await this.#target.askKeys();
  }

  /** The current state. */
  status(): Status {
    const target = this.#target;
    const { clock, configuration } = target;
    const total = target.traffic?.total() ?? null;
    const now = clock.wallTime();
    return {
      time: rfc3339(now),
      version: target.version,
      state: this.#state,
      ready: this.ready,
      startedAt: rfc3339(target.startedAt),
      uptimeMs: Math.max(0, Math.round(now - target.startedAt)),
      addresses: target.addresses,
      configuration: {
        source: target.source,
        hash: configuration.hash,
        generation: configuration.generation,
        loadedAt: rfc3339(configuration.loadedAt),
        lastReload: this.#lastReload,
      },
      logLevel: target.logLevel,
      requests: this.#requests(total),
      pools: target.pools.map((pool) => this.#poolStatus(pool, total)),
      limits: this.#limits(total),
      table: this.#table(),
      workers: this.#workers(),
    };
  }

  /**
   * Keys of a policy that have used at least this share of their limit, sorted by usage.
   *
   * @param name name of the policy; policies of several routes may have the same name
   */
  keys(name: string, near: number, most: number): KeyStatus[] {
    const { limiters } = this.#target.limits;
    const seen = new Set<ResolvedPolicy>();
    const keys = limiters.flatMap((limiter) => {
      const own = limiter.policies.filter((policy) => policy.name === name && !seen.has(policy));
      for (const policy of own) seen.add(policy);
      return own.length === 0 ? [] : limiter.busyKeys().filter(({ policy }) => own.includes(policy));
    });
    return keys.map(({ key, used, limit, resetMs, bannedMs }): KeyStatus => ({
      key,
      used,
      limit,
      share: limit === 0 ? 1 : rounded(used / limit),
      resetMs: resetMs === null ? null : Math.round(resetMs),
      bannedMs: Math.round(bannedMs),
    })).filter(({ share, bannedMs }) => share >= near || bannedMs > 0)
      .sort((one, other) => other.share - one.share || other.used - one.used)
      .slice(0, most);
  }

  #requests(total: Traffic | null): RequestStatus {
    const recent = this.#recent;
    return {
      arrived: this.#target.arrived,
      inFlight: this.#target.running,
      perSecond: rounded(this.#perSecond),
      codes: recent === null ? {} : byClass(recent.codes, recent.seconds),
      refused: recent === null ? 0 : rounded((recent.sources.limiter ?? 0) / recent.seconds),
      latency: recent === null ? null : recent.latency,
      total: total === null ? {} : total.codes,
    };
  }

  #poolStatus(pool: PoolRuntime, total: Traffic | null): PoolStatus {
    const { name, balancer } = pool;
    const servers = [...balancer.pool.servers, ...balancer.pool.leaving].map((server) =>
      this.#serverStatus(server, pool, total)
    );
    return {
      name,
      panic: balancer.panic,
      available: availableOf(pool),
      waiting: balancer.waiting,
      inFlight: balancer.pool.inFlight,
      perSecond: rounded(servers.reduce((sum, { perSecond }) => sum + perSecond, 0)),
      servers,
    };
  }

  #serverStatus(server: Server, pool: PoolRuntime, total: Traffic | null): ServerStatus {
    const isOurs = (each: Traffic["servers"][number]) => each.pool === pool.name && each.server === server.id;
    const recent = this.#recent?.servers.find(isOurs);
    const all = total?.servers.find(isOurs);
    const record: ServerRecord = this.#servers.of(server)!;
    const { id, weight, effectiveWeight, backup, tags, inFlight, maxInFlight, requests, failures } = server;
    const lastCheck = this.#lastCheck(server, pool);
    return {
      address: id,
      state: record.state,
      since: rfc3339(record.since),
      reason: record.state === "up" || record.state === "full" ? null : record.reason,
      weight,
      effectiveWeight: rounded(effectiveWeight),
      backup,
      tags,
      inFlight,
      maxInFlight: maxInFlight === Infinity ? null : maxInFlight,
      requests,
      failures,
      consecutiveFailures: server.consecutiveFailures,
      perSecond: rounded(record.perSecond),
      failuresPerSecond: rounded(record.failuresPerSecond),
      latency: recent?.latency ?? null,
      codes: all?.codes ?? {},
      errors: all?.errors ?? {},
      lastCheck,
    };
  }

  #lastCheck(server: Server, { balancer }: PoolRuntime): CheckStatus | null {
    const last = balancer.lastCheck(server);
    if (last === null) return null;
    const { clock } = this.#target;
    const { result, startedAt, durationMs } = last;
    return {
      at: rfc3339(clock.wallTime() - (clock.now() - startedAt)),
      passed: result.kind === "passed",
      durationMs: Math.round(durationMs * 10) / 10,
      text: result.kind === "passed" ? "" : result.reason,
    };
  }

  #limits(total: Traffic | null): LimitStatus[] {
    const recent = this.#recent;
    const decisionsOf = (traffic: Traffic | null, name: string) =>
      traffic?.policies.find(({ policy }) => policy === name)?.decisions ?? {};
    const { limiters, overflows } = this.#target.limits;
    const policies = new Set(limiters.flatMap((limiter) => limiter.policies));
    return Array.from(policies, (policy): LimitStatus => ({
      name: policy.name,
      scope: policy.scope,
      algorithm: policy.algorithm,
      key: describeKey(policy.keySpec),
      limit: typeof policy.limit === "number" ? policy.limit : null,
      windowMs: policy.windowMs,
      dryRun: policy.dryRun,
      decisions: decisionsOf(total, policy.name),
      perSecond: rates(decisionsOf(recent, policy.name), recent?.seconds ?? 1),
      overflows: overflows.get(policy.name) ?? 0,
      hottest: this.keys(policy.name, 0, HOTTEST),
    }));
  }

  #table(): TableStatus | null {
    const { table } = this.#target.limits;
    if (table === null) return null;
    return { keys: table.keys, capacity: table.maxKeys };
  }

  #workers(): WorkerStatus[] {
    const { workers } = this.#target;
    const own = this.#ownProcess(workers === null);
    return workers === null ? [own] : [own, ...workers.map((worker) => this.#workerStatus(worker))];
  }

  #workerStatus({ id, pid, state, uptimeMs, restarts, inFlight, counted }: WorkerInfo): WorkerStatus {
    const { cpu = 0, loopDelayMs = 0 } = this.#processes.get(pid) ?? {};
    return {
      id,
      role: "worker",
      pid,
      state,
      generation: this.#target.configuration.generation,
      uptimeMs: Math.round(uptimeMs),
      restarts,
      requests: counted === null ? null : counted.requests,
      inFlight,
      rssBytes: counted === null ? null : counted.rssBytes,
      heapBytes: null,
      cpu: rounded(cpu),
      loopDelayMs: Math.round(loopDelayMs * 10) / 10,
    };
  }

  /** Calculates the resource usage of workers since the last sample. */
  #sampleWorkers(elapsedMs: number): void {
    const before = this.#processes;
    this.#processes = new Map();
    for (const { pid, counted } of this.#target.workers ?? []) {
      if (counted === null) continue;
      const { cpuSeconds, loopDelay } = counted;
      const last = before.get(pid);
      const late = distributionSince(loopDelay, last?.loopDelay);
      this.#processes.set(pid, {
        cpuSeconds,
        loopDelay,
        cpu: last === undefined ? 0 : Math.max(0, cpuSeconds - last.cpuSeconds) * 1000 / elapsedMs,
        loopDelayMs: late.count === 0 ? 0 : quantile(late, 1) ?? 0,
      });
    }
  }

  #ownProcess(alone: boolean): WorkerStatus {
    const { rss, heapUsed } = Deno.memoryUsage();
    const { arrived, running, startedAt, clock, configuration } = this.#target;
    const state = this.#state;
    return {
      id: 0,
      role: alone ? "proxy" : "supervisor",
      pid: Deno.pid,
      state,
      generation: configuration.generation,
      uptimeMs: Math.max(0, Math.round(clock.wallTime() - startedAt)),
      restarts: 0,
      requests: alone ? arrived : 0,
      inFlight: alone ? running : 0,
      rssBytes: rss,
      heapBytes: heapUsed,
      cpu: rounded(this.#cpu),
      loopDelayMs: Math.round(this.#loopDelayMs * 10) / 10,
    };
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
    this.onLook = null;
  }
}

function availableOf({ balancer: { pool } }: PoolRuntime): number {
  return pool.servers.filter((server) => server.available && server.weight > 0).length;
}

/** Sums counts by status into rates by class. */
function byClass(codes: Readonly<Record<string, number>>, seconds: number): Record<string, number> {
  const classes: Record<string, number> = {};
  for (const [code, count] of Object.entries(codes)) {
    const name = `${code[0]}xx`;
    classes[name] = (classes[name] ?? 0) + count;
  }
  return rates(classes, seconds);
}

function rates(counts: Readonly<Record<string, number>>, seconds: number): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, rounded(count / seconds)]));
}

function usedMicros(): number {
  const { user, system } = cpuUsage();
  return user + system;
}

function rfc3339(ms: number): string {
  return new Date(ms).toISOString();
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
