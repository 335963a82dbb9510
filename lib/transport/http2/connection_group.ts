/** The connections to one server, all of them good for the same requests. */

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

/** How many connections a server gets, for how long, and for how many requests each. */
export interface Http2Limits {
  /** Most connections without a request that are kept for later. */
  readonly maxIdle: number;
  /** How long one is kept. */
  readonly idleTimeoutMs: number;
  /** Most requests at the same time on one; a server may allow fewer. */
  readonly maxStreams: number;
}

/** Most TLS handshakes that a server may leave hanging before it is not asked for another. */
const MAX_STUCK = 64;

/** What all groups of a transport share. */
export interface GroupParts {
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
  readonly shelf: BufferShelf;
  readonly heads: HeadShelf;
  readonly limits: Http2Limits;
  /** Exchanges that are over, for those who come after. */
  readonly exchanges: Http2Exchange[];
}

/** What a {@linkcode ConnectionGroup} is made of. */
interface ConnectionGroupInit {
  readonly peer: Peer;
  readonly parts: GroupParts;
  /** What each connection begins with, before TLS; `null` for nothing. */
  readonly preface: Bytes | null;
  /** Told when it holds nothing any more. */
  readonly onEmpty: () => void;
  readonly meter: ConnectionMeter | null;
}

/**
 * Puts requests on connections, the oldest that has room first, so that those that are not needed become idle; opens as many as
 * the requests take that have no room. Nobody waits but for a connection that is being opened, or asked for a sign of life.
 */
export class ConnectionGroup implements ServerConnectionOwner, Disposable {
  readonly #peer: Peer;
  readonly #parts: GroupParts;
  readonly #preface: Bytes | null;
  readonly #onEmpty: () => void;
  readonly #meter: ConnectionMeter | null;
  readonly #connections: ServerConnection[] = [];
  readonly #dials = new Set<AbortController>();
  readonly #stuck = new Set<Deno.Conn>();
  #waiting: WaitingTrip[] = [];
  /** How many requests a connection takes, as far as the server has said. */
  #capacity: number;
  #retired = false;

  constructor({ peer, parts, preface, onEmpty, meter }: ConnectionGroupInit) {
    this.#meter = meter;
    this.#peer = peer;
    this.#parts = parts;
    this.#preface = preface;
    this.#onEmpty = onEmpty;
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
    this.#waiting.push(new WaitingTrip(trip, this.#parts.wheel, now, (each) => this.#giveUp(each)));
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
    this.#capacity = connection.capacity;
    const now = clock.now();
    while (this.#waiting.length > 0) {
      const found = this.#find(now);
      if (found === null) break;
      this.#start(found, this.#waiting.shift()!.take(), now);
    }
    if (this.#waiting.length > 0) this.#connect(now);
    if (!connection.isIdle) return;
    if (this.#retired) connection.end("retired");
    else if (this.idle > limits.maxIdle) connection.end("surplus");
    else connection.keep(limits.idleTimeoutMs);
  }

  closed(connection: ServerConnection, { code, message }: ConnectionFailure, end: ConnectionEnd): void {
    const at = this.#connections.indexOf(connection);
    if (at >= 0) this.#connections.splice(at, 1);
    this.#meter?.closed(end);
    if (this.#waiting.length === 0) return this.#tellIfEmpty();
    // One that gave no sign of life has said nothing of the server.
    if (connection.wasOpen) return this.#connect(this.#parts.clock.now());
    this.#failWaiting(
      new UpstreamError(`Cannot speak HTTP/2 with ${formatAddress(this.#peer.address)}: ${message}`, {
        code,
        phase: "unsent",
      }),
    );
  }

  // As many as it takes for those that wait.
  #connect(now: number): void {
    const coming = this.#dials.size +
      this.#connections.reduce((sum, { isOpen, isChecking }) => sum + (!isOpen || isChecking ? 1 : 0), 0);
    const needed = Math.max(Math.ceil(this.#waiting.length / this.#capacity), 1) - coming;
    for (let i = 0; i < needed && this.#waiting.length > 0; i++) this.#dial(this.#waiting[0]!.trip, now);
  }

  #dial({ options: { timeouts }, dueAt }: Trip, now: number): void {
    if (this.#stuck.size - this.#dials.size >= MAX_STUCK) return this.#failWaiting(this.#stuckError());
    const { wheel } = this.#parts;
    const controller = new AbortController();
    this.#dials.add(controller);
    const connectMs = Math.min(timeouts.connectMs, dueAt - now);
    const options = {
      wheel,
      connectMs,
      tlsMs: Math.min(timeouts.tlsMs, dueAt - now),
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
      this.#dials.delete(controller);
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

  // A server that takes no further connection has no room for those that wait; other servers may have.
  #failWaiting(error: ProxyError): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const each of waiting) each.take().options.failed(error);
    this.#tellIfEmpty();
  }

  #tellIfEmpty(): void {
    if (this.size === 0 && this.#waiting.length === 0) this.#onEmpty();
  }

  #giveUp(waiting: WaitingTrip): void {
    const at = this.#waiting.indexOf(waiting);
    if (at >= 0) this.#waiting.splice(at, 1);
    if (this.#waiting.length > 0) return;
    // Each is taken out when it has failed.
    for (const controller of this.#dials) controller.abort(closedError(this.#peer));
  }

  #stuckError(): UpstreamError {
    const found = `${MAX_STUCK} TLS handshakes hang already`;
    return new UpstreamError(`Cannot connect to ${formatAddress(this.#peer.address)}: ${found}`, {
      code: "connection_timeout",
      phase: "unsent",
    });
  }

  /** Closes what is idle; what is busy is closed when it is done. */
  retire(): void {
    this.#retired = true;
    for (const connection of [...this.#connections]) {
      if (connection.isIdle) connection.end("retired");
      else connection.retire();
    }
  }

  /** Closes everything; requests on the way or waiting fail. */
  [Symbol.dispose](): void {
    this.#retired = true;
    const error = closedError(this.#peer);
    this.#failWaiting(error);
    for (const controller of this.#dials) controller.abort(error);
    for (const socket of this.#stuck) closeSocket(socket);
    for (const connection of [...this.#connections]) connection[Symbol.dispose]();
  }
}

/** Exchanges that are kept; more are only needed when as many run at one time. */
const MAX_EXCHANGES = 512;

/** A request that has no connection yet. */
class WaitingTrip {
  readonly trip: Trip;
  readonly #deadline: Deadline;
  readonly #listener: CancellationListener;

  constructor(trip: Trip, wheel: DeadlineWheel, now: number, giveUp: (waiting: WaitingTrip) => void) {
    this.trip = trip;
    const fail = (error: ProxyError): void => {
      giveUp(this);
      this.take().options.failed(error);
    };
    this.#deadline = wheel.deadline(() => fail(lateError()));
    if (trip.dueAt !== Infinity) this.#deadline.set(trip.dueAt - now, now);
    this.#listener = new CancellationListener((reason) => fail(cancelledError(reason)));
    trip.options.cancellation.add(this.#listener);
  }

  /** It waits no longer. */
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
