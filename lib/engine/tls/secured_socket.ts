/** A connection of `node:tls` with the interface of the engines. */

import { type Server, Socket as TcpSocket } from "node:net";
import { type SecureContext, TLSSocket } from "node:tls";
import type { ClientCertificate } from "../../http/client_certificate.ts";
import type { Bytes } from "../../http/message.ts";
import type { Socket } from "../engine.ts";

/** Reads what comes in the order of its coming; whoever reads slowly stops the client. */
export class SecuredSocket implements Socket {
  readonly remoteAddr: Deno.NetAddr;
  readonly localAddr: Deno.NetAddr;
  /** Whether the client has negotiated HTTP/2. */
  readonly isHttp2: boolean;
  readonly certificate: ClientCertificate | null;
  readonly #tcp: TcpSocket;
  readonly #socket: TLSSocket;
  #tlsVersion: string | null = null;
  #paused = false;
  /** Received bytes that were not read yet. */
  #come: Bytes | null = null;
  #ended = false;
  #failure: Error | null = null;
  #reading: Bytes | null = null;
  #read: PromiseWithResolvers<number | null> | null = null;
  #writing = 0;
  #written: PromiseWithResolvers<number> | null = null;

  /** @param tcp the connection below TLS */
  constructor(
    tcp: TcpSocket,
    socket: TLSSocket,
    remoteAddr: Deno.NetAddr,
    localAddr: Deno.NetAddr,
    certificate: ClientCertificate | null,
  ) {
    this.certificate = certificate;
    this.#tcp = tcp;
    this.#socket = socket;
    this.isHttp2 = socket.alpnProtocol === "h2";
    this.remoteAddr = remoteAddr;
    this.localAddr = localAddr;
    socket.on("data", (bytes: Bytes) => this.#onData(bytes));
    socket.on("end", () => this.#onEnd(null));
    socket.on("error", (error: Error) => this.#onEnd(error));
    socket.on("close", () => this.#onEnd(null));
  }

  get tlsVersion(): string | null {
    return this.#tlsVersion ??= this.#socket.getProtocol();
  }

  #onData(bytes: Bytes): void {
    const read = this.#read;
    if (read === null) {
      this.#come = bytes;
      return this.#pause();
    }
    const count = this.#take(bytes, this.#reading!);
    if (this.#come !== null) this.#pause();
    this.#read = this.#reading = null;
    read.resolve(count);
  }

  #pause(): void {
    this.#paused = true;
    this.#socket.pause();
    stopReading(this.#tcp);
  }

  #take(bytes: Bytes, buffer: Bytes): number {
    if (bytes.length <= buffer.length) {
      buffer.set(bytes);
      this.#come = null;
      return bytes.length;
    }
    buffer.set(bytes.subarray(0, buffer.length));
    this.#come = bytes.subarray(buffer.length);
    return buffer.length;
  }

  #onEnd(failure: Error | null): void {
    this.#ended = true;
    this.#failure ??= failure;
    const read = this.#read;
    this.#read = this.#reading = null;
    if (failure === null) read?.resolve(null);
    else read?.reject(failure);
    // A write that is pending when the connection is closed is never heard of again.
    if (failure === null && !this.#socket.destroyed) return;
    const written = this.#written;
    this.#written = null;
    written?.reject(failure ?? new Error("The connection was closed"));
  }

  read(buffer: Bytes): Promise<number | null> {
    const come = this.#come;
    if (come !== null) {
      const count = this.#take(come, buffer);
      return Promise.resolve(count);
    }
    if (this.#failure !== null) return Promise.reject(this.#failure);
    if (this.#ended) return Promise.resolve(null);
    this.#reading = buffer;
    this.#read = Promise.withResolvers();
    if (this.#paused) {
      this.#paused = false;
      startReading(this.#tcp);
      this.#socket.resume();
    }
    return this.#read.promise;
  }

  // One after the other: every writer of the engines waits for the write before.
  write(bytes: Bytes): Promise<number> {
    this.#writing = bytes.length;
    const written = this.#written = Promise.withResolvers<number>();
    this.#socket.write(bytes, this.#onWritten);
    return written.promise;
  }

  readonly #onWritten = (error?: Error | null): void => {
    const written = this.#written;
    if (written === null) return;
    this.#written = null;
    if (error === undefined || error === null) written.resolve(this.#writing);
    else written.reject(error);
  };

  closeWrite(): Promise<void> {
    return new Promise((resolve) => this.#socket.end(() => resolve()));
  }

  close(): void {
    this.#socket.destroy();
  }
}

// Functions that `node:net` and `node:tls` lack (Deno 2.9.6), by the handle of a socket that exists in Node.js too.
// It is not public, but the only way; without it, nothing is done.

/** The handle of a socket or a server. */
interface TcpHandle {
  readStop?(): number;
  readStart?(): number;
  listen?(backlog: number): number;
}

/** How many connections the system queues before they are accepted. */
export const BACKLOG = 511;

/**
 * Makes the runtime load its authorities, which takes 30 to 140 ms and would otherwise block everything at the first
 * client.
 */
export function prepare(secureContext: SecureContext | null): void {
  if (secureContext === null) return;
  const unconnected = new TcpSocket();
  const socket = new TLSSocket(unconnected, { isServer: true, secureContext });
  socket.on("error", () => {});
  socket.destroy();
  unconnected.destroy();
}

/**
 * Stops reading a TCP connection. Without this, a paused TLS connection is still read, and kept in memory without
 * limit.
 */
export function stopReading(socket: TcpSocket): void {
  handleOf(socket)?.readStop?.();
}

/** Resumes reading. */
export function startReading(socket: TcpSocket): void {
  handleOf(socket)?.readStart?.();
}

/**
 * Makes a server accept again: after a lack of file descriptors it stops permanently, without an error. Calling
 * listen again on the same socket costs 50 ns and changes nothing else.
 */
export function wake(server: Server): void {
  handleOf(server)?.listen?.(BACKLOG);
}

/**
 * The runtime's verdict on a client certificate: `""` if it is valid or absent, otherwise an OpenSSL error code,
 * `null` if unknown. For a resumed session it is always `""`.
 */
export function verdictOfRuntime(socket: TLSSocket): string | null {
  const { _handle } = socket as { _handle?: { verifyError?(): unknown } | null };
  const verdict = _handle?.verifyError?.();
  return typeof verdict === "string" ? verdict : null;
}

function handleOf(owner: Server | TcpSocket): TcpHandle | null {
  return (owner as { _handle?: TcpHandle | null })._handle ?? null;
}
