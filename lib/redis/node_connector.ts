/** Opens sockets for `ioredis` to whichever server is to be spoken to. */

import { connect, isIP, type Socket } from "node:net";
import {
  checkServerIdentity,
  connect as connectTls,
  type ConnectionOptions,
  getCACertificates,
} from "node:tls";
import { AbstractConnector, type RedisOptions } from "ioredis";
import type { RedisTlsOptions } from "../limiter/redis_tls_options.ts";
import type { RedisNode, RedisNodes } from "./redis_nodes.ts";

/**
 * Makes the class that the client connects by; it looks anew each time which server that is.
 *
 * @param tls `null` for plain text
 */
export function connectorTo(
  nodes: RedisNodes,
  tls: RedisTlsOptions | null,
  disconnectTimeoutMs: number,
): NonNullable<RedisOptions["Connector"]> {
  return class NodeConnector extends AbstractConnector {
    constructor() {
      super(disconnectTimeoutMs);
    }

    async connect(): Promise<Socket> {
      this.connecting = true;
      // The client listens only after this; and it may have been told to stop until then.
      await Promise.resolve();
      if (!this.connecting) throw new Error("Connection is closed.");
      const { current } = nodes;
      const socket = this.stream = tls === null
        ? connect({ host: current.hostname, port: current.port })
        : connectTls(tlsOptions(current, tls));
      // Stays for good: the client listens for the first error only, and another one would end the process.
      socket.on("error", (error: Error) => this.firstError ??= error);
      return socket;
    }
  };
}

function tlsOptions({ hostname, port }: RedisNode, tls: RedisTlsOptions): ConnectionOptions {
  const { serverName = hostname, caCerts = [], cert, key } = tls;
  return {
    host: hostname,
    port,
    // An address is no name for SNI (RFC 6066 section 3), but it can stand in a certificate.
    ...(isIP(serverName) === 0 ? { servername: serverName } : {}),
    checkServerIdentity: (_, certificate) => checkServerIdentity(serverName, certificate),
    ...(caCerts.length === 0 ? {} : { ca: [...getCACertificates("default"), ...caCerts] }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}
