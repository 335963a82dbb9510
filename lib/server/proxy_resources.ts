/** What a proxy keeps from its start to its end, across configurations. */

import { Cancellation, DeadlineWheel } from "../core/cancellation.ts";
import type { Clock } from "../core/clock.ts";
import { StoppingError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { BackgroundRequest, FilterServices } from "../filter/request_context.ts";
import { WholeBody } from "../http/message.ts";
import type { ConnectionMeter } from "../observe/metrics/meters.ts";
import { KeptBody } from "../proxy/kept_body.ts";
import { NamedPeers } from "../proxy/proxy_runtime.ts";
import { FetchTransport } from "../transport/fetch/fetch_transport.ts";
import { Http1Transport } from "../transport/http1/http1_transport.ts";
import { Http2Transport } from "../transport/http2/http2_transport.ts";
import type { TransportPlan } from "../transport/select_transport.ts";
import { sendRequest, type Transport } from "../transport/transport.ts";
import type { Peer } from "../upstream/peer.ts";
import type { SharedServers } from "../upstream/shared_servers.ts";
import type { CertificateExpiry } from "./certificates.ts";
import { ProxyMetrics } from "./proxy_metrics.ts";
import type { ProxyParts } from "./serve_options.ts";

/** Tick of the deadlines, in milliseconds: a timeout is late by less than two ticks. */
const TICK_MS = 20;

/** What successive configurations share. */
export class ProxyResources implements AsyncDisposable {
  readonly wheel: DeadlineWheel;
  readonly transports: Transports;
  readonly services: ProxyServices;
  readonly namedPeers: NamedPeers;
  /** Number of requests that have arrived. */
  readonly count: { arrived: number };
  /** Identifies this proxy in `CDN-Loop`, to detect requests that were already forwarded by it. */
  readonly instanceId: string;
  /** When the certificates of listeners expire; `null` without listeners. */
  certificates: CertificateExpiry | null = null;
  readonly #clock: Clock;
  readonly #stack = new AsyncDisposableStack();
  readonly #allocateMetrics: (() => Float64Array) | undefined;
  #metrics: ProxyMetrics | null = null;

  constructor({ clock, random, shared = null }: ProxyParts) {
    this.count = shared === null
      ? { arrived: 0 }
      : shared.role === "worker"
      ? shared.servers.arrivals
      : arrivalsOfAll(shared.servers);
    this.instanceId = shared?.instanceId ?? crypto.randomUUID().slice(0, 18);
    this.#clock = clock;
    this.#allocateMetrics = shared?.role === "worker" ? () => shared.allocateMetrics() : undefined;
    const wheel = this.wheel = this.#stack.use(new DeadlineWheel({ clock, tickMs: TICK_MS }));
    const transports = this.transports = this.#stack.use(new Transports({ clock, wheel }));
    this.services = this.#stack.use(new ProxyServices(transports, random));
    this.namedPeers = new NamedPeers({ onForget: (peer) => transports.forget(peer) });
  }

  /** The metrics; made at the first access. */
  get metrics(): ProxyMetrics {
    return this.#metrics ??= this.#stack.use(new ProxyMetrics(this.#clock, this.#allocateMetrics));
  }

  /** Closes every connection to a server. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Reads the requests that have arrived at all workers; a supervisor accepts none itself. */
function arrivalsOfAll(servers: SharedServers): { arrived: number } {
  return Object.defineProperty({ arrived: 0 }, "arrived", { get: () => servers.arrived, set: () => {} });
}

// The transports of a proxy: one for each distinct plan of its pools.

/** Options of {@linkcode Transports}. */
interface TransportsOptions {
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
}

/** Returns transports by their plans. */
export interface TransportSource {
  /** The transport for a plan. */
  get(plan: TransportPlan): Transport;
}

/** A transport, and the number of its users. */
interface SharedTransport {
  readonly transport: Transport;
  claims: number;
}

/** Makes transports at the first use. Pools with the same plan share one, also across configurations. */
export class Transports implements TransportSource, Disposable {
  readonly #options: TransportsOptions;
  /** The meters of connections, by peer. */
  readonly meters: Map<Peer, ConnectionMeter> = new Map();
  readonly #byPlan = new Map<string, SharedTransport>();

  constructor(options: TransportsOptions) {
    this.#options = options;
  }

  /** Number of transports. */
  get size(): number {
    return this.#byPlan.size;
  }

  /** The transport for a plan; kept until this is disposed. */
  get(plan: TransportPlan): Transport {
    return this.#claim(keyOf(plan), plan);
  }

  /** Makes a source for one configuration. A transport is closed when the last lease that uses it is disposed. */
  lease(): TransportSource & Disposable {
    const claimed = new Set<string>();
    return {
      get: (plan) => {
        const key = keyOf(plan);
        const known = claimed.has(key) ? this.#byPlan.get(key) : undefined;
        claimed.add(key);
        return known?.transport ?? this.#claim(key, plan);
      },
      [Symbol.dispose]: () => {
        for (const key of claimed) this.#release(key);
        claimed.clear();
      },
    };
  }

  #claim(key: string, plan: TransportPlan): Transport {
    let shared = this.#byPlan.get(key);
    if (shared === undefined) {
      shared = { transport: this.#create(plan), claims: 0 };
      this.#byPlan.set(key, shared);
    }
    shared.claims++;
    return shared.transport;
  }

  #release(key: string): void {
    const shared = this.#byPlan.get(key);
    if (shared === undefined || --shared.claims > 0) return;
    this.#byPlan.delete(key);
    shared.transport[Symbol.dispose]();
  }

  #create(plan: TransportPlan): Transport {
    const { clock, wheel } = this.#options;
    const meterOf = (peer: Peer): ConnectionMeter | undefined => this.meters.get(peer);
    if (plan.kind === "http1") {
      return new Http1Transport({ clock, wheel, connections: plan.connections, meterOf });
    }
    if (plan.kind === "h2") {
      return new Http2Transport({ clock, wheel, connections: plan.connections, meterOf });
    }
    const { protocol, proxy, connections } = plan;
    return new FetchTransport({ wheel, protocol, proxy, ...connections });
  }

  /** Closes idle connections and other state for a peer that is not used any more. */
  forget(peer: Peer): void {
    for (const { transport } of this.#byPlan.values()) transport.forget(peer);
  }

  [Symbol.dispose](): void {
    for (const { transport } of this.#byPlan.values()) transport[Symbol.dispose]();
    this.#byPlan.clear();
  }
}

function keyOf(plan: TransportPlan): string {
  // JSON writes Infinity as null, which would be the same key as a missing limit.
  return JSON.stringify(plan, (_, value) => value === Infinity ? "Infinity" : value);
}

/** Keeps no idle connections: they would cost the server memory only for copies of requests. */
const BACKGROUND_PLAN: TransportPlan = { kind: "http1", connections: { maxIdle: 0, idleTimeoutMs: 0 } };

/** Services for filters. Background requests are cancelled when the proxy stops. */
class ProxyServices implements FilterServices, AsyncDisposable {
  readonly random: Random;
  readonly #transports: Transports;
  readonly #cancellation = new Cancellation();
  readonly #sending = new Set<Promise<void>>();

  constructor(transports: Transports, random: Random) {
    this.#transports = transports;
    this.random = random;
  }

  async sendInBackground(request: BackgroundRequest, peer: Peer, timeoutMs: number): Promise<void> {
    const sending = this.#send(request, peer, timeoutMs);
    this.#sending.add(sending);
    try {
      await sending;
    } finally {
      this.#sending.delete(sending);
    }
  }

  async #send({ content, ...head }: BackgroundRequest, peer: Peer, timeoutMs: number): Promise<void> {
    const body = content === null ? null : new KeptBody(new WholeBody(content));
    const response = await sendRequest(this.#transports.get(BACKGROUND_PLAN), { ...head, body }, peer, {
      timeouts: {
        connectMs: timeoutMs,
        tlsMs: timeoutMs,
        responseMs: timeoutMs,
        idleMs: timeoutMs,
        totalMs: timeoutMs,
      },
      cancellation: this.#cancellation,
    });
    try {
      // Read to the end: closing the connection early may count as an error at the server.
      if (response.body !== null) { while (await response.body.read() !== null); }
    } finally {
      response.release();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#cancellation.cancel(new StoppingError("The proxy stops"));
    await Promise.allSettled(this.#sending);
  }
}
