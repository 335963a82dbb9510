/** A socket that accepts clients of HTTP/1.1, and their connections. */

import type { Clock } from "../../core/clock.ts";
import {
  descriptorLimit,
  resourceShortage,
  socketShortage,
  SpareDescriptor,
} from "../../core/resource_shortage.ts";
import { OUT_OF_RESOURCES, ProxyError } from "../../core/errors.ts";
import type { DeadlineWheel } from "../../core/cancellation.ts";
import { formatListen, type ResolvedListen } from "../../config/listen_options.ts";
import type { ClientLimits } from "../../config/listen_options.ts";
import { HeaderFields } from "../../http/header_fields.ts";
import type { Bytes } from "../../http/message.ts";
import type { Underscores } from "../../http/proxy_fields.ts";
import { plainAddress } from "../../http/trusted_proxies.ts";
import { BufferShelf } from "../../http1/head_writer.ts";
import type { ProxyAddresses } from "../../http1/proxy_protocol.ts";
import { RequestHeadParser } from "../../http1/request_head.ts";
import { addressGroup } from "../../limiter/key_spec.ts";
import type { ListenerInfo, StreamHandler } from "../../proxy/client_stream.ts";
import {
  type EngineListener,
  Http2Context,
  LAST_REQUEST_MS,
  type ListedConnection,
  type ListenerEvents,
  listenError,
  type Socket,
} from "../engine.ts";
import { Http2ClientConnection } from "../http2/http2_connection.ts";
import {
  ClientConnection,
  type Http1Context,
  type RequestHead,
  tooManyConnections,
} from "./client_connection.ts";

/** Options of an {@linkcode Http1Listener}. */
interface Http1ListenerOptions extends ListenerEvents {
  readonly listen: ResolvedListen;
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
  readonly handler: StreamHandler;
  /** Accepts clients instead of a socket that is opened here. */
  readonly acceptor?: Acceptor;
}

/** Accepts clients, as a `Deno.Listener` does. */
interface Acceptor {
  readonly addr: Deno.Addr;
  /** Applies new options. */
  update?(listen: ResolvedListen): void;
  accept(): Promise<AcceptedSocket>;
  close(): void;
}

/** A connection, and its two ends. */
type AcceptedSocket = Socket & Pick<Deno.Conn, "remoteAddr" | "localAddr"> & {
  /** Whether the client has negotiated HTTP/2. */
  readonly isHttp2?: boolean;
};

/** How long to wait after a failed accept. */
const PAUSE_MS = 100;
/** How long accepting must work until it counts as recovered. */
const STEADY_AFTER_MS = 1000;
/** Length of the IPv6 prefix that counts as one client: a client usually has a whole network. */
const IPV6_PREFIX = 64;
/** File descriptors for other purposes: logs, listeners, timers, certificates. */
const OTHER_DESCRIPTORS = 64;
/**
 * How many idle connections are closed at a time for lack of file descriptors: a client may need one for its server
 * too.
 */
const MAX_CLOSED_IDLE = 8;
/** How long a new connection is expected to send a request. */
const NEW_MS = 1000;
/** Lower bound of the computed limit of connections. */
const LEAST_CONNECTIONS = 16;
/** Most clients in a row that may have closed before they were accepted; if it is more, the system is broken. */
const MAX_GONE_IN_TURN = 1000;
/** Most turns of the event loop to accept waiting clients before the listener is closed. */
const MAX_LAST_TURNS = 50;
/** After so many turns without a new client, none is waiting. */
const QUIET_TURNS = 2;
/** How many parsers are kept for reuse. */
const MAX_HEADS = 256;

/** Listens at one address with `Deno.listen`. */
export class Http1Listener implements EngineListener, Http1Context {
  readonly listener: ListenerInfo;
  readonly shelf: BufferShelf = new BufferShelf();
  readonly wheel: DeadlineWheel;
  readonly handler: StreamHandler;
  limits: ClientLimits;
  underscores: Underscores;
  draining = false;
  /** How many connections were accepted. */
  #accepted = 0;
  #closed = false;
  /** Whether connections that are accepted from now on are closed. */
  #isCut = false;
  /** Ends a pause before the listener is closed. */
  #endPause: (() => void) | null = null;
  readonly #options: Http1ListenerOptions;
  #listen: ResolvedListen;
  readonly #socket: Acceptor;
  readonly #port: number;
  readonly #connections: ListedConnection[] = [];
  readonly #heads: RequestHead[] = [];
  readonly #http2 = new Http2Context(this);
  /** The connection that has been idle for longest, and the one that has become idle last. */
  #oldest: ListedConnection | null = null;
  #newest: ListedConnection | null = null;
  readonly #accepting: Promise<void>;
  #brokenSince: number | null = null;
  #steady: Disposable | null = null;
  #empty: (() => void) | null = null;
  #maxConnections: number;
  /** How many connections each client has, if that is limited. */
  readonly #clients = new Map<string, number>();
  readonly #spare = new SpareDescriptor();
  /** Whether accepting has failed since it last worked or paused. */
  #failed = false;
  #onRoom: (() => void) | null = null;
  /** How many clients in a row had closed before they were accepted. */
  #goneInTurn = 0;

  /** @throws {ListenError} when the address cannot be listened at */
  constructor(options: Http1ListenerOptions) {
    const { listen, wheel, handler } = options;
    const { hostname, port, unix, underscores = "drop", limits, reusePort = false } = listen;
    this.#options = options;
    this.#listen = listen;
    this.wheel = wheel;
    this.handler = handler;
    this.limits = limits;
    this.underscores = underscores;
    this.#maxConnections = limits.maxConnections ?? mostConnections();
    this.listener = { scheme: listen.tls === undefined ? "http" : "https" };
    try {
      this.#socket = options.acceptor ??
        (unix === undefined
          ? Deno.listen({ hostname, port, ...(reusePort ? { reusePort } : {}) } as Deno.TcpListenOptions)
          : Deno.listen({ transport: "unix", path: unix }));
    } catch (error) {
      this.#spare[Symbol.dispose]();
      throw listenError(formatListen(listen), error);
    }
    this.#port = unix === undefined ? (this.#socket.addr as Deno.NetAddr).port : 0;
    this.#accepting = this.#acceptAll();
  }

  get address(): string {
    return formatListen({ ...this.#listen, port: this.#port });
  }

  update(listen: ResolvedListen): void {
    const { underscores = "drop", limits } = listen;
    this.#listen = listen;
    // Parsers are made for fixed limits.
    this.#heads.length = 0;
    this.limits = limits;
    this.underscores = underscores;
    this.#maxConnections = limits.maxConnections ?? mostConnections();
    this.#socket.update?.(listen);
    this.#onRoom?.();
  }

  async #acceptAll(): Promise<void> {
    while (!this.#closed) {
      let socket: AcceptedSocket;
      try {
        socket = await this.#socket.accept();
      } catch (error) {
        if (this.#closed) return;
        // With a pause here, one client could keep out all others.
        if (hasGone(error) && ++this.#goneInTurn <= MAX_GONE_IN_TURN) continue;
        await this.#acceptFailed(error);
        continue;
      }
      this.#failed = false;
      this.#goneInTurn = 0;
      this.#accepted++;
      if (this.#connections.length >= this.#maxConnections) await this.#untilRoom();
      if (this.#isCut) return socket.close();
      // Also if the listener was closed meanwhile: an accepted client is not served elsewhere.
      this.#addConnection(socket);
    }
  }

  #addConnection(socket: AcceptedSocket): void {
    try {
      if ("setNoDelay" in socket) (socket as Deno.TcpConn).setNoDelay(true);
    } catch {
      // The client has already closed, and the system has forgotten it.
      return socket.close();
    }
    // Without a spare file descriptor none is left, neither for the next client nor for a server that this client
    // would need.
    const last = !this.#spare.open() && !this.#closeIdle();
    const peer = addressesOf(socket);
    const proxied = this.#listen.proxyProtocol?.trusts(peer.ip) === true;
    const connection = socket.isHttp2 === true
      ? new Http2ClientConnection(socket, peer, this.#http2)
      : new ClientConnection(socket, peer, this, proxied);
    connection.keptUntil = this.wheel.lately + NEW_MS;
    connection.index = this.#connections.push(connection) - 1;
    this.#options.meter?.accepted();
    if (last) {
      this.#options.meter?.refused("no_descriptor");
      connection.refuse(new ProxyError("No descriptor is left", OUT_OF_RESOURCES));
    } else if (!proxied && !this.admits(connection)) connection.refuse(tooManyConnections());
  }

  admits(connection: ListedConnection): boolean {
    const { maxConnectionsPerClient } = this.limits;
    const { peerIp } = connection;
    if (maxConnectionsPerClient === Infinity || peerIp === "") return true;
    const client = addressGroup(peerIp, IPV6_PREFIX);
    const count = this.#clients.get(client) ?? 0;
    if (count >= maxConnectionsPerClient) {
      this.#options.meter?.refused("client_limit");
      return false;
    }
    this.#clients.set(client, count + 1);
    connection.client = client;
    return true;
  }

  /**
   * Whether a client waits for another connection to end: meanwhile responses close their connections, so that all
   * clients take turns.
   */
  get crowded(): boolean {
    return this.#onRoom !== null;
  }

  /**
   * Waits until there is room for one more connection. An idle connection is closed for it, unless its next request
   * may be in transit.
   */
  async #untilRoom(): Promise<void> {
    const { clock } = this.#options;
    while (!this.#closed && this.#connections.length >= this.#maxConnections) {
      const oldest = this.#oldest;
      const keptForMs = oldest === null ? Infinity : oldest.keptUntil - clock.now();
      if (oldest !== null && keptForMs <= 0) {
        this.#options.meter?.refused("given_up");
        oldest.drain();
        continue;
      }
      if (keptForMs > LAST_REQUEST_MS) {
        this.#reportFailure(new Error(`all ${this.#maxConnections} connections are in use`));
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onRoom = resolve;
      using _timer = oldest === null ? null : clock.setTimer(resolve, keptForMs);
      await promise;
      this.#onRoom = null;
    }
  }

  // Idle connections probably hold the missing file descriptors; after them, the spare one is used. One retry is made
  // at once, later ones after a pause: otherwise a lasting failure would keep the process busy.
  async #acceptFailed(error: unknown): Promise<void> {
    this.#reportFailure(error);
    const short = resourceShortage(error) !== null;
    if (!this.#failed) {
      this.#failed = true;
      if (short) this.#closeIdle();
      return;
    }
    if (short && this.#spare.giveUp()) return;
    this.#failed = false;
    await new Promise<void>((resolve) => this.#options.clock.setTimer(resolve, PAUSE_MS));
    this.#spare.open();
  }

  /** Closes some of the connections that have been idle for longest; returns whether there was any. */
  #closeIdle(): boolean {
    let count = 0;
    while (count < MAX_CLOSED_IDLE && this.#oldest !== null) {
      this.#options.meter?.refused("given_up");
      this.#oldest.drain();
      count++;
    }
    return count > 0;
  }

  #reportFailure(error: unknown): void {
    this.#recoverLater();
    if (this.#brokenSince !== null) return;
    this.#brokenSince = this.#options.clock.now();
    this.#options.onError(this.address, error);
  }

  #recoverLater(): void {
    const { clock, onRecovery } = this.#options;
    this.#steady?.[Symbol.dispose]();
    this.#steady = clock.setTimer(() => {
      // That no client has connected since does not mean that one could.
      if (this.#onRoom !== null || !this.#spare.open() || socketShortage() !== null) {
        return this.#recoverLater();
      }
      this.#steady = null;
      const afterMs = clock.now() - this.#brokenSince!;
      this.#brokenSince = null;
      onRecovery(this.address, afterMs);
    }, STEADY_AFTER_MS);
  }

  get sniffsHttp2(): boolean {
    return this.#listen.http2 === true;
  }

  takeHead(): RequestHead {
    return this.#heads.pop() ?? this.#makeHead();
  }

  #makeHead(): RequestHead {
    const { limits } = this;
    const { maxHeadBytes, maxFields } = limits;
    const parser = new RequestHeadParser({ maxBytes: maxHeadBytes, maxFields });
    return { parser, headers: new HeaderFields(), outgoing: new HeaderFields(), limits };
  }

  switchToHttp2(connection: ClientConnection, socket: Socket, first: Bytes): void {
    const { peerIp: ip, peerPort: port, localIp, localPort, index, client } = connection;
    const switched = new Http2ClientConnection(socket, { ip, port, localIp, localPort }, this.#http2, first);
    switched.index = index;
    switched.client = client;
    this.#connections[index] = switched;
  }

  giveHead(head: RequestHead): void {
    if (this.#heads.length < MAX_HEADS && head.limits === this.limits) this.#heads.push(head);
  }

  idle(connection: ListedConnection, idle: boolean): void {
    if (idle) {
      connection.keptUntil = Math.max(connection.keptUntil, this.wheel.lately + LAST_REQUEST_MS);
      connection.previous = this.#newest;
      if (this.#newest === null) this.#oldest = connection;
      else this.#newest.next = connection;
      this.#newest = connection;
      this.#onRoom?.();
      return;
    }
    connection.keptUntil = 0;
    const { previous, next } = connection;
    if (previous === null) this.#oldest = next;
    else previous.next = next;
    if (next === null) this.#newest = previous;
    else next.previous = previous;
    connection.previous = connection.next = null;
  }

  closed(connection: ListedConnection): void {
    const connections = this.#connections;
    const { index } = connection;
    if (connections[index] !== connection) return;
    this.#options.meter?.closed();
    const last = connections.pop()!;
    if (last !== connection) {
      connections[index] = last;
      last.index = index;
    }
    if (connection.client !== "") this.#forget(connection.client);
    this.#onRoom?.();
    if (connections.length === 0) this.#empty?.();
  }

  #forget(client: string): void {
    const left = this.#clients.get(client)! - 1;
    if (left === 0) this.#clients.delete(client);
    else this.#clients.set(client, left);
  }

  async stop(): Promise<void> {
    await this.#acceptWaiting();
    this.#close();
    // The system releases the address only when no accept is pending.
    await this.#accepting;
    // Not earlier: clients connect again when their connections are closed, and the system resets those that wait at
    // a closed listener.
    this.draining = true;
    for (const connection of this.#connections) connection.retire();
    if (this.#connections.length === 0) return;
    await new Promise<void>((resolve) => this.#empty = resolve);
  }

  /**
   * Accepts clients that the system has already connected, for a few turns at most: it would reset them with the
   * listener.
   */
  async #acceptWaiting(): Promise<void> {
    let quiet = 0;
    for (let turn = 0; turn < MAX_LAST_TURNS && quiet < QUIET_TURNS && !this.#closed; turn++) {
      const before = this.#accepted;
      // In turns without a pause the runtime does not poll its sockets.
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1);
        this.#endPause = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      quiet = before === this.#accepted ? quiet + 1 : 0;
    }
  }

  cut(): void {
    this.#isCut = true;
    this.#close();
    this.draining = true;
    for (let i = this.#connections.length - 1; i >= 0; i--) this.#connections[i]!.dispose();
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#endPause?.();
    this.#steady?.[Symbol.dispose]();
    this.#spare[Symbol.dispose]();
    this.#onRoom?.();
    this.#socket.close();
  }
}

/** Whether accepting failed because the client had already reset the connection. */
function hasGone(error: unknown): boolean {
  const { NotConnected, ConnectionAborted, ConnectionReset } = Deno.errors;
  return error instanceof NotConnected || error instanceof ConnectionAborted ||
    error instanceof ConnectionReset;
}

/** How many connections the file descriptors of the process allow: each may need another one to a server. */
function mostConnections(): number {
  const limit = descriptorLimit();
  return limit === null ? Infinity : Math.max(LEAST_CONNECTIONS, Math.floor((limit - OTHER_DESCRIPTORS) / 2));
}

function addressesOf({ remoteAddr, localAddr }: AcceptedSocket): ProxyAddresses {
  if (!("hostname" in remoteAddr)) return UNIX;
  const { hostname, port } = localAddr as Deno.NetAddr;
  return {
    ip: plainAddress(remoteAddr.hostname),
    port: remoteAddr.port,
    localIp: plainAddress(hostname),
    localPort: port,
  };
}

const UNIX: ProxyAddresses = { ip: "", port: 0, localIp: "", localPort: 0 };
