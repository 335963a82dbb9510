/** Collects the metrics of a proxy at each scrape: the counted series, and values read from its parts. */

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

/** The parts from which metrics are read. */
interface MetricSources {
  readonly pools: readonly PoolPlane[];
  /** Number of requests that have arrived. */
  readonly arrived: number;
  /** Number of running requests. */
  readonly running: number;
  /** Number of requests in the overload queue; `null` without an overload limit. */
  readonly overloaded: number | null;
  /** Per policy, the number of windows in which keys did not fit the table. */
  readonly overflows: ReadonlyMap<string, number>;
  /** When the certificates of listeners expire. */
  readonly certificates: readonly CertificateEnd[];
  /** How full the table of counts is; `null` without one. */
  readonly table: MemoryUse | null;
  /** The counted series; `null` if metrics are off. */
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

/** Adds the values read in this process and those counted, also by other processes; if one is missing, returns the other. */
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

/** Gauges of which each worker has a part; the supervisor adds them up. */
const WORKER_GAUGES = [
  "overloadQueue",
  "queueLength",
  "overflows",
  "webSocketsOpen",
  "connectionsOpen",
  "memory",
  "cpu",
] as const;

/** Reads the gauges of this worker, which the supervisor adds up. */
export function readOfWorker(sources: MetricSources): [MetricFamily, readonly SeriesValue[]][] {
  const read = readParts(sources);
  return WORKER_GAUGES.map((key) => [METRICS[key], read[key] ?? []]);
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
    draining: [one(Math.max(metrics.draining, metrics.workers().draining))],
    generation: [one(metrics.generation)],
    workers: [one(metrics.workers().listening)],
    workerRestarts: [one(metrics.workers().restarts)],
    ...readWorkers(metrics.workers().all),
    memory: [one(Deno.memoryUsage().rss)],
    cpu: [one((user + system) / 1e6)],
    startTime: [one(metrics.startedWallTime / 1000)],
  };
}

/** The values of each worker since its start, labelled with its number. */
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
