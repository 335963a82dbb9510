/** Probes of servers, and the connections that they use. */

import { connect as connectPlain, isIP, type Socket } from "node:net";
import { checkServerIdentity, connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { withSecondLookup } from "../core/resource_shortage.ts";
import { writeProxyHeader } from "../http1/proxy_protocol.ts";
import { closeSocket, openSocket, writePreface } from "../transport/http1/dial.ts";
import type { PeerTls } from "../upstream/peer.ts";
import type { Server } from "../upstream/server.ts";

/**
 * Checks a server once: fulfilled when the server works, rejected with the reason when it does not.
 *
 * The signal aborts when the time of the check is over or its result is no longer wanted; the probe then closes what it
 * has opened.
 */
export interface Probe {
  (server: Server, signal: AbortSignal): Promise<void>;
  /** Closes what is kept from one check of a server to the next. */
  forget?(server: Server): void;
}

/** How a probe connects to a server. */
interface ProbeWay {
  /** Connects to this port; `null` is the port of the server. */
  readonly port: number | null;
  /** TLS of the connection; `null` is plain text. */
  readonly tls: PeerTls | null;
  /** What has to be agreed on by ALPN; nothing without it. */
  readonly alpn?: "h2";
}

/** TLS as requests to a server use it; a server without TLS is checked for the name of its address. */
function tlsOf({ peer: { address, tls } }: Server): PeerTls {
  if (tls !== null) return tls;
  return { serverName: address.kind === "tcp" ? address.hostname : "localhost", caCerts: [] };
}

/** A connection to a server; disposing it closes it. */
export class ProbeConnection implements Disposable {
  readonly #stream: ProbeStream;
  readonly #close = (): void => this[Symbol.dispose]();
  #signal: AbortSignal | null = null;
  #closed = false;

  private constructor(stream: ProbeStream) {
    this.#stream = stream;
  }

  /** Connects, does the TLS handshake if there is one, and closes the connection when the signal aborts. */
  static async open(server: Server, way: ProbeWay, signal: AbortSignal): Promise<ProbeConnection> {
    const connection = new ProbeConnection(await openStream(server, way, signal));
    connection.closeWith(signal);
    return connection;
  }

  /** Whether it is closed. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Closes the connection when this signal aborts, and no longer when the one before does; `null` is no signal. */
  closeWith(signal: AbortSignal | null): void {
    this.#signal?.removeEventListener("abort", this.#close);
    this.#signal = signal;
    signal?.addEventListener("abort", this.#close);
    if (signal?.aborted) this.#close();
  }

  /** Reads what has come; `null` at the end. */
  read(): Promise<Bytes | null> {
    return this.#stream.read();
  }

  /** Writes all bytes. */
  write(bytes: Bytes): Promise<void> {
    return this.#stream.write(bytes);
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.closeWith(null);
    this.#stream.close();
  }
}

type Bytes = Uint8Array<ArrayBuffer>;

interface ProbeStream {
  read(): Promise<Bytes | null>;
  write(bytes: Bytes): Promise<void>;
  /** Closes at once; reads and writes that run are rejected. */
  close(): void;
}

const READ_BYTES = 4096;

async function openStream(
  { peer }: Server,
  { port, tls, alpn }: ProbeWay,
  signal: AbortSignal,
): Promise<ProbeStream> {
  const address = peer.address.kind === "unix" || port === null ? peer.address : { ...peer.address, port };
  // What listens at another port is not the server that wants a header.
  const isOther = address.kind === "tcp" && peer.address.kind === "tcp" && address.port !== peer.address.port;
  const version = isOther ? undefined : peer.sendProxyProtocol;
  const preface = version === undefined ? null : writeProxyHeader(version, null);
  if (tls === null || address.kind === "unix") {
    const socket = await openSocket({ address, tls: null }, signal);
    if (preface !== null) await writePreface(socket, preface, signal);
    return plainStream(socket);
  }
  const { hostname: host } = address;
  const agreed = alpn === undefined ? {} : { ALPNProtocols: [alpn] };
  const options = { ...tlsOptions(tls), ...agreed, host, port: address.port };
  return await withSecondLookup(() => openTls(options, tls.caCerts, signal, preface), signal);
}

function plainStream(socket: Deno.Conn): ProbeStream {
  return {
    async read() {
      const buffer = new Uint8Array(READ_BYTES);
      const count = await socket.read(buffer);
      return count === null ? null : buffer.subarray(0, count);
    },
    async write(bytes) {
      for (let sent = 0; sent < bytes.length;) sent += await socket.write(bytes.subarray(sent));
    },
    close: () => closeSocket(socket),
  };
}

/** Codes of errors that other authorities might have prevented. */
const UNTRUSTED = new Set([
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
]);

/**
 * Connects and does the TLS handshake; rejects when the signal aborts.
 *
 * Not by `Deno.startTls`, as requests do: when it is closed during a handshake, the socket stays open until the server
 * closes it (Deno 2.9.6), and a server that hangs is checked every second. In `node:tls`, own authorities replace those of
 * the system, so those are tried second: reading both each time costs ten times as much.
 */
async function openTls(
  options: ConnectionOptions,
  caCerts: readonly string[],
  signal: AbortSignal,
  preface: Bytes | null,
): Promise<ProbeStream> {
  if (caCerts.length === 0) return await handshake(options, signal, preface);
  try {
    return await handshake({ ...options, ca: [...caCerts] }, signal, preface);
  } catch (error) {
    if (!UNTRUSTED.has((error as { code?: string }).code ?? "")) throw error;
    return await handshake(options, signal, preface);
  }
}

async function handshake(
  options: ConnectionOptions,
  signal: AbortSignal,
  preface: Bytes | null,
): Promise<ProbeStream> {
  const socket = connect(
    preface === null ? options : { ...options, socket: await prefaced(options, preface, signal) },
  );
  const { promise, resolve, reject } = Promise.withResolvers<ProbeStream>();
  const giveUp = (): void => {
    socket.destroy();
    reject(signal.reason);
  };
  signal.addEventListener("abort", giveUp, { once: true });
  socket.once("secureConnect", () => {
    signal.removeEventListener("abort", giveUp);
    if (options.ALPNProtocols === undefined || socket.alpnProtocol === "h2") {
      return resolve(tlsStream(socket));
    }
    socket.destroy();
    reject(new Error("the server does not offer HTTP/2 by ALPN"));
  });
  // Stays for good: an error without a listener would end the process.
  socket.on("error", (error: Error) => {
    signal.removeEventListener("abort", giveUp);
    socket.destroy();
    reject(error);
  });
  if (signal.aborted) giveUp();
  return await promise;
}

/** A connection that has begun with these bytes. */
function prefaced({ host, port }: ConnectionOptions, preface: Bytes, signal: AbortSignal): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const socket = connectPlain(
    { host: host!, port: port! },
    () => socket.write(preface, () => resolve(socket)),
  );
  const giveUp = (): void => {
    socket.destroy();
    reject(signal.reason);
  };
  signal.addEventListener("abort", giveUp, { once: true });
  // Stays for good: an error without a listener would end the process.
  socket.on("error", reject);
  if (signal.aborted) giveUp();
  return promise.finally(() => signal.removeEventListener("abort", giveUp));
}

function tlsOptions({ serverName, cert, key, verifyHostname = true }: PeerTls): ConnectionOptions {
  return {
    // An address is no name for SNI (RFC 6066 section 3), but it can stand in a certificate.
    ...(isIP(serverName) === 0 ? { servername: serverName } : {}),
    checkServerIdentity: (_, certificate) =>
      verifyHostname ? checkServerIdentity(serverName, certificate) : undefined,
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

function tlsStream(socket: TLSSocket): ProbeStream {
  const chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Bytes>;
  return {
    async read() {
      const { done, value } = await chunks.next();
      return done === true ? null : value;
    },
    write(bytes) {
      return new Promise((resolve, reject) => {
        socket.write(bytes, (error) => error ? reject(error) : resolve());
      });
    },
    close: () => void socket.destroy(),
  };
}

// Checks whether a server accepts connections.

/**
 * Makes a probe that opens a connection and closes it at once.
 *
 * @param port connects to this port; `null` is the port of the server
 */
export function tcpCheck(port: number | null = null): Probe {
  return async (server, signal) => {
    using _connection = await ProbeConnection.open(server, { port, tls: null }, signal);
  };
}

// Checks whether a server does a TLS handshake with the right certificate.

/**
 * Makes a probe that does a TLS handshake as requests do it, with the same name and the same authorities.
 *
 * @param port connects to this port; `null` is the port of the server
 */
export function tlsCheck(port: number | null = null): Probe {
  return async (server, signal) => {
    using _connection = await ProbeConnection.open(server, { port, tls: tlsOf(server) }, signal);
  };
}
