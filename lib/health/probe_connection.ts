/** A connection for one look at a server. */

import type { Address } from "../upstream/address.ts";
import type { PeerTls } from "../upstream/peer.ts";
import type { Server } from "../upstream/server.ts";
import { openTls } from "./tls_stream.ts";

/** Where to connect, and how. */
export interface ProbeTarget {
  readonly address: Address;
  /** In place of the port of the address; `null` is that. */
  readonly port: number | null;
  /** `null` is plain text. */
  readonly tls: PeerTls | null;
}

/** Bytes in both directions. */
export interface ProbeStream {
  /** What has come; `null` at the end. */
  read(): Promise<Uint8Array | null>;
  write(bytes: Uint8Array): Promise<void>;
  /** Closes at once, whatever is going on. */
  close(): void;
}

const READ_BYTES = 4096;

/** The TLS of a server's requests; for a server of plain text, the name that its address has. */
export function tlsOf({ peer: { address, tls } }: Server): PeerTls {
  if (tls !== null) return tls;
  return { serverName: address.kind === "tcp" ? address.hostname : "localhost", caCerts: [] };
}

/** A connection that is closed when it is disposed, or when the signal of its check aborts. */
export class ProbeConnection implements Disposable {
  readonly #stream: ProbeStream;
  readonly #signal: AbortSignal;
  readonly #onAbort = () => this[Symbol.dispose]();
  #closed = false;

  constructor(stream: ProbeStream, signal: AbortSignal) {
    this.#stream = stream;
    this.#signal = signal;
    signal.addEventListener("abort", this.#onAbort);
    if (signal.aborted) this[Symbol.dispose]();
  }

  /** Connects, and does the TLS handshake if there is one. */
  static async open({ address, port, tls }: ProbeTarget, signal: AbortSignal): Promise<ProbeConnection> {
    if (address.kind === "unix") {
      const { path } = address;
      return new ProbeConnection(streamOf(await Deno.connect({ transport: "unix", path })), signal);
    }
    const where = { hostname: address.hostname, port: port ?? address.port };
    const stream = tls === null
      ? streamOf(await Deno.connect({ ...where, signal }))
      : await openTls({ ...where, tls }, signal);
    return new ProbeConnection(stream, signal);
  }

  /** What has come; `null` at the end. */
  read(): Promise<Uint8Array | null> {
    return this.#stream.read();
  }

  /** Writes everything. */
  write(bytes: Uint8Array): Promise<void> {
    return this.#stream.write(bytes);
  }

  /** Hands the stream over, for another look; disposing does nothing from then on. */
  detach(): ProbeStream | null {
    if (this.#closed) return null;
    this.#closed = true;
    this.#signal.removeEventListener("abort", this.#onAbort);
    return this.#stream;
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#signal.removeEventListener("abort", this.#onAbort);
    this.#stream.close();
  }
}

function streamOf(connection: Deno.Conn): ProbeStream {
  return {
    async read() {
      const buffer = new Uint8Array(READ_BYTES);
      const count = await connection.read(buffer);
      return count === null ? null : buffer.subarray(0, count);
    },
    async write(bytes) {
      for (let sent = 0; sent < bytes.length;) sent += await connection.write(bytes.subarray(sent));
    },
    close: () => connection.close(),
  };
}
