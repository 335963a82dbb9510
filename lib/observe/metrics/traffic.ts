/** The traffic for display to operators: totals, rates and quantiles, of the whole proxy and of its parts. */

import {
  type Distribution,
  distributionSince,
  type Quantiles,
  quantilesOf,
  readDistribution,
  sumDistributions,
} from "./series.ts";
import type { SeriesValue } from "./registry.ts";
import { METRICS } from "./catalog.ts";

/** All series by the name of their metric, at one moment. */
export type SeriesByMetric = ReadonlyMap<string, ReadonlyMap<string, SeriesValue>>;

/** Requests between two readings, or since the start. */
interface RequestFigures {
  /** Number of finished requests. */
  readonly requests: number;
  /** Requests per second. */
  readonly perSecond: number;
  /** Number by status, such as `"200"`; 499 for clients that disconnected. */
  readonly codes: Readonly<Record<string, number>>;
  /** Number by source of the response: `upstream`, `limiter`, `filter` or `proxy`. */
  readonly sources: Readonly<Record<string, number>>;
  readonly latency: Quantiles;
  /** Bytes of content from clients, and to them. */
  readonly bytesReceived: number;
  readonly bytesSent: number;
}

/** Requests of one server between two readings, or since the start. */
interface ServerFigures {
  readonly pool: string;
  readonly server: string;
  /** Number of responses. */
  readonly responses: number;
  readonly perSecond: number;
  /** Number by status class, such as `"2xx"`. */
  readonly codes: Readonly<Record<string, number>>;
  /** Number of requests without a response, by reason. */
  readonly errors: Readonly<Record<string, number>>;
  /** Time to the head of the response. */
  readonly latency: Quantiles;
}

/** Decisions of one policy between two readings, or since the start. */
interface PolicyFigures {
  readonly policy: string;
  /** Number by decision: `allowed`, `refused`, `would_refuse`, `banned`, `missing_key`, `store_error`. */
  readonly decisions: Readonly<Record<string, number>>;
}

/** The traffic of a proxy between two readings, or since the start. */
export interface Traffic extends RequestFigures {
  /** Length of the period, in seconds. */
  readonly seconds: number;
  /** By name of the route; `""` for requests without a matching route. */
  readonly routes: Readonly<Record<string, RequestFigures>>;
  readonly servers: readonly ServerFigures[];
  readonly policies: readonly PolicyFigures[];
}

/** Computes the traffic between two moments; since the start without an earlier one. */
export function trafficBetween(now: SeriesByMetric, before: SeriesByMetric | null, seconds: number): Traffic {
  const reader = new Difference(now, before);
  const names = reader.values(METRICS.requestDuration.name).map(({ labels }) => labels[0]!);
  const routes = Object.fromEntries(names.map((name) => [name, requestFigures(reader, seconds, name)]));
  return {
    seconds,
    ...requestFigures(reader, seconds),
    routes,
    servers: reader.values(METRICS.upstreamDuration.name).map(({ labels: [pool, server] }) =>
      serverFigures(reader, seconds, pool!, server!)
    ),
    policies: policyFigures(reader),
  };
}

function requestFigures(reader: Difference, seconds: number, route?: string): RequestFigures {
  const isOurs = ([name]: readonly string[]): boolean => route === undefined || name === route;
  const ended = reader.counts(METRICS.requests.name, isOurs);
  const requests = ended.reduce((sum, { count }) => sum + count, 0);
  const total = (name: string): number =>
    reader.counts(name, isOurs).reduce((sum, { count }) => sum + count, 0);
  return {
    requests,
    perSecond: seconds > 0 ? requests / seconds : 0,
    codes: sumBy(ended, 2),
    sources: sumBy(ended, 3),
    latency: quantilesOf(sumDistributions(reader.distributions(METRICS.requestDuration.name, isOurs))),
    bytesReceived: total(METRICS.requestBytes.name),
    bytesSent: total(METRICS.responseBytes.name),
  };
}

function serverFigures(reader: Difference, seconds: number, pool: string, server: string): ServerFigures {
  const isOurs = (labels: readonly string[]): boolean => labels[0] === pool && labels[1] === server;
  const codes = reader.counts(METRICS.upstreamResponses.name, isOurs);
  const responses = codes.reduce((sum, { count }) => sum + count, 0);
  return {
    pool,
    server,
    responses,
    perSecond: seconds > 0 ? responses / seconds : 0,
    codes: sumBy(codes, 2),
    errors: sumBy(reader.counts(METRICS.upstreamErrors.name, isOurs), 2),
    latency: quantilesOf(sumDistributions(reader.distributions(METRICS.upstreamDuration.name, isOurs))),
  };
}

function policyFigures(reader: Difference): PolicyFigures[] {
  const decisions = reader.counts(METRICS.decisions.name, () => true);
  const policies = new Set(decisions.map(({ labels }) => labels[0]!));
  return Array.from(policies, (policy) => ({
    policy,
    decisions: sumBy(decisions.filter(({ labels }) => labels[0] === policy), 1),
  }));
}

interface Count {
  readonly labels: readonly string[];
  readonly count: number;
}

/** Sums counts by a label; omits zeros. */
function sumBy(counts: readonly Count[], label: number): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const { labels, count } of counts) {
    if (count > 0) sums[labels[label]!] = (sums[labels[label]!] ?? 0) + count;
  }
  return sums;
}

/** The difference of series between two moments. */
class Difference {
  readonly #now: SeriesByMetric;
  readonly #before: SeriesByMetric | null;

  constructor(now: SeriesByMetric, before: SeriesByMetric | null) {
    this.#now = now;
    this.#before = before;
  }

  values(name: string): SeriesValue[] {
    return [...this.#now.get(name)?.values() ?? []];
  }

  counts(name: string, wanted: (labels: readonly string[]) => boolean): Count[] {
    return this.values(name).filter(({ labels }) => wanted(labels)).map(({ labels, cells }) => ({
      labels,
      count: Math.max(0, cells[0]! - (this.#earlier(name, labels)?.cells[0] ?? 0)),
    }));
  }

  distributions(name: string, wanted: (labels: readonly string[]) => boolean): Distribution[] {
    return this.values(name).filter(({ labels }) => wanted(labels)).map(({ labels, cells }) => {
      const earlier = this.#earlier(name, labels);
      return distributionSince(
        readDistribution(cells),
        earlier === undefined ? undefined : readDistribution(earlier.cells),
      );
    });
  }

  #earlier(name: string, labels: readonly string[]): SeriesValue | undefined {
    return this.#before?.get(name)?.get(labels.join("\0"));
  }
}
