/** Connects to a server within the deadlines: TCP or a unix socket, and the TLS handshake. */

import type { DeadlineWheel } from "../../core/cancellation.ts";
import {
  ProxyError,
  TLS_HANDSHAKE_TIMEOUT,
  UpstreamError,
  type UpstreamErrorCode,
} from "../../core/errors.ts";
import { resourceShortage, withSecondLookup } from "../../core/resource_shortage.ts";
import type { Bytes } from "../../http/message.ts";
import { formatAddress, type Peer, type PeerTls } from "../../upstream/peer.ts";

/** Options of {@linkcode dial}. */
interface DialOptions {
  wheel: DeadlineWheel;
  /** Deadline of the connection. */
  connectMs: number;
  /** Deadline of the TLS handshake after it. */
  tlsMs: number;
  /** Aborting it, with the error to throw, cancels and leaves nothing open. */
  controller: AbortController;
  /** Bytes to send first on each connection, before TLS; none by default. */
  preface?: Bytes | null;
  /** Aborted handshakes, until the server ends them. */
  stuck: Set<Deno.Conn>;
  /** Protocol to use over TLS; HTTP/2 only if the server agrees (RFC 7301). @default {"http/1.1"} */
  alpn?: Alpn;
}

type Alpn = "http/1.1" | "h2";

/**
 * Connects to a peer and does the TLS handshake.
 *
 * @throws {UpstreamError} in phase "unsent", or the reason of the aborted controller
 */
export async function dial(peer: Peer, options: DialOptions): Promise<Deno.Conn> {
  const { wheel, connectMs, tlsMs, controller, preface = null } = options;
  const { signal } = controller;
  let stage: ConnectStage = "connect";
  using deadline = wheel.deadline(() => {
    controller.abort(connectTimeoutError(peer, stage, stage === "connect" ? connectMs : tlsMs));
  });
  deadline.set(connectMs);
  try {
    const socket = await orAbort(openSocket(peer, signal, options.alpn), signal);
    if (preface !== null) await writePreface(socket, preface, signal);
    if (peer.tls === null) return socket;
    stage = "handshake";
    deadline.set(tlsMs);
    return await handshake(socket, peer.tls, options);
  } catch (error) {
    // The reason of the abort has priority over the error of the aborted operation.
    const reason = signal.aborted ? signal.reason : error;
    throw reason instanceof ProxyError ? reason : classifyConnectError(reason, peer, stage);
  }
}

/** Writes the first bytes of a connection; a socket that fails is closed. */
export async function writePreface(socket: Deno.Conn, preface: Bytes, signal: AbortSignal): Promise<void> {
  const close = (): void => closeSocket(socket);
  signal.addEventListener("abort", close);
  try {
    for (let sent = 0; sent < preface.length;) sent += await socket.write(preface.subarray(sent));
    signal.throwIfAborted();
  } catch (error) {
    close();
    throw error;
  } finally {
    signal.removeEventListener("abort", close);
  }
}

async function handshake(
  socket: Deno.Conn,
  tls: PeerTls,
  { controller, stuck, alpn = "http/1.1" }: DialOptions,
): Promise<Deno.Conn> {
  const secured = await secureSocket(socket, tls, alpn).catch((error) => {
    closeSocket(socket);
    throw error;
  });
  const done = secured.handshake().then(({ alpnProtocol }) => {
    if (alpn === "h2" && alpnProtocol !== "h2") throw new Error("the server does not offer HTTP/2 by ALPN");
    return secured;
  }).catch((error) => {
    closeSocket(secured);
    throw error;
  });
  // The runtime keeps a socket with an unfinished handshake, closed or not, until its server ends it (Deno 2.9). In
  // this set they can at least be counted.
  stuck.add(secured);
  done.then(() => stuck.delete(secured), () => stuck.delete(secured));
  return await orAbort(done, controller.signal);
}

/** Waits for a socket or the abort; a socket that is opened too late is closed. */
function orAbort<T extends Deno.Conn>(pending: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    pending.then((socket) => {
      signal.removeEventListener("abort", onAbort);
      if (signal.aborted) closeSocket(socket);
      else resolve(socket);
    }, reject);
  });
}

/**
 * Connects to a peer; without TLS, except when a client certificate is configured.
 *
 * @param signal cancels connecting, where the runtime can
 * @param alpn the protocol to use over TLS. @default {"http/1.1"}
 */
export async function openSocket(peer: Peer, signal: AbortSignal, alpn?: Alpn): Promise<Deno.Conn> {
  const { address, tls } = peer;
  if (address.kind === "unix") return await Deno.connect({ transport: "unix", path: address.path });
  const { hostname, port } = address;
  if (wantsCertificate(tls)) {
    return await withSecondLookup(() => connectWithCertificate(hostname, port, tls, alpn), signal);
  }
  const socket = await connectTcp(hostname, port, signal);
  socket.setNoDelay(true);
  return socket;
}

/**
 * Connects by TCP; leaves nothing open when the signal is aborted.
 *
 * @throws the reason of the signal when it is aborted
 */
export async function connectTcp(hostname: string, port: number, signal: AbortSignal): Promise<Deno.TcpConn> {
  signal.throwIfAborted();
  const connecting = new AbortController();
  // Without this, the runtime drops a connection without closing it if the signal aborts just when it is established
  // (Deno 2.9.6).
  connecting.signal.throwIfAborted = () => {};
  const onAbort = (): void => connecting.abort();
  signal.addEventListener("abort", onAbort);
  const open = () => Deno.connect({ hostname, port, signal: connecting.signal });
  const socket = await withSecondLookup(open, signal).catch((error) => {
    throw signal.aborted ? signal.reason : error;
  }).finally(() => signal.removeEventListener("abort", onAbort));
  try {
    signal.throwIfAborted();
  } catch (reason) {
    closeSocket(socket);
    throw reason;
  }
  return socket;
}

/** Starts TLS on a socket of {@linkcode openSocket}; the handshake is still to be done. */
async function secureSocket(socket: Deno.Conn, tls: PeerTls, alpn: Alpn): Promise<Deno.TlsConn> {
  if (isSecured(socket)) return socket;
  return await Deno.startTls(socket as Deno.TcpConn, {
    hostname: tls.serverName,
    caCerts: [...tls.caCerts],
    alpnProtocols: [alpn],
    unsafelyDisableHostnameVerification: tls.verifyHostname === false,
  });
}

function isSecured(socket: Deno.Conn): socket is Deno.TlsConn {
  return "handshake" in socket;
}

function wantsCertificate(tls: PeerTls | null): tls is PeerTls & { cert: string; key: string } {
  return tls !== null && tls.cert !== undefined && tls.key !== undefined;
}

// `startTls` accepts no client certificate. `connectTls` does, but verifies the server's certificate against the
// address, unless it gets another name in the way that the runtime's node:tls uses.
async function connectWithCertificate(
  hostname: string,
  port: number,
  { serverName, caCerts, cert, key, verifyHostname = true }: PeerTls & { cert: string; key: string },
  alpn: Alpn = "http/1.1",
): Promise<Deno.TlsConn> {
  const options = { hostname, port, caCerts: [...caCerts], cert, key, alpnProtocols: [alpn] };
  const check = { unsafelyDisableHostnameVerification: !verifyHostname };
  return await Deno.connectTls({ ...options, ...check, [Symbol.for("unstableServerName")]: serverName });
}

/** Closes a socket; does nothing when it is already closed, by the proxy or by the runtime after a failure. */
export function closeSocket(socket: Deno.Conn): void {
  try {
    socket.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

/** The stage in which connecting failed. */
type ConnectStage = "connect" | "handshake";

/** Makes the error of an exchange without a connection. */
function classifyConnectError(cause: unknown, peer: Peer, stage: ConnectStage): UpstreamError {
  const shortage = resourceShortage(cause);
  const text = shortage ?? (cause instanceof Error ? cause.message : String(cause));
  const doing = stage === "connect" ? "connect to" : "agree on TLS with";
  return new UpstreamError(`Cannot ${doing} ${formatAddress(peer.address)}: ${text}`, {
    code: shortage !== null
      ? "out_of_resources"
      : stage === "connect"
      ? connectCode(cause, text)
      : handshakeCode(text),
    phase: "unsent",
    cause,
  });
}

/** Makes the error of a connection, or of a handshake, that exceeded its deadline. */
function connectTimeoutError(peer: Peer, stage: ConnectStage, timeoutMs: number): UpstreamError {
  const doing = stage === "connect" ? "connect to" : "agree on TLS with";
  return new UpstreamError(`Cannot ${doing} ${formatAddress(peer.address)}: not done after ${timeoutMs} ms`, {
    code: stage === "connect" ? "connection_timeout" : TLS_HANDSHAKE_TIMEOUT,
    phase: "unsent",
  });
}

function connectCode(cause: unknown, text: string): UpstreamErrorCode {
  if (cause instanceof Deno.errors.ConnectionRefused || cause instanceof Deno.errors.NotFound) {
    return "connection_refused";
  }
  if (cause instanceof Deno.errors.TimedOut) return "connection_timeout";
  const lower = text.toLowerCase();
  if (lower.includes("dns") || lower.includes("lookup address") || lower.includes("name or service")) {
    return "dns_error";
  }
  if (lower.includes("no route") || lower.includes("unreachable") || lower.includes("invalid argument")) {
    return "destination_ip_unroutable";
  }
  return lower.includes("timed out") ? "connection_timeout" : "connection_refused";
}

function handshakeCode(text: string): UpstreamErrorCode {
  const lower = text.toLowerCase();
  if (lower.includes("certificate")) return "tls_certificate_error";
  if (lower.includes("reset") || lower.includes("broken pipe")) return "connection_terminated";
  return "tls_protocol_error";
}
