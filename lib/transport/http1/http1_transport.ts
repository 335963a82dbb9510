/** The proxy's own HTTP/1.1 client, which changes no byte on the way and costs a fraction of `fetch`. */

import type { Clock } from "../../core/clock.ts";
import type { DeadlineWheel } from "../../core/deadline_wheel.ts";
import type { ConnectionMeter } from "../../observe/metrics/meters.ts";
import type { Peer } from "../../upstream/peer.ts";
import { BufferShelf } from "../../http1/buffer_shelf.ts";
import type { OutgoingRequest, SendOptions, Transport } from "../transport.ts";
import { closedError, type ConnectionLimits, ConnectionPool } from "./connection_pool.ts";
import { cancelledError } from "./server_content.ts";

/** What an {@linkcode Http1Transport} takes. */
interface Http1TransportOptions {
  clock: Clock;
  wheel: DeadlineWheel;
  /** Limits of the connections to each server. */
  connections?: ConnectionLimits;
  /** What the connections to a peer are counted by. @default {nothing} */
  meterOf?: (peer: Peer) => ConnectionMeter | undefined;
}

/**
 * Speaks HTTP/1.1 over TCP, TLS or unix sockets and keeps connections for later, a pool a peer.
 *
 * A request whose kept connection turns out to be closed is sent once more on a new one, when it may be repeated
 * (RFC 9110 section 9.2.2) or nothing of it was sent.
 */
export class Http1Transport implements Transport {
  readonly #clock: Clock;
  readonly #wheel: DeadlineWheel;
  readonly #limits: Required<ConnectionLimits>;
  readonly #shelf = new BufferShelf();
  readonly #pools = new Map<Peer, ConnectionPool>();
  // Pools of forgotten peers, until their last request has ended.
  readonly #retired = new Set<ConnectionPool>();
  readonly #meterOf: (peer: Peer) => ConnectionMeter | undefined;
  #disposed = false;

  constructor({ clock, wheel, connections = {}, meterOf = () => undefined }: Http1TransportOptions) {
    const { maxIdle = 256, idleTimeoutMs = 4000 } = connections;
    this.#clock = clock;
    this.#wheel = wheel;
    this.#limits = { maxIdle, idleTimeoutMs };
    this.#meterOf = meterOf;
  }

  send(request: OutgoingRequest, peer: Peer, options: SendOptions, now?: number): void {
    const { startedAt, cancellation, timeouts: { totalMs } } = options;
    if (cancellation.cancelled) return options.failed(cancelledError(cancellation.reason));
    if (this.#disposed) return options.failed(closedError(peer));
    const dueAt = totalMs === Infinity ? Infinity : (startedAt ?? this.#clock.now()) + totalMs;
    this.#pool(peer).submit({ request, options, dueAt, retried: false }, now);
  }

  #pool(peer: Peer): ConnectionPool {
    let pool = this.#pools.get(peer);
    if (pool === undefined) {
      pool = new ConnectionPool({
        peer,
        clock: this.#clock,
        wheel: this.#wheel,
        limits: this.#limits,
        shelf: this.#shelf,
        meter: this.#meterOf(peer) ?? null,
      });
      this.#pools.set(peer, pool);
    }
    return pool;
  }

  /** How many connections to the peer are open, and how many of these are idle. */
  connectionsOf(peer: Peer): { open: number; idle: number } {
    const pool = this.#pools.get(peer);
    return { open: pool?.size ?? 0, idle: pool?.idle ?? 0 };
  }

  forget(peer: Peer): void {
    const pool = this.#pools.get(peer);
    if (pool === undefined) return;
    this.#pools.delete(peer);
    pool.retire();
    for (const retired of this.#retired) {
      if (retired.size === 0) this.#retired.delete(retired);
    }
    if (pool.size > 0) this.#retired.add(pool);
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const pool of [...this.#pools.values(), ...this.#retired]) pool[Symbol.dispose]();
    this.#pools.clear();
    this.#retired.clear();
  }
}
