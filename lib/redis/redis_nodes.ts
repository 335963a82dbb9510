/** Which of several servers of Redis is spoken to, and how a failure is explained. */

import { AbstractConnector, type RedisOptions } from "ioredis";
import { connect, isIP, type Socket } from "node:net";
import {
  checkServerIdentity,
  connect as connectTls,
  type ConnectionOptions,
  getCACertificates,
} from "node:tls";
import type { RedisTlsOptions } from "../limiter/redis_store_options.ts";

// Which of several servers is spoken to.

/** A server, by its address. */
interface RedisNode {
  readonly hostname: string;
  readonly port: number;
}

/** How often a cluster may send one on before it is taken for one that does not work. */
const MAX_MOVES = 5;

/**
 * The servers of a store, of which one is spoken to at a time.
 *
 * All keys of a store are in one slot of a cluster, and so on one server: whichever of them is asked first tells which
 * one that is (`MOVED`). A server that does not work is followed by the next one that was configured.
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

  /** How many were configured. */
  get count(): number {
    return this.#configured.length;
  }

  /** The one to speak to. */
  get current(): RedisNode {
    return this.#moved ?? this.#configured[this.#index]!;
  }

  /** Takes the server that an error names, `MOVED 8034 10.0.0.7:6379`; `false` when it names none of use. */
  follow(message: string): boolean {
    const match = /^MOVED \d+ (.*):(\d{1,5})(?: |$)/.exec(message);
    if (match === null || this.#moves === MAX_MOVES) return false;
    const { current } = this;
    // A server that does not know how it is reached leaves its name out: it is that of the one that was asked.
    const hostname = match[1] === "" ? current.hostname : match[1]!;
    const port = Number(match[2]);
    if (hostname === "?" || port === 0 || port > 65535) return false;
    if (hostname === current.hostname && port === current.port) return false;
    this.#moved = { hostname, port };
    this.#moves++;
    return true;
  }

  /** Takes another one, after the current one has failed. */
  next(): void {
    this.#moves = 0;
    if (this.#moved !== null) this.#moved = null;
    else this.#index = (this.#index + 1) % this.#configured.length;
  }

  /** Told when the current one works. */
  settle(): void {
    this.#moves = 0;
  }
}

// Opens sockets for `ioredis` to whichever server is to be spoken to.

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

// Says in the log why Redis cannot be used, so that one knows what to change.

/** What is known of a connection that failed. */
interface FailedConnection {
  /** Whether it is one over TLS. */
  readonly secure: boolean;
  /** Whether the server accepted the connection and has not replied yet. */
  readonly greeting: boolean;
  /** How long it could take until the connection was there. */
  readonly connectTimeoutMs: number;
}

/** Codes of certificates that another authority would make good. */
const UNTRUSTED = /UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|SELF_SIGNED/;

/** A sentence about an error of the client, of the network or of Redis itself. */
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

/** Several errors, one for each address of a name, have no message of their own. */
function textOf(error: Error): string {
  const { errors } = error as AggregateError;
  return error.message === "" && Array.isArray(errors) ? errors.map(String).join(", ") : error.message;
}
