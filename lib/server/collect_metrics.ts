/** Metrics of a proxy. They are collected when somebody asks, so that requests pay nothing for them. */

import type { Metric, Sample } from "../observe/exposition.ts";
import { SERVER_STATES, serverState } from "../upstream/eligibility.ts";
import type { PoolPlane } from "./pool_plane.ts";

/** What the metrics are read from. */
interface MetricSources {
  readonly pools: readonly PoolPlane[];
  /** Requests that have arrived. */
  readonly arrived: number;
  /** Requests that are not over. */
  readonly running: number;
  /** For each policy, in how many windows keys did not fit the table. */
  readonly overflows: ReadonlyMap<string, number>;
}

/** Collects all metrics. */
export function collectMetrics({ pools, arrived, running, overflows }: MetricSources): Metric[] {
  return [
    metric("lbproxy_requests_received_total", "Requests that have arrived.", "counter", [one(arrived)]),
    metric("lbproxy_requests_in_flight", "Requests that are not over.", "gauge", [one(running)]),
    ...serverMetrics(pools),
    metric(
      "lbproxy_panic",
      "1 while so few servers of the pool are up that all are used.",
      "gauge",
      pools.map(({ runtime: { name, balancer } }) => ({
        labels: { pool: name },
        value: balancer.panic ? 1 : 0,
      })),
    ),
    metric(
      "lbproxy_upstream_queue_length",
      "Requests that wait for room at a server.",
      "gauge",
      pools.map(({ runtime: { name, balancer } }) => ({ labels: { pool: name }, value: balancer.waiting })),
    ),
    metric(
      "lbproxy_discovery_failures_total",
      "Searches for servers that failed or found nothing.",
      "counter",
      pools.flatMap(({ runtime: { name }, discoveryFailures }) =>
        discoveryFailures === null ? [] : [{ labels: { pool: name }, value: discoveryFailures }]
      ),
    ),
    metric(
      "lbproxy_ratelimit_overflows_total",
      "Windows in which keys did not fit the table and took the places of others.",
      "counter",
      Array.from(overflows, ([policy, value]) => ({ labels: { policy }, value })),
    ),
  ];
}

function serverMetrics(pools: readonly PoolPlane[]): Metric[] {
  const servers = pools.flatMap(({ runtime: { name, balancer } }) =>
    balancer.pool.servers.map((server) => ({ server, labels: { pool: name, server: server.id } }))
  );
  return [
    metric(
      "lbproxy_upstream_state",
      "1 for the state that the server is in, 0 for the others.",
      "gauge",
      servers.flatMap(({ server, labels }) =>
        SERVER_STATES.map((state) => ({
          labels: { ...labels, state },
          value: serverState(server) === state ? 1 : 0,
        }))
      ),
    ),
    metric(
      "lbproxy_upstream_in_flight",
      "Requests that run at the server.",
      "gauge",
      servers.map(({ server, labels }) => ({ labels, value: server.inFlight })),
    ),
    metric(
      "lbproxy_upstream_requests_total",
      "Requests that have ended at the server.",
      "counter",
      servers.map(({ server, labels }) => ({ labels, value: server.requests })),
    ),
    metric(
      "lbproxy_upstream_failures_total",
      "Requests that the server has failed.",
      "counter",
      servers.map(({ server, labels }) => ({ labels, value: server.failures })),
    ),
    metric(
      "lbproxy_upstream_weight",
      "Share of the requests that the server gets now, beside the others'.",
      "gauge",
      servers.map(({ server, labels }) => ({ labels, value: server.effectiveWeight })),
    ),
  ];
}

function one(value: number): Sample {
  return { labels: {}, value };
}

function metric(name: string, help: string, type: Metric["type"], samples: readonly Sample[]): Metric {
  return { name, help, type, samples };
}
