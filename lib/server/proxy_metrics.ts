/** The metrics of a proxy: what is counted while it runs, for as long as it does, whatever becomes of its configuration. */

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
  readonly all: readonly WorkerInfo[];
}

const ALONE: CountedWorkers = { listening: 1, restarts: 0, all: [] };

/** How often it is looked how late timers are. */
const LOOK_MS = 100;

/**
 * Counts; each worker has one of its own, and what others have counted is added when somebody looks.
 *
 * Made once a proxy: a meter that a former configuration has opened goes on in the next one, under the same labels.
 */
export class ProxyMetrics implements Disposable {
  readonly registry: MetricRegistry;
  readonly webSockets: WebSocketMeter;
  readonly store: StoreMeter;
  /** When the proxy was started, in the clock's milliseconds, and by the calendar. */
  readonly startedAt: number;
  readonly startedWallTime: number;
  /** How many configurations have been used. */
  generation = 1;
  /** How many of them still serve their last requests. */
  draining = 0;
  /** How many workers take requests, and how many were started in place of another one. */
  workers: () => CountedWorkers = () => ALONE;
  /** Gives what other workers have counted. */
  others: () => readonly RegistryShare[] = () => [];
  readonly #clock: Clock;
  readonly #listeners = new Set<ListenerMeter>();
  readonly #loopDelay: Histogram;
  #look: Disposable | null = null;
  #publish: (() => void) | null = null;
  readonly #gauges = new Map<string, Counter>();

  /** @param allocate gives memory that others can read. @default {memory of this process} */
  constructor(clock: Clock, allocate?: () => Float64Array) {
    this.#clock = clock;
    this.registry = new MetricRegistry(allocate);
    this.webSockets = new WebSocketMeter(this.registry);
    this.store = new StoreMeter(this.registry);
    this.#loopDelay = this.registry.histogram(METRICS.loopDelay);
    this.startedAt = clock.now();
    this.startedWallTime = clock.wallTime();
    this.#lookAgain();
  }

  /** Opens the meter of a route; `""` for requests that none takes. */
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

  /** The listener is closed, and its last connection too. */
  closeListener(meter: ListenerMeter): void {
    this.#listeners.delete(meter);
    meter[Symbol.dispose]();
  }

  /** How many connections are open, by listener. */
  get openConnections(): ReadonlyMap<string, number> {
    const open = new Map<string, number>();
    for (const meter of this.#listeners) open.set(meter.address, (open.get(meter.address) ?? 0) + meter.open);
    return open;
  }

  /** All series, those of other workers added. */
  series(): SeriesByMetric {
    return readShares([this.registry.share(), ...this.others()]);
  }

  /** Traffic since the start. */
  total(): Traffic {
    return trafficBetween(this.series(), null, (this.#clock.now() - this.startedAt) / 1000);
  }

  /** Tells, each time it is called, of the traffic since it was called before, or was made. */
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

  /** Writes where another process reads it what is so at the moment, again and again. */
  publish(gauges: () => Iterable<readonly [MetricFamily, readonly SeriesValue[]]>): void {
    this.#publish = () => {
      const gone = new Map(this.#gauges);
      for (const [family, values] of gauges()) {
        for (const { labels, cells } of values) {
          const key = [family.name, ...labels].join("\0");
          let gauge = this.#gauges.get(key);
          if (gauge === undefined) this.#gauges.set(key, gauge = this.registry.counter(family, ...labels));
          gauge.cells[gauge.at] = cells[0]!;
          gone.delete(key);
        }
      }
      for (const [key, gauge] of gone) {
        this.#gauges.delete(key);
        gauge[Symbol.dispose]();
      }
    };
    this.#publish();
  }

  #lookAgain(): void {
    const due = this.#clock.now() + LOOK_MS;
    this.#look = this.#clock.setTimer(() => {
      this.#publish?.();
      this.#loopDelay.record(Math.max(0, this.#clock.now() - due));
      this.#lookAgain();
    }, LOOK_MS);
  }

  [Symbol.dispose](): void {
    this.#look?.[Symbol.dispose]();
    this.#look = null;
  }
}
