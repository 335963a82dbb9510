/** A server that resets connections. */

import { createServer, type Server, type Socket } from "node:net";
import type { AddressInfo } from "node:net";

/**
 * A listener that responds to the first bytes of each connection with RST.
 *
 * It uses `node:net`, because closing a `Deno.Conn` always sends FIN first.
 */
export class ResettingUpstream implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Number of connections on which bytes were received. */
  requests = 0;

  constructor(server: Server, send: string, when: Promise<void>) {
    this.#server = server;
    server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.#sockets.delete(socket));
      socket.once("data", () => {
        this.requests++;
        const reset = () => void when.then(() => socket.resetAndDestroy());
        if (send === "") reset();
        else socket.write(send, "latin1", reset);
      });
    });
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** `127.0.0.1:port`. */
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    for (const socket of this.#sockets) socket.destroy();
    await promise;
  }
}

/**
 * Starts a server that sends some bytes and then resets the connection.
 *
 * @param when awaited before the reset; a reset makes the kernel drop bytes that the other side has not read yet
 */
export async function resettingUpstream(
  send = "",
  when: Promise<void> = Promise.resolve(),
): Promise<ResettingUpstream> {
  const server = createServer();
  const listening = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", () => listening.resolve());
  await listening.promise;
  return new ResettingUpstream(server, send, when);
}
