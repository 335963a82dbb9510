/** A server whose bytes are set by the test. */

import { closeQuietly } from "./close_quietly.ts";
import { Http2Bridge } from "./http2_bridge.ts";
import type { Peer } from "../../lib/upstream/peer.ts";
import { RawConnection } from "./raw_connection.ts";

/** Whether servers started from now on use HTTP/2, which is converted to HTTP/1.1 for their scripts. */
let overHttp2 = false;

/** Enables or disables HTTP/2 for new servers until the result is disposed. */
export function speakHttp2(yes: boolean): Disposable {
  overHttp2 = yes;
  return { [Symbol.dispose]: () => overHttp2 = false };
}

/** Handles one connection, which is closed when the function returns. */
export type Script = (connection: RawConnection, index: number) => Promise<void> | void;

/** Options of {@linkcode rawUpstream}. */
export interface RawUpstreamOptions {
  /** Port to listen on. @default {any that is free} */
  port?: number;
  /** Path of a unix socket to listen on instead. */
  path?: string;
  /** Uses TLS. */
  tls?: { cert: string; key: string; alpnProtocols?: string[] };
}

/** A listener that runs a script on every connection. */
export class RawUpstream implements AsyncDisposable {
  readonly #listener: Deno.Listener;
  readonly #bridge: Http2Bridge | null;
  readonly #script: Script;
  readonly #running = new Set<Promise<void>>();
  readonly #accepting: Promise<void>;
  readonly #watchers = new Set<() => void>();
  /** Every connection so far, in order. */
  readonly connections: RawConnection[] = [];
  /** Number of open connections. */
  open = 0;
  /** Errors in scripts; a test checks them if the other side only saw a closed connection. */
  readonly errors: unknown[] = [];

  constructor(listener: Deno.Listener, script: Script, bridge: Http2Bridge | null = null) {
    this.#listener = listener;
    this.#bridge = bridge;
    this.#script = script;
    this.#accepting = this.#accept();
  }

  /** Number of connections opened so far. */
  get opened(): number {
    return this.connections.length;
  }

  get port(): number {
    const own = (this.#listener.addr as Deno.NetAddr).port;
    return this.#bridge?.peer.address.kind === "tcp" ? this.#bridge.peer.address.port : own;
  }

  /** `127.0.0.1:port`. */
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Resolves when this number of connections is open. */
  untilOpen(count: number): Promise<void> {
    return this.#until(() => this.open === count);
  }

  /** Resolves when this number of connections has been opened. */
  untilOpened(count: number): Promise<void> {
    return this.#until(() => this.opened >= count);
  }

  #until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const watcher = () => {
      if (!condition()) return;
      this.#watchers.delete(watcher);
      resolve();
    };
    this.#watchers.add(watcher);
    return promise;
  }

  #changed(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }

  async #accept(): Promise<void> {
    for (;;) {
      let conn: Deno.Conn;
      try {
        conn = await this.#listener.accept();
      } catch (error) {
        if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) return;
        // A failed handshake only affects its connection.
        this.errors.push(error);
        continue;
      }
      const running: Promise<void> = this.#play(new RawConnection(conn))
        .finally(() => this.#running.delete(running));
      this.#running.add(running);
    }
  }

  async #play(connection: RawConnection): Promise<void> {
    this.connections.push(connection);
    this.open++;
    this.#changed();
    try {
      await this.#script(connection, this.connections.length - 1);
    } catch (error) {
      this.errors.push(error);
    } finally {
      connection.close();
      this.open--;
      this.#changed();
    }
  }

  /** Closes the listener and every connection. */
  async close(): Promise<void> {
    this.#bridge?.[Symbol.dispose]();
    closeQuietly(this.#listener);
    for (const connection of this.connections) connection.close();
    await this.#accepting;
    await Promise.all(this.#running);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Starts a raw upstream on loopback. */
export function rawUpstream(script: Script, options: RawUpstreamOptions = {}): RawUpstream {
  if (overHttp2) {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const server: Peer = {
      address: { kind: "tcp", hostname: "127.0.0.1", port: (listener.addr as Deno.NetAddr).port },
      tls: null,
    };
    return new RawUpstream(listener, script, new Http2Bridge(server, listenAt(options)));
  }
  return new RawUpstream(listenAt(options), script);
}

function listenAt({ port = 0, path, tls }: RawUpstreamOptions): Deno.Listener {
  if (path !== undefined) return Deno.listen({ transport: "unix", path });
  const where = { hostname: "127.0.0.1", port };
  if (tls === undefined) return Deno.listen(where);
  return Deno.listenTls({ ...where, ...tls, ...(overHttp2 ? { alpnProtocols: ["h2"] } : {}) });
}

/** A script that responds to every request of a connection with the same bytes. */
export function answering(response: string | Uint8Array): Script {
  return async (connection) => {
    while (await connection.readRequest() !== null) await connection.write(response);
  };
}
