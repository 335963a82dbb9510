/** A server that requests client certificates. */

import type { AddressInfo } from "node:net";
import { createServer, type Server } from "node:https";
import type { TLSSocket } from "node:tls";
import { testCa } from "./test_ca.ts";

/**
 * Responds with the name in the client's certificate, or "nobody"; uses `node:https`, as Deno's server cannot request
 * one.
 */
export class ClientCertUpstream implements AsyncDisposable {
  readonly #server: Server;

  constructor(server: Server) {
    this.#server = server;
  }

  /** `127.0.0.1:port`. */
  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#server.closeAllConnections();
    await promise;
  }
}

/** Starts such a server with a certificate for these names. */
export async function startClientCertUpstream(
  { names }: { names: readonly string[] },
): Promise<ClientCertUpstream> {
  const ca = await testCa();
  const options = { ...await ca.issue({ names }), ca: ca.cert, requestCert: true, rejectUnauthorized: false };
  const server = createServer(options, (request, response) => {
    const socket = request.socket as TLSSocket;
    const name = socket.authorized ? socket.getPeerCertificate().subject.CN : "nobody";
    response.setHeader("connection", "close");
    response.end(name);
  });
  const listening = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", () => listening.resolve());
  await listening.promise;
  return new ClientCertUpstream(server);
}
