/** A socket that accepts clients of HTTP/1.1, and their connections. */

import type { Clock } from "../../core/clock.ts";
import type { DeadlineWheel } from "../../core/deadline_wheel.ts";
import { formatListen } from "../../config/format_listen.ts";
import type { ClientLimits } from "../../config/client_limits.ts";
import type { ResolvedListen } from "../../config/proxy_config.ts";
import { HeaderFields } from "../../http/header_fields.ts";
import type { Underscores } from "../../http/screen_fields.ts";
import { plainAddress } from "../../http/trusted_proxies.ts";
import { BufferShelf } from "../../http1/buffer_shelf.ts";
import { RequestHeadParser } from "../../http1/request_head.ts";
import type { ListenerInfo, StreamHandler } from "../../proxy/client_stream.ts";
import { type EngineListener, type ListenerEvents, listenError } from "../engine.ts";
import {
  ClientConnection,
  type ConnectionContext,
  type Peer,
  type RequestHead,
} from "./client_connection.ts";

/** What an {@linkcode Http1Listener} takes. */
export interface Http1ListenerOptions extends ListenerEvents {
  readonly listen: ResolvedListen;
  readonly clock: Clock;
  readonly wheel: DeadlineWheel;
  readonly handler: StreamHandler;
}

/** How long to wait before accepting is tried again after it failed. */
const PAUSE_MS = 100;
/** How long it has to work until what broke it counts as over. */
const STEADY_AFTER_MS = 1000;
/** Parsers that are kept for requests to come. */
const MAX_HEADS = 256;

/** Listens at one address on `Deno.listen`. */
export class Http1Listener implements EngineListener, ConnectionContext {
  readonly listener: ListenerInfo = { scheme: "http" };
  readonly shelf: BufferShelf = new BufferShelf();
  readonly wheel: DeadlineWheel;
  readonly handler: StreamHandler;
  readonly limits: ClientLimits;
  readonly underscores: Underscores;
  draining = false;
  readonly #options: Http1ListenerOptions;
  readonly #socket: Deno.Listener;
  readonly #port: number;
  readonly #connections: ClientConnection[] = [];
  readonly #heads: RequestHead[] = [];
  /** The connection that has been idle for longest, and the one that became so last. */
  #oldest: ClientConnection | null = null;
  #newest: ClientConnection | null = null;
  readonly #accepting: Promise<void>;
  #brokenSince: number | null = null;
  #steady: Disposable | null = null;
  #empty: (() => void) | null = null;

  /** @throws {ListenError} when the address cannot be listened at */
  constructor(options: Http1ListenerOptions) {
    const { listen, wheel, handler } = options;
    const { hostname, port, unix, underscores = "drop", limits } = listen;
    this.#options = options;
    this.wheel = wheel;
    this.handler = handler;
    this.limits = limits;
    this.underscores = underscores;
    try {
      this.#socket = unix === undefined
        ? Deno.listen({ hostname, port })
        : Deno.listen({ transport: "unix", path: unix });
    } catch (error) {
      throw listenError(formatListen(listen), error);
    }
    this.#port = unix === undefined ? (this.#socket.addr as Deno.NetAddr).port : 0;
    this.#accepting = this.#acceptAll();
  }

  get address(): string {
    return formatListen({ ...this.#options.listen, port: this.#port });
  }

  async #acceptAll(): Promise<void> {
    while (!this.draining) {
      try {
        this.#take(await this.#socket.accept());
        if (this.#brokenSince !== null) this.#works();
      } catch (error) {
        if (this.draining) return;
        this.#broke(error);
        await new Promise<void>((resolve) => this.#options.clock.setTimer(resolve, PAUSE_MS));
      }
    }
  }

  #take(socket: Deno.Conn): void {
    if ("setNoDelay" in socket) (socket as Deno.TcpConn).setNoDelay(true);
    const connection = new ClientConnection(socket, peerOf(socket), this);
    connection.index = this.#connections.push(connection) - 1;
  }

  // Idle connections are given up for new ones: the descriptors that they hold are what is missing, for all that is known.
  #broke(error: unknown): void {
    this.#oldest?.drain();
    this.#steady?.[Symbol.dispose]();
    this.#steady = null;
    if (this.#brokenSince !== null) return;
    this.#brokenSince = this.#options.clock.now();
    this.#options.onError(this.address, error);
  }

  #works(): void {
    this.#steady ??= this.#options.clock.setTimer(() => {
      this.#steady = null;
      const afterMs = this.#options.clock.now() - this.#brokenSince!;
      this.#brokenSince = null;
      this.#options.onRecovery(this.address, afterMs);
    }, STEADY_AFTER_MS);
  }

  takeHead(): RequestHead {
    return this.#heads.pop() ?? this.#makeHead();
  }

  #makeHead(): RequestHead {
    const { maxHeadBytes, maxFields } = this.limits;
    const parser = new RequestHeadParser({ maxBytes: maxHeadBytes, maxFields });
    return { parser, headers: new HeaderFields(), outgoing: new HeaderFields() };
  }

  giveHead(head: RequestHead): void {
    if (this.#heads.length < MAX_HEADS) this.#heads.push(head);
  }

  idle(connection: ClientConnection, idle: boolean): void {
    if (idle) {
      connection.previous = this.#newest;
      if (this.#newest === null) this.#oldest = connection;
      else this.#newest.next = connection;
      this.#newest = connection;
      return;
    }
    const { previous, next } = connection;
    if (previous === null) this.#oldest = next;
    else previous.next = next;
    if (next === null) this.#newest = previous;
    else next.previous = previous;
    connection.previous = connection.next = null;
  }

  closed(connection: ClientConnection): void {
    const connections = this.#connections;
    const { index } = connection;
    if (connections[index] !== connection) return;
    const last = connections.pop()!;
    if (last !== connection) {
      connections[index] = last;
      last.index = index;
    }
    if (connections.length === 0) this.#empty?.();
  }

  async stop(): Promise<void> {
    this.#end();
    for (let each = this.#oldest; each !== null; each = this.#oldest) each.drain();
    // The system frees the place only when no accepting is pending any more.
    await this.#accepting;
    if (this.#connections.length === 0) return;
    await new Promise<void>((resolve) => this.#empty = resolve);
  }

  cut(): void {
    this.#end();
    for (let i = this.#connections.length - 1; i >= 0; i--) this.#connections[i]!.dispose();
  }

  #end(): void {
    if (this.draining) return;
    this.draining = true;
    this.#steady?.[Symbol.dispose]();
    this.#socket.close();
  }
}

function peerOf({ remoteAddr }: Deno.Conn): Peer {
  return "hostname" in remoteAddr
    ? { ip: plainAddress(remoteAddr.hostname), port: remoteAddr.port }
    : { ip: "", port: 0 };
}
