/** The connections to one server, any of which can serve a request. */

import { CancellationListener, type Deadline, type DeadlineWheel } from "../../core/cancellation.ts";
import type { Clock } from "../../core/clock.ts";
import { type ProxyError, UpstreamError } from "../../core/errors.ts";
import type { Bytes } from "../../http/message.ts";
import type { BufferShelf } from "../../http1/head_writer.ts";
import type { HeadShelf } from "../../http2/received_head.ts";
import { formatAddress, type Peer } from "../../upstream/peer.ts";
import type { ConnectionEnd, ConnectionMeter } from "../../observe/metrics/meters.ts";
import type { Trip } from "../http1/connection.ts";
import { closedError } from "../http1/http1_transport.ts";
import { closeSocket, dial } from "../http1/dial.ts";
import { cancelledError } from "../http1/server_content.ts";
import { type ConnectionFailure, Http2Exchange } from "./http2_exchange.ts";
import { ServerConnection, type ServerConnectionOwner } from "./server_connection.ts";

/** Limits of the connections to a server, and of the requests on each. */
export interface Http2Limits {
  /** Most idle connections that are kept. */
  readonly maxIdle: number;
  /** How long an idle connection is kept. */
  readonly idleTimeoutMs: number;
  /** Most requests at the same time on one connection; a server may allow fewer. */
  readonly maxStreams: number;
}

/** Most hanging TLS handshakes of a server; above this, no further connection is opened. */
const MAX_STUCK = 64;

/** Parts that all groups of a transport share. */
export interface GroupParts {
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
  readonly shelf: BufferShelf;
  readonly heads: HeadShelf;
  readonly limits: Http2Limits;
  /** Finished exchanges, kept for reuse. */
  readonly exchanges: Http2Exchange[];
}

/** Parts of a {@linkcode ConnectionGroup}. */
interface ConnectionGroupInit {
  readonly peer: Peer;
  readonly parts: GroupParts;
  /** Bytes to send first on each connection, before TLS; `null` for none. */
  readonly preface: Bytes | null;
  /** Called when the group has no connection and no waiting request any more. */
  readonly onEmpty: () => void;
  /** Counts the idle connections of all groups of the peer; `null` when this is the only one. */
  readonly idleOfPeer: (() => number) | null;
  readonly meter: ConnectionMeter | null;
}

/**
 * Assigns requests to the oldest connection with room, so that unneeded connections become idle, and opens as many
 * new ones as the other requests need. A request waits only for a connection that is being opened or checked.
 */
export class ConnectionGroup implements ServerConnectionOwner, Disposable {
  readonly #peer: Peer;
  readonly #parts: GroupParts;
  readonly #preface: Bytes | null;
  readonly #onEmpty: () => void;
  readonly #idleOfPeer: (() => number) | null;
  readonly #meter: ConnectionMeter | null;
  readonly #connections: ServerConnection[] = [];
  readonly #dials = new Set<AbortController>();
  readonly #stuck = new Set<Deno.Conn>();
  #waiting: WaitingTrip[] = [];
  /** Most requests of a connection, as far as the server has announced it. */
  #capacity: number;
  #retired = false;

  constructor({ peer, parts, preface, onEmpty, idleOfPeer, meter }: ConnectionGroupInit) {
    this.#meter = meter;
    this.#peer = peer;
    this.#parts = parts;
    this.#preface = preface;
    this.#onEmpty = onEmpty;
    this.#idleOfPeer = idleOfPeer;
    this.#capacity = parts.limits.maxStreams;
  }

  /** Connections that are open or being opened. */
  get size(): number {
    return this.#connections.length + this.#dials.size;
  }

  /** Connections without a request. */
  get idle(): number {
    let count = 0;
    for (const connection of this.#connections) count += connection.isIdle ? 1 : 0;
    return count;
  }

  /** Sends a request on a connection that has room, or on a new one. */
  submit(trip: Trip, now: number): void {
    const connection = this.#waiting.length === 0 ? this.#find(now) : null;
    if (connection !== null) {
      if (this.#meter !== null) this.#meter.reused();
      return this.#start(connection, trip, now);
    }
    this.#waiting.push(new WaitingTrip(trip, this.#parts.wheel, now, (each) => this.#cancelWaiting(each)));
    this.#connect(now);
  }

  #find(now: number): ServerConnection | null {
    for (const connection of this.#connections) {
      if (connection.hasRoom && connection.isAlive(now)) return connection;
    }
    return null;
  }

  #start(connection: ServerConnection, trip: Trip, now: number): void {
    if (trip.byHttp1 !== undefined && !connection.takesWebSockets) return trip.byHttp1();
    const { exchanges, clock, wheel } = this.#parts;
    const exchange = exchanges.pop() ?? new Http2Exchange({ clock, wheel });
    exchange.start(connection, trip, now);
  }

  #startWaiting(connection: ServerConnection, waiting: WaitingTrip, now: number): void {
    const { since } = waiting;
    const trip = waiting.take();
    const { openedAt, takesWebSockets } = connection;
    // It may have waited for a check, or for room. By HTTP/1.1 it needs another connection.
    const isNew = since < openedAt && (trip.byHttp1 === undefined || takesWebSockets);
    if (isNew) trip.options.connected?.(openedAt - since);
    this.#start(connection, trip, now);
  }

  over(exchange: Http2Exchange): void {
    const { exchanges } = this.#parts;
    if (exchanges.length < MAX_EXCHANGES) exchanges.push(exchange);
  }

  again(trip: Trip): void {
    trip.request.body?.rewind();
    this.submit(trip, this.#parts.clock.now());
  }

  changed(connection: ServerConnection): void {
    const { limits, clock } = this.#parts;
    // A server may allow no stream for a while (RFC 9113 section 6.5.2); a new connection has other settings.
    this.#capacity = Math.max(connection.capacity, 1);
    const now = clock.now();
    while (this.#waiting.length > 0) {
      const found = this.#find(now);
      if (found === null) break;
      this.#startWaiting(found, this.#waiting.shift()!, now);
    }
    if (this.#waiting.length > 0) this.#connect(now);
    if (!connection.isIdle) return;
    if (this.#retired) connection.end("retired");
    else if ((this.#idleOfPeer === null ? this.idle : this.#idleOfPeer()) > limits.maxIdle) {
      connection.end("surplus");
    } else connection.keep(limits.idleTimeoutMs);
  }

  closed(connection: ServerConnection, { code, message }: ConnectionFailure, end: ConnectionEnd): void {
    const at = this.#connections.indexOf(connection);
    if (at >= 0) this.#connections.splice(at, 1);
    this.#meter?.closed(end);
    if (this.#waiting.length === 0) return this.#notifyIfEmpty();
    // A connection that failed its check does not mean that the server cannot be reached.
    if (connection.openedAt < Infinity) return this.#connect(this.#parts.clock.now());
    this.#failWaiting(
      new UpstreamError(`Cannot speak HTTP/2 with ${formatAddress(this.#peer.address)}: ${message}`, {
        code,
        phase: "unsent",
      }),
    );
  }

  // Opens as many connections as the waiting requests need.
  #connect(now: number): void {
    const pending = this.#dials.size +
      this.#connections.reduce((sum, { isOpen, isChecking }) => sum + (!isOpen || isChecking ? 1 : 0), 0);
    const needed = Math.max(Math.ceil(this.#waiting.length / this.#capacity), 1) - pending;
    for (let i = 0; i < needed && this.#waiting.length > 0; i++) this.#dial(this.#waiting[0]!.trip, now);
  }

  // Not within the deadline of this request: others may wait for the same connection.
  #dial({ options: { timeouts } }: Trip, now: number): void {
    if (this.#stuck.size - this.#dials.size >= MAX_STUCK) return this.#failWaiting(this.#stuckError());
    const { wheel } = this.#parts;
    const controller = new AbortController();
    this.#dials.add(controller);
    const { connectMs, tlsMs } = timeouts;
    const options = {
      wheel,
      connectMs,
      tlsMs,
      controller,
      preface: this.#preface,
      stuck: this.#stuck,
      alpn: "h2",
    } as const;
    dial(this.#peer, options).then((socket) => {
      this.#dials.delete(controller);
      this.#meter?.opened(this.#parts.clock.now() - now);
      this.#connections.push(this.#open(socket, connectMs));
    }, (error: ProxyError) => {
      // Requests that came after the abort have a dial of their own.
      if (!this.#dials.delete(controller)) return this.#notifyIfEmpty();
      this.#failWaiting(error);
    });
  }

  #open(socket: Deno.Conn, connectMs: number): ServerConnection {
    const { limits: { maxStreams }, ...parts } = this.#parts;
    return new ServerConnection({
      ...parts,
      socket,
      secure: this.#peer.tls !== null,
      owner: this,
      maxStreams,
      connectMs,
    });
  }

  // If a server accepts no further connection, waiting requests fail, so that they can try other servers.
  #failWaiting(error: ProxyError): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const each of waiting) each.take().options.failed(error);
    this.#notifyIfEmpty();
  }

  #notifyIfEmpty(): void {
    if (this.size === 0 && this.#waiting.length === 0) this.#onEmpty();
  }

  #cancelWaiting(waiting: WaitingTrip): void {
    const at = this.#waiting.indexOf(waiting);
    if (at >= 0) this.#waiting.splice(at, 1);
    if (this.#waiting.length > 0) return;
    const dials = [...this.#dials];
    this.#dials.clear();
    for (const controller of dials) controller.abort(closedError(this.#peer));
  }

  #stuckError(): UpstreamError {
    const found = `${MAX_STUCK} TLS handshakes hang already`;
    return new UpstreamError(`Cannot connect to ${formatAddress(this.#peer.address)}: ${found}`, {
      code: "connection_timeout",
      phase: "unsent",
    });
  }

  /** Closes idle connections; busy ones are closed when their requests have ended. */
  retire(): void {
    this.#retired = true;
    for (const connection of [...this.#connections]) {
      if (connection.isIdle) connection.end("retired");
      else connection.retire();
    }
  }

  /** Closes everything; running and waiting requests fail. */
  [Symbol.dispose](): void {
    this.#retired = true;
    const error = closedError(this.#peer);
    this.#failWaiting(error);
    for (const controller of this.#dials) controller.abort(error);
    for (const socket of this.#stuck) closeSocket(socket);
    for (const connection of [...this.#connections]) connection[Symbol.dispose]();
  }
}

/** Most exchanges that are kept; more are needed only if as many run at the same time. */
const MAX_EXCHANGES = 512;

/** A request that waits for a connection. */
class WaitingTrip {
  readonly trip: Trip;
  /** When it began to wait. */
  readonly since: number;
  readonly #deadline: Deadline;
  readonly #listener: CancellationListener;

  constructor(trip: Trip, wheel: DeadlineWheel, now: number, onEnd: (waiting: WaitingTrip) => void) {
    this.trip = trip;
    this.since = now;
    const fail = (error: ProxyError): void => {
      onEnd(this);
      this.take().options.failed(error);
    };
    this.#deadline = wheel.deadline(() => fail(lateError()));
    if (trip.dueAt !== Infinity) this.#deadline.set(trip.dueAt - now, now);
    this.#listener = new CancellationListener((reason) => fail(cancelledError(reason)));
    trip.options.cancellation.add(this.#listener);
  }

  /** Ends the wait and returns the request. */
  take(): Trip {
    this.#deadline.clear();
    this.#listener[Symbol.dispose]();
    return this.trip;
  }
}

function lateError(): UpstreamError {
  return new UpstreamError("Cannot send the request: there was no connection in time", {
    code: "connection_timeout",
    phase: "unsent",
  });
}
