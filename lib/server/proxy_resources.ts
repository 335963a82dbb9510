/** What a proxy has whatever its configuration: it lasts from the start of the proxy to its end. */

import type { Clock } from "../core/clock.ts";
import { DeadlineWheel } from "../core/deadline_wheel.ts";
import { NamedPeers } from "../proxy/named_peers.ts";
import type { CertificateExpiry } from "./certificate_expiry.ts";
import { ProxyMetrics } from "./proxy_metrics.ts";
import type { SharedServers } from "../upstream/shared_servers.ts";
import type { ProxyParts } from "./serve_options.ts";
import { ProxyServices, Transports } from "./transports.ts";

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
