/** The transports of a proxy: one for each way in which its pools want to be spoken to. */

import type { Clock } from "../core/clock.ts";
import type { DeadlineWheel } from "../core/deadline_wheel.ts";
import { FetchTransport } from "../transport/fetch/fetch_transport.ts";
import { Http1Transport } from "../transport/http1/http1_transport.ts";
import type { TransportPlan } from "../transport/select_transport.ts";
import type { Transport } from "../transport/transport.ts";
import type { Peer } from "../upstream/peer.ts";

/** What {@linkcode Transports} take. */
export interface TransportsOptions {
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
}

/** Makes transports when they are first asked for; pools with the same plan share one. */
export class Transports implements Disposable {
  readonly #options: TransportsOptions;
  readonly #byPlan = new Map<string, Transport>();

  constructor(options: TransportsOptions) {
    this.#options = options;
  }

  /** How many there are. */
  get size(): number {
    return this.#byPlan.size;
  }

  /** The transport for a plan. */
  get(plan: TransportPlan): Transport {
    // JSON has no Infinity, and a limit that is none must not be taken for one that is missing.
    const key = JSON.stringify(plan, (_, value) => value === Infinity ? "Infinity" : value);
    let transport = this.#byPlan.get(key);
    if (transport === undefined) {
      transport = this.#create(plan);
      this.#byPlan.set(key, transport);
    }
    return transport;
  }

  #create(plan: TransportPlan): Transport {
    const { clock, wheel } = this.#options;
    if (plan.kind === "http1") return new Http1Transport({ clock, wheel, connections: plan.connections });
    const { protocol, proxy, connections } = plan;
    return new FetchTransport({ wheel, protocol, proxy, ...connections });
  }

  /** Closes what any of them keeps for a peer that is not used any more. */
  forget(peer: Peer): void {
    for (const transport of this.#byPlan.values()) transport.forget(peer);
  }

  [Symbol.dispose](): void {
    for (const transport of this.#byPlan.values()) transport[Symbol.dispose]();
    this.#byPlan.clear();
  }
}
