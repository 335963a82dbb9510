/** What a proxy has whatever its configuration: it lasts from the start of the proxy to its end. */

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

/** Tick of the deadlines: a timeout is late by less than two. */
const TICK_MS = 20;

/** What configurations share, one after the other. */
export class ProxyResources implements AsyncDisposable {
  readonly wheel: DeadlineWheel;
  readonly transports: Transports;
  readonly services: ProxyServices;
  readonly namedPeers: NamedPeers;
  /** How many requests have arrived. */
  readonly count: { arrived: number };
  /** By what requests are known that come back. */
  readonly instanceId: string;
  /** Until when certificates of listeners are good; `null` where nobody listens. */
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

  /** What is counted; made when it is first asked for. */
  get metrics(): ProxyMetrics {
    return this.#metrics ??= this.#stack.use(new ProxyMetrics(this.#clock, this.#allocateMetrics));
  }

  /** Closes every connection to a server. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** What arrives at workers; a supervisor takes no requests. */
function arrivalsOfAll(servers: SharedServers): { arrived: number } {
  return Object.defineProperty({ arrived: 0 }, "arrived", { get: () => servers.arrived, set: () => {} });
}

// The transports of a proxy: one for each plan that its pools have.

/** What {@linkcode Transports} take. */
interface TransportsOptions {
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
}

/** Gives transports by their plans. */
export interface TransportSource {
  /** The transport for a plan. */
  get(plan: TransportPlan): Transport;
}

/** A transport, and how many have a claim to it. */
interface SharedTransport {
  readonly transport: Transport;
  claims: number;
}

/** Makes transports when they are first asked for; pools with the same plan share one, also those of another configuration. */
export class Transports implements TransportSource, Disposable {
  readonly #options: TransportsOptions;
  /** What connections to a peer are counted by. */
  readonly meters: Map<Peer, ConnectionMeter> = new Map();
  readonly #byPlan = new Map<string, SharedTransport>();

  constructor(options: TransportsOptions) {
    this.#options = options;
  }

  /** How many there are. */
  get size(): number {
    return this.#byPlan.size;
  }

  /** The transport for a plan, which is kept from then on. */
  get(plan: TransportPlan): Transport {
    return this.#claim(keyOf(plan), plan);
  }

  /** Gives transports that are closed once nobody has a claim to them: those of one configuration. */
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

  /** Closes what they keep for a peer that is not used any more. */
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

/** No connection is kept: copies of a request are no reason for a server to hold one open. */
const BACKGROUND_PLAN: TransportPlan = { kind: "http1", connections: { maxIdle: 0, idleTimeoutMs: 0 } };

/** Serves filters as long as the proxy runs: requests in the background are called off when it stops. */
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
      // Read to its end, as by any client: a server may not like to be hung up on.
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
