/** A connection of `node:tls` with the interface of the engines. */

import { type Server, Socket as TcpSocket } from "node:net";
import { type SecureContext, TLSSocket } from "node:tls";
import type { ClientCertificate } from "../../http/client_certificate.ts";
import type { Bytes } from "../../http/message.ts";
import type { Socket } from "../engine.ts";

type ReadCallback = (count: number | null) => void;
type FailureCallback = (error: unknown) => void;

const ignore = (): void => {};

/**
 * Lets the first read of each turn of the event loop call back at once, so that its request is processed before the runtime tries
 * to read more. Other reads of the turn call back later, all in a row: with many clients that costs less time than to alternate
 * between reading and processing.
 */
export class ReadTurns {
  #taken = false;

  /** Whether the caller is the first of this turn. */
  take(): boolean {
    if (this.#taken) return false;
    this.#taken = true;
    queueMicrotask(this.#end);
    return true;
  }

  readonly #end = (): void => {
    this.#taken = false;
  };
}

/** Returns received bytes in order. A slow reader pauses the client. */
export class SecuredSocket implements Socket {
  readonly remoteAddr: Deno.NetAddr;
  readonly localAddr: Deno.NetAddr;
  /** Whether the client has negotiated HTTP/2. */
  readonly isHttp2: boolean;
  readonly certificate: ClientCertificate | null;
  readonly #tcp: TcpSocket;
  readonly #socket: TLSSocket;
  readonly #turns: ReadTurns;
  #tlsVersion: string | null = null;
  #paused = false;
  /** Received bytes that were not read yet. */
  #received: Bytes | null = null;
  #ended = false;
  #failure: Error | null = null;
  /** The buffer of the pending read, and its callbacks. */
  #reading: Bytes | null = null;
  #onRead: ReadCallback = ignore;
  #onReadFailed: FailureCallback = ignore;
  /** Length of the pending write, and its callbacks; `null` if none is pending. */
  #writing = 0;
  #onWrite: ((count: number) => void) | null = null;
  #onWriteFailed: FailureCallback = ignore;

  /** @param tcp the connection below TLS */
  constructor(
    tcp: TcpSocket,
    socket: TLSSocket,
    remoteAddr: Deno.NetAddr,
    localAddr: Deno.NetAddr,
    certificate: ClientCertificate | null,
    turns: ReadTurns,
  ) {
    this.#turns = turns;
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
    const buffer = this.#reading;
    if (buffer === null) {
      this.#received = bytes;
      return this.#pause();
    }
    const count = this.#copyTo(bytes, buffer);
    if (this.#received !== null) this.#pause();
    this.#reading = null;
    if (this.#turns.take()) this.#onRead(count);
    else void Promise.resolve(count).then(this.#onRead);
  }

  #pause(): void {
    this.#paused = true;
    this.#socket.pause();
    stopReading(this.#tcp);
  }

  #copyTo(bytes: Bytes, buffer: Bytes): number {
    if (bytes.length <= buffer.length) {
      buffer.set(bytes);
      this.#received = null;
      return bytes.length;
    }
    buffer.set(bytes.subarray(0, buffer.length));
    this.#received = bytes.subarray(buffer.length);
    return buffer.length;
  }

  #onEnd(failure: Error | null): void {
    this.#ended = true;
    this.#failure ??= failure;
    if (this.#reading !== null) {
      this.#reading = null;
      if (failure === null) this.#onRead(null);
      else this.#onReadFailed(failure);
    }
    // The runtime never completes a write that is pending when the connection is closed.
    if (failure === null && !this.#socket.destroyed) return;
    if (this.#onWrite === null) return;
    this.#onWrite = null;
    this.#onWriteFailed(failure ?? new Error("The connection was closed"));
  }

  read(buffer: Bytes): Promise<number | null> {
    return new Promise((resolve, reject) => this.readThen(buffer, resolve, reject));
  }

  readThen(buffer: Bytes, onRead: ReadCallback, onFailed: FailureCallback): void {
    const received = this.#received;
    // Asynchronous, or each buffered read would nest in the one before.
    if (received !== null) return void Promise.resolve(this.#copyTo(received, buffer)).then(onRead);
    if (this.#failure !== null) return void Promise.reject(this.#failure).catch(onFailed);
    if (this.#ended) return void Promise.resolve(null).then(onRead);
    this.#reading = buffer;
    this.#onRead = onRead;
    this.#onReadFailed = onFailed;
    if (this.#paused) {
      this.#paused = false;
      startReading(this.#tcp);
      this.#socket.resume();
    }
  }

  write(bytes: Bytes): Promise<number> {
    return new Promise((resolve, reject) => this.writeThen(bytes, resolve, reject));
  }

  // At most one write is pending: the engines wait for each write before the next.
  writeThen(bytes: Bytes, onWritten: (count: number) => void, onFailed: FailureCallback): void {
    this.#writing = bytes.length;
    this.#onWrite = onWritten;
    this.#onWriteFailed = onFailed;
    this.#socket.write(bytes, this.#onWritten);
  }

  readonly #onWritten = (error?: Error | null): void => {
    const onWritten = this.#onWrite;
    if (onWritten === null) return;
    this.#onWrite = null;
    if (error === undefined || error === null) onWritten(this.#writing);
    else this.#onWriteFailed(error);
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
