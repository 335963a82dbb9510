/** The proxy's HTTP/1.1 client, which changes no byte and costs a fraction of `fetch`. */

import type { Clock } from "../../core/clock.ts";
import type { Deadline, DeadlineWheel } from "../../core/cancellation.ts";
import { type ProxyError, UpstreamError } from "../../core/errors.ts";
import { BufferShelf } from "../../http1/head_writer.ts";
import { type ProxyAddresses, writeProxyHeader } from "../../http1/proxy_protocol.ts";
import type { ConnectionEnd, ConnectionMeter } from "../../observe/metrics/meters.ts";
import { formatAddress, type Peer } from "../../upstream/peer.ts";
import type { OutgoingRequest, SendOptions, Transport } from "../transport.ts";
import { Connection, type ConnectionOwner, type Trip } from "./connection.ts";
import { closeSocket, dial } from "./dial.ts";
import { cancelledError } from "./server_content.ts";

/** Options of an {@linkcode Http1Transport}. */
interface Http1TransportOptions {
  clock: Clock;
  wheel: DeadlineWheel;
  /** Limits of the connections to each server. */
  connections?: ConnectionLimits;
  /** Counters of the connections to a peer. @default {none} */
  meterOf?: (peer: Peer) => ConnectionMeter | undefined;
}

/**
 * Speaks HTTP/1.1 over TCP, TLS or unix sockets, and keeps idle connections in a pool for each peer.
 *
 * A request whose kept connection is already closed is sent once more on a new one, when it may be repeated (RFC 9110
 * section 9.2.2) or nothing of it was sent.
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

// The connections to one server.

/** Limits of the connections to each server. */
export interface ConnectionLimits {
  /** Most idle connections that are kept. @default {256} */
  maxIdle?: number;
  /** How long an idle connection is kept; many servers close theirs after 5 s. @default {4000} */
  idleTimeoutMs?: number;
}

/** Most hanging TLS handshakes of a server; above this, no further connection is opened. */
const MAX_STUCK = 64;

/** Parts of a {@linkcode ConnectionPool}. */
interface ConnectionPoolInit {
  readonly peer: Peer;
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
  readonly limits: Required<ConnectionLimits>;
  readonly shelf: BufferShelf;
  /** Counters of the connections; `null` for none. @default {null} */
  readonly meter?: ConnectionMeter | null;
}

/** Reuses idle connections, the last used first, and opens new ones. */
class ConnectionPool implements ConnectionOwner, Disposable {
  readonly #peer: Peer;
  readonly #clock: Clock;
  readonly #wheel: DeadlineWheel;
  readonly #limits: Required<ConnectionLimits>;
  readonly #connections = new Set<Connection>();
  readonly #dials = new Set<AbortController>();
  readonly #stuck = new Set<Deno.Conn>();
  // The longest idle first: the last used connection is the least likely to be closed by the server.
  readonly #idle: Connection[] = [];
  readonly #shelf: BufferShelf;
  readonly #idleDeadline: Deadline;
  readonly #meter: ConnectionMeter | null;
  #retired = false;

  constructor({ peer, clock, wheel, limits, shelf, meter = null }: ConnectionPoolInit) {
    this.#peer = peer;
    this.#clock = clock;
    this.#wheel = wheel;
    this.#limits = limits;
    this.#shelf = shelf;
    this.#meter = meter;
    this.#idleDeadline = wheel.deadline(() => this.#closeIdle());
  }

  /** Connections that are open or being opened. */
  get size(): number {
    return this.#connections.size + this.#dials.size;
  }

  /** Idle connections. */
  get idle(): number {
    return this.#idle.length;
  }

  /** Sends a request on an idle connection, or on a new one. */
  submit(trip: Trip, now?: number): void {
    const connection = this.#peer.sendProxyProtocol === undefined
      ? this.#idle.pop()
      : this.#takeIdleOf(clientOf(trip.request.addresses));
    if (connection === undefined) return this.#connect(trip);
    if (this.#meter !== null) this.#meter.reused();
    connection.start(trip, now);
  }

  // A sent PROXY header cannot be changed: the connection only serves that client.
  #takeIdleOf(client: string): Connection | undefined {
    const index = this.#idle.findLastIndex((connection) => connection.client === client);
    return index < 0 ? undefined : this.#idle.splice(index, 1)[0];
  }

  released(connection: Connection): void {
    if (this.#retired) return connection.close("retired");
    if (this.#idle.length >= this.#limits.maxIdle) return connection.close("surplus");
    const now = this.#wheel.lately;
    connection.idleSince = now;
    if (this.#idle.push(connection) === 1) this.#idleDeadline.set(this.#limits.idleTimeoutMs, now);
  }

  closed(connection: Connection, reason: ConnectionEnd): void {
    this.#remove(connection);
    this.#meter?.closed(reason);
  }

  stale(connection: Connection, trip: Trip): void {
    this.#remove(connection);
    this.#meter?.closed("server");
    trip.request.body?.rewind();
    this.#connect(trip);
  }

  #remove(connection: Connection): void {
    this.#connections.delete(connection);
    const index = this.#idle.lastIndexOf(connection);
    if (index !== -1) this.#idle.splice(index, 1);
  }

  #connect(trip: Trip): void {
    if (this.#stuck.size - this.#dials.size >= MAX_STUCK) return trip.options.failed(stuckError(this.#peer));
    const controller = new AbortController();
    this.#dials.add(controller);
    const listener = trip.options.cancellation.listen((reason) => controller.abort(cancelledError(reason)));
    const since = this.#clock.now();
    const { timeouts } = trip.options;
    const leftMs = trip.dueAt - this.#clock.now();
    const connectMs = Math.min(timeouts.connectMs, leftMs);
    const tlsMs = Math.min(timeouts.tlsMs, leftMs);
    const { sendProxyProtocol: version } = this.#peer;
    const preface = version === undefined ? null : writeProxyHeader(version, trip.request.addresses ?? null);
    const client = version === undefined ? "" : clientOf(trip.request.addresses);
    const options = { wheel: this.#wheel, connectMs, tlsMs, controller, preface, stuck: this.#stuck };
    dial(this.#peer, options).then((socket) => {
      this.#dials.delete(controller);
      listener[Symbol.dispose]();
      const tookMs = this.#clock.now() - since;
      this.#meter?.opened(tookMs);
      trip.options.connected?.(tookMs);
      const connection = new Connection({
        socket,
        owner: this,
        clock: this.#clock,
        wheel: this.#wheel,
        shelf: this.#shelf,
        client,
      });
      this.#connections.add(connection);
      connection.start(trip);
    }, (error: ProxyError) => {
      this.#dials.delete(controller);
      listener[Symbol.dispose]();
      trip.options.failed(error);
    });
  }

  #closeIdle(): void {
    const { idleTimeoutMs } = this.#limits;
    const now = this.#clock.now();
    for (let oldest = this.#idle[0]; oldest !== undefined; oldest = this.#idle[0]) {
      const left = oldest.idleSince + idleTimeoutMs - now;
      if (left > 0) return this.#idleDeadline.set(left);
      oldest.close("idle");
    }
  }

  /** Closes idle connections; busy ones are closed when their exchange has ended. */
  retire(): void {
    this.#retired = true;
    this.#idleDeadline.clear();
    for (const connection of this.#idle.splice(0)) connection.close("retired");
  }

  /** Closes everything; running and waiting requests fail. */
  [Symbol.dispose](): void {
    this.retire();
    const error = closedError(this.#peer);
    for (const controller of this.#dials) controller.abort(error);
    for (const socket of this.#stuck) closeSocket(socket);
    for (const connection of [...this.#connections]) connection.close("retired");
  }
}

/** Identifies the client of a request: both ends of its connection. */
export function clientOf(addresses: ProxyAddresses | null | undefined): string {
  if (addresses === null || addresses === undefined) return "";
  const { ip, port, localIp, localPort } = addresses;
  return `${ip} ${port} ${localIp} ${localPort}`;
}

function stuckError(peer: Peer): UpstreamError {
  const found = `${MAX_STUCK} TLS handshakes hang already`;
  return new UpstreamError(`Cannot connect to ${formatAddress(peer.address)}: ${found}`, {
    code: "connection_timeout",
    phase: "unsent",
  });
}

/** Makes the error for a request that was not sent because the transport is closed. */
export function closedError(peer: Peer): UpstreamError {
  return new UpstreamError(`Cannot send to ${formatAddress(peer.address)}: the transport was closed`, {
    code: "connection_terminated",
    phase: "unsent",
  });
}
