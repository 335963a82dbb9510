/** A network path to a server, which fails when the test says so. */

import { closeQuietly } from "./close_quietly.ts";

/** Forwards bytes both ways, until the test changes that; its port stays the same. */
export class TcpRelay implements AsyncDisposable {
  readonly #target: number;
  #listener: Deno.TcpListener;
  #running: Promise<void>[] = [];
  #sockets: Deno.TcpConn[] = [];
  #swallows = false;

  /** @param target port of the server, on loopback */
  constructor(target: number) {
    this.#target = target;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.port = this.#listener.addr.port;
    this.#running.push(this.#accept());
  }

  readonly port: number;

  /** Cuts all connections and refuses new ones. */
  async down(): Promise<void> {
    closeQuietly(this.#listener);
    for (const socket of this.#sockets) closeQuietly(socket);
    await Promise.all(this.#running);
    this.#sockets = [];
    this.#running = [];
  }

  /** Accepts connections again, after {@linkcode down}. */
  up(): void {
    this.#swallows = false;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: this.port });
    this.#running.push(this.#accept());
  }

  /** From now on clients reach the server, but its responses are dropped. */
  swallowReplies(): void {
    this.#swallows = true;
  }

  async #accept(): Promise<void> {
    for (;;) {
      const client = await this.#listener.accept().catch(() => null);
      if (client === null) return;
      const server = await Deno.connect({ hostname: "127.0.0.1", port: this.#target }).catch(() => null);
      if (server === null) {
        closeQuietly(client);
        continue;
      }
      this.#sockets.push(client, server);
      this.#running.push(this.#pass(client, server, () => false));
      this.#running.push(this.#pass(server, client, () => this.#swallows));
    }
  }

  async #pass(from: Deno.TcpConn, to: Deno.TcpConn, swallows: () => boolean): Promise<void> {
    const buffer = new Uint8Array(65_536);
    try {
      for (let count = await from.read(buffer); count !== null; count = await from.read(buffer)) {
        if (swallows()) continue;
        for (let done = 0; done < count;) done += await to.write(buffer.subarray(done, count));
      }
    } catch {
      // The side that is closed first breaks the other.
    }
    closeQuietly(to);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
  }
}
