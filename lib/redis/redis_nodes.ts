/** Selection of one of several Redis servers, and explanations of failures. */

import { AbstractConnector, type RedisOptions } from "ioredis";
import { connect, isIP, type Socket } from "node:net";
import {
  checkServerIdentity,
  connect as connectTls,
  type ConnectionOptions,
  getCACertificates,
} from "node:tls";
import type { RedisTlsOptions } from "../limiter/redis_store_options.ts";

// Selection of one of several servers.

/** A server, by its address. */
interface RedisNode {
  readonly hostname: string;
  readonly port: number;
}

/** Maximum number of redirects by a cluster before the server counts as failed. */
const MAX_MOVES = 5;

/**
 * The servers of a store, one of which is used at a time.
 *
 * All keys of a store are in one slot of a cluster, so they are on one server: any other server redirects to it
 * (`MOVED`). After a failure the next configured server is used.
 */
export class RedisNodes {
  readonly #configured: readonly RedisNode[];
  #index = 0;
  #moved: RedisNode | null = null;
  #moves = 0;

  /** @param configured at least one */
  constructor(configured: readonly RedisNode[]) {
    this.#configured = configured;
  }

  /** Number of configured servers. */
  get count(): number {
    return this.#configured.length;
  }

  /** The server in use. */
  get current(): RedisNode {
    return this.#moved ?? this.#configured[this.#index]!;
  }

  /**
   * Selects the server named in an error, `MOVED 8034 10.0.0.7:6379`; `false` if there is none, or it cannot be used.
   */
  follow(message: string): boolean {
    const match = /^MOVED \d+ (.*):(\d{1,5})(?: |$)/.exec(message);
    if (match === null || this.#moves === MAX_MOVES) return false;
    const { current } = this;
    // A server that does not know its own address leaves the name out: it means the current host.
    const hostname = match[1] === "" ? current.hostname : match[1]!;
    const port = Number(match[2]);
    if (hostname === "?" || port === 0 || port > 65535) return false;
    if (hostname === current.hostname && port === current.port) return false;
    this.#moved = { hostname, port };
    this.#moves++;
    return true;
  }

  /** Selects another server after the current one has failed. */
  next(): void {
    this.#moves = 0;
    if (this.#moved !== null) this.#moved = null;
    else this.#index = (this.#index + 1) % this.#configured.length;
  }

  /** Called when the current server works. */
  settle(): void {
    this.#moves = 0;
  }
}

// Sockets for `ioredis` to the selected server.

/**
 * Makes the connector class for the client; each connection goes to the server selected at that time.
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
      // The client adds its listeners only after this, and may have stopped meanwhile.
      await Promise.resolve();
      if (!this.connecting) throw new Error("Connection is closed.");
      const { current } = nodes;
      const socket = this.stream = tls === null
        ? connect({ host: current.hostname, port: current.port })
        : connectTls(tlsOptions(current, tls));
      // Never removed: the client listens to the first error only, and a second one would end the process.
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
    // An address is not a valid SNI name (RFC 6066 section 3), but it can be in a certificate.
    ...(isIP(serverName) === 0 ? { servername: serverName } : {}),
    checkServerIdentity: (_, certificate) => checkServerIdentity(serverName, certificate),
    ...(caCerts.length === 0 ? {} : { ca: [...getCACertificates("default"), ...caCerts] }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

// Reasons for the log why Redis cannot be used, with hints for the operator.

/** State of a failed connection. */
interface FailedConnection {
  /** Whether the connection uses TLS. */
  readonly secure: boolean;
  /** Whether the server accepted the connection and has not replied yet. */
  readonly greeting: boolean;
  /** Timeout of the connection, in milliseconds. */
  readonly connectTimeoutMs: number;
}

/** Codes for certificates that an additional trusted authority would make valid. */
const UNTRUSTED = /UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|SELF_SIGNED/;

/** Explains an error of the client, of the network or of Redis in one sentence. */
export function explainFailure(error: Error, connection: FailedConnection): string {
  const { secure, greeting, connectTimeoutMs } = connection;
  const { code = "" } = error as { code?: string };
  const message = textOf(error);
  if (error.name === "ReplyError") return explainReply(message);
  if (UNTRUSTED.test(code)) return `${message}; store.tls.caCerts names authorities to trust`;
  if (/certificate ?required/i.test(message)) {
    return `${message}; store.tls.cert and key are shown to the server`;
  }
  if (message === "connect ETIMEDOUT") {
    return secure
      ? `no TLS connection within ${connectTimeoutMs} ms; a server without TLS is redis://`
      : `no connection within ${connectTimeoutMs} ms`;
  }
  if (greeting && !secure) return `${message} before any answer; a server with TLS is rediss://`;
  return message;
}

function explainReply(message: string): string {
  if (message.startsWith("NOAUTH")) return "NOAUTH: it wants a password, store.url has none";
  return message;
}

/** An `AggregateError`, with one error per address of a name, has no message. */
function textOf(error: Error): string {
  const { errors } = error as AggregateError;
  return error.message === "" && Array.isArray(errors) ? errors.map(String).join(", ") : error.message;
}
