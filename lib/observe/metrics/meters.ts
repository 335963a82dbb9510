/** What requests, servers, policies and listeners count; each holds its series, and gives them back when it is disposed. */

import { METRICS } from "./catalog.ts";
import type { MetricRegistry } from "./registry.ts";
import type { Counter, Histogram, MetricFamily, Series } from "./series.ts";

/** Who made the response to a request. */
export type ResponseSource = "upstream" | "limiter" | "filter" | "proxy";

/** Methods that have a series of their own; others are made up by clients. */
const METHODS: ReadonlySet<string> = new Set(
  ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"],
);

const OTHER = "other";

/** Opens series, and gives back all of them at once. */
abstract class Meter implements Disposable {
  readonly #registry: MetricRegistry;
  readonly #series: Series[] = [];

  constructor(registry: MetricRegistry) {
    this.#registry = registry;
  }

  protected counter(family: MetricFamily, ...labels: readonly string[]): Counter {
    const counter = this.#registry.counter(family, ...labels);
    this.#series.push(counter);
    return counter;
  }

  protected histogram(family: MetricFamily, ...labels: readonly string[]): Histogram {
    const histogram = this.#registry.histogram(family, ...labels);
    this.#series.push(histogram);
    return histogram;
  }

  /** Counters that differ in their last label, opened when they are first needed. */
  protected counters(family: MetricFamily, ...labels: readonly string[]): (label: string) => Counter {
    const known = new Map<string, Counter>();
    return (label) => {
      let counter = known.get(label);
      if (counter === undefined) known.set(label, counter = this.counter(family, ...labels, label));
      return counter;
    };
  }

  /** Keeps the series of a meter whose place this one takes: those too that this one has not come to need. */
  keep(before: Meter): void {
    const kept = new Set(this.#series);
    for (const series of before.#series) {
      if (kept.has(series) || !this.keeps(series)) continue;
      kept.add(series);
      series.users++;
      this.#series.push(series);
    }
  }

  /** Whether a series of that meter is one that this one could come to need. */
  protected keeps(_series: Series): boolean {
    return true;
  }

  [Symbol.dispose](): void {
    for (const series of this.#series.splice(0)) series[Symbol.dispose]();
  }
}

/** The requests of a route. */
export class RouteMeter extends Meter {
  readonly #name: string;
  readonly #duration: Histogram;
  readonly #received: Counter;
  readonly #sent: Counter;
  readonly #ended = new Map<string, Counter[]>();
  // Most requests end as the one before.
  #method = "";
  #source = "";
  #status = 0;
  #last: Counter | null = null;

  /** @param name of the route; `""` for requests that no route takes */
  constructor(registry: MetricRegistry, name: string) {
    super(registry);
    this.#name = name;
    this.#duration = this.histogram(METRICS.requestDuration, name);
    this.#received = this.counter(METRICS.requestBytes, name);
    this.#sent = this.counter(METRICS.responseBytes, name);
  }

  /** Counts a request that is over. */
  ended(
    method: string,
    status: number,
    source: ResponseSource,
    durationMs: number,
    bytesReceived: number,
    bytesSent: number,
  ): void {
    if (
      this.#last === null || method !== this.#method || status !== this.#status || source !== this.#source
    ) {
      this.#last = this.#counterOf(method, status, source);
    }
    this.#last.add(1);
    this.#duration.record(durationMs);
    if (bytesReceived > 0) this.#received.add(bytesReceived);
    this.#sent.add(bytesSent);
  }

  /** Keeps the trace of a request that is over as an example. */
  example(durationMs: number, traceId: string, wallTime: number): void {
    this.#duration.recordExample(durationMs, traceId, wallTime);
  }

  #counterOf(method: string, status: number, source: ResponseSource): Counter {
    this.#method = method;
    this.#status = status;
    this.#source = source;
    const label = METHODS.has(method) ? method : OTHER;
    const key = label + source;
    let byStatus = this.#ended.get(key);
    if (byStatus === undefined) this.#ended.set(key, byStatus = []);
    // A plain array of the statuses that there are: from 100 to 599.
    return byStatus[status - 100] ??= this.counter(
      METRICS.requests,
      this.#name,
      label,
      String(status),
      source,
    );
  }
}

/** What a transport counts of the connections to a server. */
export interface ConnectionMeter {
  /** A connection was opened. */
  opened(durationMs: number): void;
  /** A request goes on a connection that was kept. */
  reused(): void;
  /** A connection is closed. */
  closed(reason: ConnectionEnd): void;
}

/**
 * Why a connection to a server was closed: `server` closed it, it was `idle` too long, there was a `surplus` of idle ones,
 * its response did not allow another request (`not_reusable`), its request failed or was called off (`failed`), it spoke
 * another protocol (`tunnel`), or the server or the proxy is gone (`retired`).
 */
export type ConnectionEnd = "server" | "idle" | "surplus" | "not_reusable" | "failed" | "tunnel" | "retired";

/** The requests of a server. */
export class ServerMeter extends Meter implements ConnectionMeter {
  readonly #responses: Counter[];
  readonly #duration: Histogram;
  readonly #connect: Histogram;
  readonly #opened: Counter;
  readonly #reused: Counter;
  readonly #closed: (reason: string) => Counter;
  readonly #errors: (reason: string) => Counter;
  readonly #ejections: Counter;
  readonly #healthChanges: (to: string) => Counter;

  /** @param server address as configured */
  constructor(registry: MetricRegistry, pool: string, server: string) {
    super(registry);
    const labels = [pool, server] as const;
    this.#responses = ["1xx", "2xx", "3xx", "4xx", "5xx"].map((code) =>
      this.counter(METRICS.upstreamResponses, ...labels, code)
    );
    this.#duration = this.histogram(METRICS.upstreamDuration, ...labels);
    this.#connect = this.histogram(METRICS.connectDuration, ...labels);
    this.#opened = this.counter(METRICS.connectionsOpened, ...labels);
    this.#reused = this.counter(METRICS.connectionsReused, ...labels);
    this.#closed = this.counters(METRICS.connectionsClosed, ...labels);
    this.#errors = this.counters(METRICS.upstreamErrors, ...labels);
    this.#ejections = this.counter(METRICS.ejections, ...labels);
    this.#healthChanges = this.counters(METRICS.healthChanges, ...labels);
  }

  /** The head of a response has come. */
  responded(status: number, durationMs: number): void {
    this.#responses[Math.min(4, Math.max(0, Math.floor(status / 100) - 1))]!.add(1);
    this.#duration.record(durationMs);
  }

  /** A request got no response. */
  failed(reason: string): void {
    this.#errors(reason).add(1);
  }

  opened(durationMs: number): void {
    this.#opened.add(1);
    this.#connect.record(durationMs);
  }

  reused(): void {
    this.#reused.add(1);
  }

  closed(reason: ConnectionEnd): void {
    this.#closed(reason).add(1);
  }

  /** It was taken out because requests failed. */
  ejected(): void {
    this.#ejections.add(1);
  }

  /** Checks found that it has come up, or gone down. */
  healthChanged(healthy: boolean): void {
    this.#healthChanges(healthy ? "up" : "down").add(1);
  }
}

/** What became of a request that was to be sent again. */
type RetryOutcome = "succeeded" | "failed" | "not_sent";

/** What a pool counts, and its servers. */
export class PoolMeter extends Meter {
  /** By server; those that have been removed are not there. */
  readonly servers: Map<unknown, ServerMeter> = new Map();
  readonly #retries: (outcome: string) => Counter;
  readonly #waits: Histogram;
  readonly #refusals: (reason: string) => Counter;

  constructor(registry: MetricRegistry, pool: string) {
    super(registry);
    this.#retries = this.counters(METRICS.retries, pool);
    this.#waits = this.histogram(METRICS.queueDuration, pool);
    this.#refusals = this.counters(METRICS.refusals, pool);
  }

  override [Symbol.dispose](): void {
    for (const meter of this.servers.values()) meter[Symbol.dispose]();
    this.servers.clear();
    super[Symbol.dispose]();
  }

  /** A request was sent again, or should have been. */
  retried(outcome: RetryOutcome): void {
    this.#retries(outcome).add(1);
  }

  /** A request has waited for room. */
  waited(durationMs: number): void {
    this.#waits.record(durationMs);
  }

  /** A request got no server. */
  refused(reason: string): void {
    this.#refusals(reason).add(1);
  }
}

/** What a policy decided. */
type PolicyOutcome = "allowed" | "refused" | "would_refuse" | "banned" | "missing_key" | "store_error";

/** The decisions of the policies. */
export class PolicyMeters extends Meter {
  readonly #policies = new Map<string, Map<PolicyOutcome, Counter>>();

  /** @param names of all policies */
  constructor(registry: MetricRegistry, names: Iterable<string>) {
    super(registry);
    for (const name of names) {
      if (this.#policies.has(name)) continue;
      const outcomes = new Map<PolicyOutcome, Counter>();
      for (const outcome of ["allowed", "refused"] as const) {
        outcomes.set(outcome, this.counter(METRICS.decisions, name, outcome));
      }
      this.#policies.set(name, outcomes);
    }
  }

  protected override keeps({ labels }: Series): boolean {
    return this.#policies.has(labels[0]!);
  }

  /** Counts a decision. */
  decided(policy: string, outcome: PolicyOutcome): void {
    const outcomes = this.#policies.get(policy);
    if (outcomes === undefined) return;
    let counter = outcomes.get(outcome);
    if (counter === undefined) {
      outcomes.set(outcome, counter = this.counter(METRICS.decisions, policy, outcome));
    }
    counter.add(1);
  }
}

/** The store that several machines share. */
export class StoreMeter extends Meter {
  readonly #duration: Histogram;
  readonly #errors: Counter;

  constructor(registry: MetricRegistry) {
    super(registry);
    this.#duration = this.histogram(METRICS.storeDuration);
    this.#errors = this.counter(METRICS.storeErrors);
  }

  /** The store has decided, or something else had to. */
  decided(durationMs: number, failed: boolean): void {
    this.#duration.record(durationMs);
    if (failed) this.#errors.add(1);
  }
}

/** Why a connection of a client was refused, or given up. */
type ConnectionRefusal = "client_limit" | "no_descriptor" | "given_up";

/** The connections of a listener. */
export class ListenerMeter extends Meter {
  /** Where it is reached. */
  readonly address: string;
  /** How many are open. */
  open = 0;
  readonly #accepted: Counter;
  readonly #refused: (reason: string) => Counter;
  readonly #handshakes: Counter;

  /** @param address where it is reached */
  constructor(registry: MetricRegistry, address: string) {
    super(registry);
    this.address = address;
    this.#accepted = this.counter(METRICS.connectionsAccepted, address);
    this.#refused = this.counters(METRICS.connectionsRefused, address);
    this.#handshakes = this.counter(METRICS.handshakeFailures, address);
  }

  /** A client has connected. */
  accepted(): void {
    this.open++;
    this.#accepted.add(1);
  }

  /** A connection is closed. */
  closed(): void {
    this.open--;
  }

  /** A connection was refused or given up. */
  refused(reason: ConnectionRefusal): void {
    this.#refused(reason).add(1);
  }

  /** A client has not done its TLS handshake. */
  handshakeFailed(): void {
    this.#handshakes.add(1);
  }
}

/** The WebSockets of a proxy. */
export class WebSocketMeter extends Meter {
  /** How many are open. */
  open = 0;
  readonly #opened: Counter;

  constructor(registry: MetricRegistry) {
    super(registry);
    this.#opened = this.counter(METRICS.webSockets);
  }

  /** One was opened. */
  opened(): void {
    this.open++;
    this.#opened.add(1);
  }

  /** One was closed. */
  closed(): void {
    this.open--;
  }
}
