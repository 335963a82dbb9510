/** Connecting to a server, within its time: TCP or a unix socket, and the TLS handshake. */

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

/** What {@linkcode dial} takes beside the peer. */
interface DialOptions {
  wheel: DeadlineWheel;
  /** Time for the connection. */
  connectMs: number;
  /** Time for the TLS handshake after it. */
  tlsMs: number;
  /** Aborting it, with the error to fail with, gives up and leaves nothing open. */
  controller: AbortController;
  /** What each connection begins with, before TLS; nothing by default. */
  preface?: Bytes | null;
  /** Where a handshake that was given up stays until the server ends it. */
  stuck: Set<Deno.Conn>;
  /** What is to be spoken behind TLS; HTTP/2 only where the server agrees (RFC 7301). @default {"http/1.1"} */
  alpn?: Alpn;
}

type Alpn = "http/1.1" | "h2";

/**
 * Connects to a peer and does the TLS handshake.
 *
 * @throws {UpstreamError} in phase "unsent", or what the controller was aborted with
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
    // An abort's reason wins over whatever the aborted operation failed with.
    const reason = signal.aborted ? signal.reason : error;
    throw reason instanceof ProxyError ? reason : classifyConnectError(reason, peer, stage);
  }
}

/** Writes what a connection begins with; a socket that fails is closed. */
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
  // The runtime keeps a socket whose handshake is not done, closed or not, until its server ends it (Deno 2.9).
  // Kept here they can at least be counted.
  stuck.add(secured);
  done.then(() => stuck.delete(secured), () => stuck.delete(secured));
  return await orAbort(done, controller.signal);
}

/** Waits for a socket or the abort; a socket that comes too late is closed. */
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
 * Connects to a peer; without its encryption, except when it wants a client certificate.
 *
 * @param signal gives up connecting, where the runtime can
 * @param alpn what is to be spoken behind TLS. @default {"http/1.1"}
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
 * @throws the reason of the signal once it has aborted
 */
export async function connectTcp(hostname: string, port: number, signal: AbortSignal): Promise<Deno.TcpConn> {
  signal.throwIfAborted();
  const giveUp = new AbortController();
  // The runtime drops a connection without closing it where this throws: when the signal aborts as the connection is made
  // (Deno 2.9.6).
  giveUp.signal.throwIfAborted = () => {};
  const onAbort = (): void => giveUp.abort();
  signal.addEventListener("abort", onAbort);
  const open = () => Deno.connect({ hostname, port, signal: giveUp.signal });
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

/** Begins to encrypt a socket that {@linkcode openSocket} gave; the handshake is still to be done. */
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

// `startTls` takes no client certificate. `connectTls` does, but checks the certificate for the address it connects
// to, unless told another name in the way that the runtime's own node:tls does.
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

/** Closes a socket; does nothing when it is closed, by us or by the runtime when it failed. */
export function closeSocket(socket: Deno.Conn): void {
  try {
    socket.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

/** What was being done when it failed. */
type ConnectStage = "connect" | "handshake";

/** Makes the error of an exchange that never had a connection. */
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

/** Makes the error of a connection, or of a handshake, that took too long. */
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
