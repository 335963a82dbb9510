/**
 * Counts of requests, servers, policies and listeners. A meter owns its series, and releases them when it is disposed.
 */

import { METRICS } from "./catalog.ts";
import type { MetricRegistry } from "./registry.ts";
import type { Counter, Histogram, MetricFamily, Series } from "./series.ts";

/** The source of the response to a request. */
export type ResponseSource = "upstream" | "limiter" | "filter" | "proxy";

/** Methods with a separate series; clients can invent any number of others. */
const METHODS: ReadonlySet<string> = new Set(
  ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"],
);

const OTHER = "other";

/** Opens series, and releases all of them at once. */
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

  /** Counters that differ in their last label, opened at their first use. */
  protected counters(family: MetricFamily, ...labels: readonly string[]): (label: string) => Counter {
    const known = new Map<string, Counter>();
    return (label) => {
      let counter = known.get(label);
      if (counter === undefined) known.set(label, counter = this.counter(family, ...labels, label));
      return counter;
    };
  }

  /** Keeps the series of a meter that this one replaces, including those that this one has not used yet. */
  keep(before: Meter): void {
    const kept = new Set(this.#series);
    for (const series of before.#series) {
      if (kept.has(series) || !this.keeps(series)) continue;
      kept.add(series);
      series.users++;
      this.#series.push(series);
    }
  }

  /** Whether this meter could use a series of the replaced meter. */
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
  // Most requests end with the same labels as the previous one.
  #method = "";
  #source = "";
  #status = 0;
  #last: Counter | null = null;

  /** @param name name of the route; `""` for requests without a matching route */
  constructor(registry: MetricRegistry, name: string) {
    super(registry);
    this.#name = name;
    this.#duration = this.histogram(METRICS.requestDuration, name);
    this.#received = this.counter(METRICS.requestBytes, name);
    this.#sent = this.counter(METRICS.responseBytes, name);
  }

  /** Counts a finished request. */
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

  /** Stores the trace of a finished request as an exemplar. */
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
    // A plain array indexed by status, from 100 to 599.
    return byStatus[status - 100] ??= this.counter(
      METRICS.requests,
      this.#name,
      label,
      String(status),
      source,
    );
  }
}

/** Counts of the connections to a server, made by a transport. */
export interface ConnectionMeter {
  /** A connection was opened. */
  opened(durationMs: number): void;
  /** A request uses an idle connection. */
  reused(): void;
  /** A connection was closed. */
  closed(reason: ConnectionEnd): void;
}

/**
 * Why a connection to a server was closed: the `server` closed it, it was `idle` too long, there was a `surplus` of
 * idle connections, its response did not allow another request (`not_reusable`), its request failed or was cancelled
 * (`failed`), it switched to another protocol (`tunnel`), or the server or the proxy is gone (`retired`).
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

  /** The head of a response was received. */
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

  /** The server was ejected because requests failed. */
  ejected(): void {
    this.#ejections.add(1);
  }

  /** A health check found that the server is up or down now. */
  healthChanged(healthy: boolean): void {
    this.#healthChanges(healthy ? "up" : "down").add(1);
  }
}

/** Outcome of a retry. */
type RetryOutcome = "succeeded" | "failed" | "not_sent";

/** Counts of a pool, and its servers. */
export class PoolMeter extends Meter {
  /** Meters by server; removed servers are absent. */
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

  /** A request was sent again, or a retry was not possible. */
  retried(outcome: RetryOutcome): void {
    this.#retries(outcome).add(1);
  }

  /** A request has waited in the queue. */
  waited(durationMs: number): void {
    this.#waits.record(durationMs);
  }

  /** A request got no server. */
  refused(reason: string): void {
    this.#refusals(reason).add(1);
  }
}

/** Decision of a policy. */
type PolicyOutcome = "allowed" | "refused" | "would_refuse" | "banned" | "missing_key" | "store_error";

/** Counts of the decisions of policies. */
export class PolicyMeters extends Meter {
  readonly #policies = new Map<string, Map<PolicyOutcome, Counter>>();

  /** @param names names of all policies */
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

/** Counts of the store shared by several machines. */
export class StoreMeter extends Meter {
  readonly #duration: Histogram;
  readonly #errors: Counter;

  constructor(registry: MetricRegistry) {
    super(registry);
    this.#duration = this.histogram(METRICS.storeDuration);
    this.#errors = this.counter(METRICS.storeErrors);
  }

  /** The store has decided, or a decision was made without it. */
  decided(durationMs: number, failed: boolean): void {
    this.#duration.record(durationMs);
    if (failed) this.#errors.add(1);
  }
}

/** Why a client connection was refused, or closed for new connections (`given_up`). */
type ConnectionRefusal = "client_limit" | "no_descriptor" | "given_up";

/** The connections of a listener. */
export class ListenerMeter extends Meter {
  /** Address of the listener. */
  readonly address: string;
  /** Number of open connections. */
  open = 0;
  readonly #accepted: Counter;
  readonly #refused: (reason: string) => Counter;
  readonly #handshakes: Counter;

  /** @param address address of the listener */
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

  /** A connection was refused, or closed for a new one. */
  refused(reason: ConnectionRefusal): void {
    this.#refused(reason).add(1);
  }

  /** A client has not completed its TLS handshake. */
  handshakeFailed(): void {
    this.#handshakes.add(1);
  }
}

/** The WebSockets of a proxy. */
export class WebSocketMeter extends Meter {
  /** Number of open WebSockets. */
  open = 0;
  readonly #opened: Counter;

  constructor(registry: MetricRegistry) {
    super(registry);
    this.#opened = this.counter(METRICS.webSockets);
  }

  /** A WebSocket was opened. */
  opened(): void {
    this.open++;
    this.#opened.add(1);
  }

  /** A WebSocket was closed. */
  closed(): void {
    this.open--;
  }
}
