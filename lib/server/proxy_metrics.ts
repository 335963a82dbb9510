/** The metrics of a proxy, which are kept across reloads. */

import type { WorkerInfo } from "../admin/admin_target.ts";
import type { Clock } from "../core/clock.ts";
import { METRICS } from "../observe/metrics/catalog.ts";
import {
  ListenerMeter,
  PolicyMeters,
  PoolMeter,
  RouteMeter,
  ServerMeter,
  StoreMeter,
  WebSocketMeter,
} from "../observe/metrics/meters.ts";
import {
  MetricRegistry,
  readShares,
  type RegistryShare,
  type SeriesValue,
} from "../observe/metrics/registry.ts";
import type { Counter, Histogram, MetricFamily } from "../observe/metrics/series.ts";
import { type SeriesByMetric, type Traffic, trafficBetween } from "../observe/metrics/traffic.ts";

/** The processes that serve requests. */
interface CountedWorkers {
  readonly listening: number;
  readonly restarts: number;
  readonly draining: number;
  readonly all: readonly WorkerInfo[];
}

const ALONE: CountedWorkers = { listening: 1, restarts: 0, draining: 0, all: [] };

/** How often the delay of timers is measured, and gauges are published, in milliseconds. */
const INTERVAL_MS = 100;

/**
 * The metrics of one process. Each worker has its own; those of other workers are added at each scrape.
 *
 * Made once per proxy: a meter of a former configuration is continued by the next one under the same labels.
 */
export class ProxyMetrics implements Disposable {
  readonly registry: MetricRegistry;
  readonly webSockets: WebSocketMeter;
  readonly store: StoreMeter;
  /** When the proxy was started, in milliseconds of the clock, and as wall time. */
  readonly startedAt: number;
  readonly startedWallTime: number;
  /** Number of the running configuration; the first is 1. */
  generation = 1;
  /** Number of former configurations with running requests. */
  draining = 0;
  /** How many workers accept requests, how often workers were replaced, and the state of each. */
  workers: () => CountedWorkers = () => ALONE;
  /** The series of other workers. */
  others: () => readonly RegistryShare[] = () => [];
  readonly #clock: Clock;
  readonly #listeners = new Set<ListenerMeter>();
  readonly #loopDelay: Histogram;
  #timer: Disposable | null = null;
  #publish: (() => void) | null = null;
  readonly #gauges = new Map<string, Counter>();

  /** @param allocate allocates memory that other processes can read. @default {memory of this process} */
  constructor(clock: Clock, allocate?: () => Float64Array) {
    this.#clock = clock;
    this.registry = new MetricRegistry(allocate);
    this.webSockets = new WebSocketMeter(this.registry);
    this.store = new StoreMeter(this.registry);
    this.#loopDelay = this.registry.histogram(METRICS.loopDelay);
    this.startedAt = clock.now();
    this.startedWallTime = clock.wallTime();
    this.#schedule();
  }

  /** Opens the meter of a route; `""` for requests without a route. */
  route(name: string): RouteMeter {
    return new RouteMeter(this.registry, name);
  }

  /** Opens the meter of a pool. */
  pool(name: string): PoolMeter {
    return new PoolMeter(this.registry, name);
  }

  /** Opens the meter of a server. */
  server(pool: string, server: string): ServerMeter {
    return new ServerMeter(this.registry, pool, server);
  }

  /** Opens the meters of policies. */
  policies(names: Iterable<string>): PolicyMeters {
    return new PolicyMeters(this.registry, names);
  }

  /** Opens the meter of a listener. */
  listener(address: string): ListenerMeter {
    const meter = new ListenerMeter(this.registry, address);
    this.#listeners.add(meter);
    return meter;
  }

  /** Disposes the meter of a listener when its last connection has ended. */
  closeListener(meter: ListenerMeter): void {
    this.#listeners.delete(meter);
    meter[Symbol.dispose]();
  }

  /** Number of open connections per listener. */
  get openConnections(): ReadonlyMap<string, number> {
    const open = new Map<string, number>();
    for (const meter of this.#listeners) open.set(meter.address, (open.get(meter.address) ?? 0) + meter.open);
    return open;
  }

  /** All series, including those of other workers. */
  series(): SeriesByMetric {
    return readShares([this.registry.share(), ...this.others()]);
  }

  /** Traffic since the start. */
  total(): Traffic {
    return trafficBetween(this.series(), null, (this.#clock.now() - this.startedAt) / 1000);
  }

  /** Returns a function that returns the traffic since its previous call; the first time, since it was made. */
  reader(): () => Traffic {
    let before = this.series();
    let at = this.#clock.now();
    return () => {
      const now = this.series();
      const seconds = (this.#clock.now() - at) / 1000;
      const traffic = trafficBetween(now, before, seconds);
      before = now;
      at = this.#clock.now();
      return traffic;
    };
  }

  /** Writes the gauges to memory that another process reads, now and at each interval. */
  publish(gauges: () => Iterable<readonly [MetricFamily, readonly SeriesValue[]]>): void {
    this.#publish = () => {
      const outdated = new Map(this.#gauges);
      for (const [family, values] of gauges()) {
        for (const { labels, cells } of values) {
          const key = [family.name, ...labels].join("\0");
          let gauge = this.#gauges.get(key);
          if (gauge === undefined) this.#gauges.set(key, gauge = this.registry.counter(family, ...labels));
          gauge.cells[gauge.at] = cells[0]!;
          outdated.delete(key);
        }
      }
      for (const [key, gauge] of outdated) {
        this.#gauges.delete(key);
        gauge[Symbol.dispose]();
      }
    };
    this.#publish();
  }

  #schedule(): void {
    const due = this.#clock.now() + INTERVAL_MS;
    this.#timer = this.#clock.setTimer(() => {
      this.#publish?.();
      this.#loopDelay.record(Math.max(0, this.#clock.now() - due));
      this.#schedule();
    }, INTERVAL_MS);
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = null;
  }
}
