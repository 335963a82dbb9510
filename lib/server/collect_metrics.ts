/** Collects the metrics of a proxy when somebody asks: what was counted, and what can be read off its parts. */

import process from "node:process";
import type { WorkerInfo } from "../admin/admin_target.ts";
import { VERSION } from "../core/version.ts";
import type { MemoryUse } from "../limiter/shared_table.ts";
import { METRICS } from "../observe/metrics/catalog.ts";
import type { Metric, SeriesValue } from "../observe/metrics/registry.ts";
import type { MetricFamily } from "../observe/metrics/series.ts";
import { SERVER_STATES, serverState } from "../upstream/eligibility.ts";
import type { CertificateEnd } from "./certificates.ts";
import type { PoolPlane } from "./pool_plane.ts";
import type { ProxyMetrics } from "./proxy_metrics.ts";

/** What the metrics are read from. */
interface MetricSources {
  readonly pools: readonly PoolPlane[];
  /** Requests that have arrived. */
  readonly arrived: number;
  /** Requests that are not over. */
  readonly running: number;
  /** Requests that wait because so many run; `null` where they are not bounded. */
  readonly overloaded: number | null;
  /** For each policy, in how many windows keys did not fit the table. */
  readonly overflows: ReadonlyMap<string, number>;
  /** Until when certificates of listeners are good. */
  readonly certificates: readonly CertificateEnd[];
  /** How full the table of counts is; `null` without one. */
  readonly table: MemoryUse | null;
  /** What was counted; `null` where that is off. */
  readonly metrics: ProxyMetrics | null;
}

/** Collects all metrics, in the order of the catalog. */
export function collectMetrics(sources: MetricSources): Metric[] {
  const read = readParts(sources);
  const counted = sources.metrics?.series();
  return Object.entries(METRICS).map(([key, family]) => ({
    family,
    values: valuesOf(read[key as keyof typeof METRICS], counted?.get(family.name)?.values()),
  }));
}

/** What is so in this process and in others; one of them where only one says something. */
function valuesOf(
  read: readonly SeriesValue[] | undefined,
  counted: Iterable<SeriesValue> | undefined,
): Iterable<SeriesValue> {
  if (read === undefined || counted === undefined) return read ?? counted ?? [];
  const sums = new Map<string, SeriesValue>();
  for (const { labels, cells } of [...read, ...counted]) {
    const known = sums.get(labels.join("\0"));
    if (known === undefined) sums.set(labels.join("\0"), { labels, cells: cells.slice() });
    else known.cells[0]! += cells[0]!;
  }
  return sums.values();
}

/** What each worker has a part of. */
const OF_WORKERS = [
  "overloadQueue",
  "queueLength",
  "overflows",
  "webSocketsOpen",
  "connectionsOpen",
  "memory",
  "cpu",
] as const;

/** Reads what is a worker's own, for the supervisor to add it up. */
export function readOfWorker(sources: MetricSources): [MetricFamily, readonly SeriesValue[]][] {
  const read = readParts(sources);
  return OF_WORKERS.map((key) => [METRICS[key], read[key] ?? []]);
}

type PartValues = Partial<Record<keyof typeof METRICS, readonly SeriesValue[]>>;

function readParts(sources: MetricSources): PartValues {
  const { pools, arrived, running, overloaded, overflows, table, certificates, metrics } = sources;
  return {
    received: [one(arrived)],
    inFlight: [one(running)],
    ...(overloaded === null ? {} : { overloadQueue: [one(overloaded)] }),
    ...readServers(pools),
    panic: pools.map(({ runtime: { name, balancer } }) => one(balancer.panic ? 1 : 0, name)),
    queueLength: pools.map(({ runtime: { name, balancer } }) => one(balancer.waiting, name)),
    discoveryFailures: pools.flatMap(({ runtime: { name }, discoveryFailures }) =>
      discoveryFailures === null ? [] : [one(discoveryFailures, name)]
    ),
    overflows: Array.from(overflows, ([policy, value]) => one(value, policy)),
    ...(table === null ? {} : { tableKeys: [one(table.keys)], tableCapacity: [one(table.maxKeys)] }),
    ...(metrics === null ? {} : readProcess(metrics)),
    certificateEnd: certificates.map(({ listener, certificate, notAfter }) =>
      one(notAfter / 1000, listener, certificate)
    ),
    build: [one(1, VERSION, Deno.version.deno)],
  };
}

function readServers(pools: readonly PoolPlane[]): PartValues {
  const servers = pools.flatMap(({ runtime: { name, balancer } }) =>
    balancer.pool.servers.map((server) => ({ server, labels: [name, server.id] }))
  );
  return {
    upstreamState: servers.flatMap(({ server, labels }) =>
      SERVER_STATES.map((state) => one(serverState(server) === state ? 1 : 0, ...labels, state))
    ),
    upstreamInFlight: servers.map(({ server, labels }) => one(server.inFlight, ...labels)),
    upstreamWeight: servers.map(({ server, labels }) => one(server.effectiveWeight, ...labels)),
    upstreamRequests: servers.map(({ server, labels }) => one(server.requests, ...labels)),
    upstreamFailures: servers.map(({ server, labels }) => one(server.failures, ...labels)),
  };
}

function readProcess(metrics: ProxyMetrics): PartValues {
  const { user, system } = process.cpuUsage();
  return {
    webSocketsOpen: [one(metrics.webSockets.open)],
    connectionsOpen: Array.from(metrics.openConnections, ([address, open]) => one(open, address)),
    draining: [one(metrics.draining)],
    generation: [one(metrics.generation)],
    workers: [one(metrics.workers().listening)],
    workerRestarts: [one(metrics.workers().restarts)],
    ...readWorkers(metrics.workers().all),
    memory: [one(Deno.memoryUsage().rss)],
    cpu: [one((user + system) / 1e6)],
    startTime: [one(metrics.startedWallTime / 1000)],
  };
}

/** What each worker has counted since it was started, by its number. */
function readWorkers(workers: readonly WorkerInfo[]): PartValues {
  const counted = workers.flatMap(({ id, inFlight, counted }) =>
    counted === null ? [] : [{ id: String(id), inFlight, ...counted }]
  );
  return {
    workerRequests: counted.map(({ id, requests }) => one(requests, id)),
    workerInFlight: counted.map(({ id, inFlight }) => one(inFlight, id)),
    workerMemory: counted.map(({ id, rssBytes }) => one(rssBytes, id)),
    workerCpu: counted.map(({ id, cpuSeconds }) => one(cpuSeconds, id)),
    workerLoopDelay: counted.map(({ id, loopDelay: { counts, sumMs } }) => ({
      labels: [id],
      cells: Float64Array.of(...Array.from(counts), sumMs),
    })),
  };
}

function one(value: number, ...labels: readonly string[]): SeriesValue {
  return { labels, cells: Float64Array.of(value) };
}
