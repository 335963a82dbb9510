/** Probes of servers, and their connections. */

import { connect as connectPlain, isIP, type Socket } from "node:net";
import { checkServerIdentity, connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { withSecondLookup } from "../core/resource_shortage.ts";
import { writeProxyHeader } from "../http1/proxy_protocol.ts";
import { closeSocket, openSocket, writePreface } from "../transport/http1/dial.ts";
import type { PeerTls } from "../upstream/peer.ts";
import type { Server } from "../upstream/server.ts";

/**
 * Checks a server once. Resolves if the server works, rejects with the reason if it does not.
 *
 * The signal aborts at the timeout of the check, or if its result is not needed any more. The probe must then close its
 * connections.
 */
export interface Probe {
  (server: Server, signal: AbortSignal): Promise<void>;
  /** Closes a connection that is kept from one check of a server to the next. */
  forget?(server: Server): void;
}

/** How a probe connects to a server. */
interface ProbeWay {
  /** Connects to this port; `null` is the port of the server. */
  readonly port: number | null;
  /** TLS of the connection; `null` is plain text. */
  readonly tls: PeerTls | null;
  /** The protocol that must be negotiated by ALPN. @default {no ALPN} */
  readonly alpn?: "h2";
}

/** TLS options of requests to a server. For a server without TLS, the certificate must match its hostname. */
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

  /** Whether the connection is closed. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Closes the connection when this signal aborts; replaces the previous signal. `null` is no signal. */
  closeWith(signal: AbortSignal | null): void {
    this.#signal?.removeEventListener("abort", this.#close);
    this.#signal = signal;
    signal?.addEventListener("abort", this.#close);
    if (signal?.aborted) this.#close();
  }

  /** Reads received bytes; `null` at the end. */
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
  /** Closes at once; pending reads and writes reject. */
  close(): void;
}

const READ_BYTES = 4096;

async function openStream(
  { peer }: Server,
  { port, tls, alpn }: ProbeWay,
  signal: AbortSignal,
): Promise<ProbeStream> {
  const address = peer.address.kind === "unix" || port === null ? peer.address : { ...peer.address, port };
  // Another port may belong to another program, which does not expect a PROXY protocol header.
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

/** Error codes that may disappear with other CA certificates. */
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
 * Does not use `Deno.startTls`, as requests do: if it is closed during a handshake, the socket stays open until the server
 * closes it (Deno 2.9.6), and an unresponsive server is checked every second. In `node:tls`, configured CA certificates
 * replace those of the system, so those are tried second: loading both each time costs ten times as much.
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
    preface === null ? options : { ...options, socket: await connectWithPreface(options, preface, signal) },
  );
  const { promise, resolve, reject } = Promise.withResolvers<ProbeStream>();
  const abandon = (): void => {
    socket.destroy();
    reject(signal.reason);
  };
  signal.addEventListener("abort", abandon, { once: true });
  socket.once("secureConnect", () => {
    signal.removeEventListener("abort", abandon);
    if (options.ALPNProtocols === undefined || socket.alpnProtocol === "h2") {
      return resolve(tlsStream(socket));
    }
    socket.destroy();
    reject(new Error("the server does not offer HTTP/2 by ALPN"));
  });
  // Stays for good: an error without a listener would end the process.
  socket.on("error", (error: Error) => {
    signal.removeEventListener("abort", abandon);
    socket.destroy();
    reject(error);
  });
  if (signal.aborted) abandon();
  return await promise;
}

/** Connects, and sends these bytes before TLS. */
function connectWithPreface(
  { host, port }: ConnectionOptions,
  preface: Bytes,
  signal: AbortSignal,
): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const socket = connectPlain(
    { host: host!, port: port! },
    () => socket.write(preface, () => resolve(socket)),
  );
  const abandon = (): void => {
    socket.destroy();
    reject(signal.reason);
  };
  signal.addEventListener("abort", abandon, { once: true });
  // Stays for good: an error without a listener would end the process.
  socket.on("error", reject);
  if (signal.aborted) abandon();
  return promise.finally(() => signal.removeEventListener("abort", abandon));
}

function tlsOptions({ serverName, cert, key, verifyHostname = true }: PeerTls): ConnectionOptions {
  return {
    // An IP address is not allowed in SNI (RFC 6066 section 3), but a certificate may contain it.
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

// Checks whether a server completes a TLS handshake with a valid certificate.

/**
 * Makes a probe that does a TLS handshake as requests do, with the same name and the same CA certificates.
 *
 * @param port connects to this port; `null` is the port of the server
 */
export function tlsCheck(port: number | null = null): Probe {
  return async (server, signal) => {
    using _connection = await ProbeConnection.open(server, { port, tls: tlsOf(server) }, signal);
  };
}
