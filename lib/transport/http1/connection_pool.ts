/** The connections to one server. */

import type { Clock } from "../../core/clock.ts";
import type { Deadline, DeadlineWheel } from "../../core/deadline_wheel.ts";
import { type ProxyError, UpstreamError } from "../../core/errors.ts";
import { formatAddress } from "../../upstream/address.ts";
import type { ConnectionEnd, ConnectionMeter } from "../../observe/metrics/meters.ts";
import type { Peer } from "../../upstream/peer.ts";
import { type ProxyAddresses, writeProxyHeader } from "../../http1/proxy_protocol.ts";
import type { BufferShelf } from "../../http1/buffer_shelf.ts";
import { Connection, type ConnectionOwner, type Trip } from "./connection.ts";
import { closeSocket, dial } from "./dial.ts";
import { cancelledError } from "./server_content.ts";

/** How many connections a server gets, and for how long. */
export interface ConnectionLimits {
  /** Most connections that are kept for later. @default {256} */
  maxIdle?: number;
  /** How long one is kept; a little below the 5 s after which many servers close theirs. @default {4000} */
  idleTimeoutMs?: number;
}

/** Most TLS handshakes that a server may leave hanging before it is not asked for another. */
const MAX_STUCK = 64;

/** What a {@linkcode ConnectionPool} is made of. */
interface ConnectionPoolInit {
  readonly peer: Peer;
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
  readonly limits: Required<ConnectionLimits>;
  readonly shelf: BufferShelf;
  /** `null` where nobody wants to know. @default {null} */
  readonly meter?: ConnectionMeter | null;
}

/** Hands out idle connections, the last used first, and opens new ones. */
export class ConnectionPool implements ConnectionOwner, Disposable {
  readonly #peer: Peer;
  readonly #clock: Clock;
  readonly #wheel: DeadlineWheel;
  readonly #limits: Required<ConnectionLimits>;
  readonly #connections = new Set<Connection>();
  readonly #dials = new Set<AbortController>();
  readonly #stuck = new Set<Deno.Conn>();
  // The longest idle first: the last used one is the least likely to be closed by the server.
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

  /** Connections that wait for a request. */
  get idle(): number {
    return this.#idle.length;
  }

  /** Sends a request on an idle connection, or on a new one. */
  submit(trip: Trip, now?: number): void {
    const connection = this.#peer.sendProxyProtocol === undefined
      ? this.#idle.pop()
      : this.#takeOf(clientOf(trip.request.addresses));
    if (connection === undefined) return this.#connect(trip);
    if (this.#meter !== null) this.#meter.reused();
    connection.start(trip, now);
  }

  // What a connection begins with cannot be taken back: it stays that of one client.
  #takeOf(client: string): Connection | undefined {
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

  /** Closes what is idle; what is busy is closed when it is done. */
  retire(): void {
    this.#retired = true;
    this.#idleDeadline.clear();
    for (const connection of this.#idle.splice(0)) connection.close("retired");
  }

  /** Closes everything; requests on the way or waiting fail. */
  [Symbol.dispose](): void {
    this.retire();
    const error = closedError(this.#peer);
    for (const controller of this.#dials) controller.abort(error);
    for (const socket of this.#stuck) closeSocket(socket);
    for (const connection of [...this.#connections]) connection.close("retired");
  }
}

/** What stands for the client of a request: both ends of its connection. */
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
