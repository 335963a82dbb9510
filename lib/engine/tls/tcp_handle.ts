/**
 * What `node:net` and `node:tls` leave undone (Deno 2.9.6), by the handle of a socket as Node.js has it too. It is not public,
 * and the only way; where it is missing, nothing is done.
 */

import type { Server, Socket as TcpSocket } from "node:net";
import type { TLSSocket } from "node:tls";

/** The handle behind a socket or a server. */
interface TcpHandle {
  readStop?(): number;
  readStart?(): number;
  listen?(backlog: number): number;
}

/** How many connections the system keeps that were not accepted yet. */
export const BACKLOG = 511;

/** Reads nothing more of a TCP connection. A secured one that is paused is read on and kept in memory, without any bound. */
export function stopReading(socket: TcpSocket): void {
  handleOf(socket)?.readStop?.();
}

/** Reads on. */
export function startReading(socket: TcpSocket): void {
  handleOf(socket)?.readStart?.();
}

/**
 * Has a server accept again: once it has lacked a descriptor it stops for good and without a word. To be told once more to
 * listen at the same socket costs 50 ns and changes nothing else.
 */
export function wake(server: Server): void {
  handleOf(server)?.listen?.(BACKLOG);
}

/**
 * What the runtime thinks of the certificate of a client: `""` when it is good, or there is none, and otherwise a word of
 * OpenSSL's; `null` where that cannot be learnt. In a resumed session it thinks nothing, and says `""`.
 */
export function verdictOfRuntime(socket: TLSSocket): string | null {
  const { _handle } = socket as { _handle?: { verifyError?(): unknown } | null };
  const verdict = _handle?.verifyError?.();
  return typeof verdict === "string" ? verdict : null;
}

function handleOf(owner: Server | TcpSocket): TcpHandle | null {
  return (owner as { _handle?: TcpHandle | null })._handle ?? null;
}
