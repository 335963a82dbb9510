/** A new connection, within its time. */

import type { DeadlineWheel } from "../../core/deadline_wheel.ts";
import { ProxyError } from "../../core/errors.ts";
import type { Peer, PeerTls } from "../../upstream/peer.ts";
import { classifyConnectError, type ConnectStage, connectTimeoutError } from "./classify_connect_error.ts";
import { closeSocket } from "./close_socket.ts";
import { openSocket, secureSocket } from "./open_socket.ts";

/** What {@linkcode dial} takes beside the peer. */
export interface DialOptions {
  wheel: DeadlineWheel;
  /** Time for the connection, and again for the TLS handshake. */
  connectMs: number;
  /** Aborting it, with the error to fail with, gives up and leaves nothing open. */
  controller: AbortController;
  /** Where a handshake that was given up stays until the server ends it. */
  stuck: Set<Deno.Conn>;
}

/**
 * Connects to a peer and does the TLS handshake.
 *
 * @throws {UpstreamError} in phase "unsent", or what the controller was aborted with
 */
export async function dial(peer: Peer, options: DialOptions): Promise<Deno.Conn> {
  const { wheel, connectMs, controller } = options;
  const { signal } = controller;
  let stage: ConnectStage = "connect";
  using deadline = wheel.deadline(() => controller.abort(connectTimeoutError(peer, stage, connectMs)));
  deadline.set(connectMs);
  try {
    const socket = await orAbort(openSocket(peer, signal), signal);
    if (peer.tls === null) return socket;
    stage = "handshake";
    deadline.set(connectMs);
    return await handshake(socket, peer.tls, options);
  } catch (error) {
    // An abort's reason wins over whatever the aborted operation failed with.
    const reason = signal.aborted ? signal.reason : error;
    throw reason instanceof ProxyError ? reason : classifyConnectError(reason, peer, stage);
  }
}

async function handshake(
  socket: Deno.Conn,
  tls: PeerTls,
  { controller, stuck }: DialOptions,
): Promise<Deno.Conn> {
  const secured = await secureSocket(socket, tls).catch((error) => {
    closeSocket(socket);
    throw error;
  });
  const done = secured.handshake().then(() => secured, (error) => {
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
