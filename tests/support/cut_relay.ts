/** A relay that can cut the connections to a server without action of either end. */

import { closeQuietly } from "./close_quietly.ts";

/** Forwards bytes both ways until {@linkcode CutRelay.cut}. */
export class CutRelay implements AsyncDisposable {
  readonly #listener: Deno.TcpListener;
  readonly #port: number;
  readonly #sockets: Deno.TcpConn[] = [];
  readonly #running: Promise<void>[] = [];
  readonly #clients: Deno.TcpConn[] = [];

  constructor(port: number) {
    this.#port = port;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.#running.push(this.#accept());
  }

  /** `127.0.0.1:port`. */
  get address(): string {
    return `127.0.0.1:${this.#listener.addr.port}`;
  }

  async #accept(): Promise<void> {
    for (;;) {
      const client = await this.#listener.accept().catch(() => null);
      if (client === null) return;
      const server = await Deno.connect({ hostname: "127.0.0.1", port: this.#port });
      this.#clients.push(client);
      this.#sockets.push(client, server);
      this.#running.push(pass(client, server), pass(server, client));
    }
  }

  /** Ends the responses by a FIN without a TLS close_notify, as an attacker on the network could. */
  async cut(): Promise<void> {
    for (const client of this.#clients) await client.closeWrite();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    closeQuietly(this.#listener);
    for (const socket of this.#sockets) closeQuietly(socket);
    await Promise.all(this.#running);
  }
}

async function pass(from: Deno.TcpConn, to: Deno.TcpConn): Promise<void> {
  const buffer = new Uint8Array(65_536);
  try {
    for (let count = await from.read(buffer); count !== null; count = await from.read(buffer)) {
      for (let done = 0; done < count;) done += await to.write(buffer.subarray(done, count));
    }
  } catch {
    // The end that is closed first breaks the other.
  }
}
