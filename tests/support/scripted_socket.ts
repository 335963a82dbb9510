/** A socket without a network: the test sends bytes to it, and sees each write separately. */

import { latin1Bytes, latin1Text } from "./raw_connection.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * Behaves like sockets of the runtime: a read takes what fits, a close aborts pending operations, closing twice throws.
 */
export class ScriptedSocket {
  /** The content of each write, one character per byte. */
  readonly writes: string[] = [];
  /** Maximum number of bytes per write. */
  writeLimit = Infinity;
  closed = false;
  /** Whether the write side was shut down. */
  writeClosed = false;
  #held: (() => void)[] | null = null;
  #incoming: Bytes = new Uint8Array(0);
  #ended = false;
  #reading:
    | { buffer: Bytes; resolve: (count: number | null) => void; reject: (error: Error) => void }
    | null = null;

  /** The socket as `Deno.Conn`; missing members are not used. */
  get conn(): Deno.Conn {
    return this as unknown as Deno.Conn;
  }

  /** Blocks writes until {@linkcode letWritesGo}, like a full send buffer. */
  holdWrites(): void {
    this.#held = [];
  }

  letWritesGo(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const go of held) go();
  }

  /** Simulates received bytes; resolves when pending reads have been processed. */
  async receive(text: string): Promise<void> {
    this.#incoming = latin1Bytes(latin1Text(this.#incoming) + text);
    this.#deliver();
    await turns();
  }

  /** Simulates the end of the other side. */
  async end(): Promise<void> {
    this.#ended = true;
    this.#deliver();
    await turns();
  }

  read(buffer: Bytes): Promise<number | null> {
    if (this.closed) return Promise.reject(new Deno.errors.BadResource("Bad resource ID"));
    if (this.#reading !== null) return Promise.reject(new Deno.errors.Busy("Two reads at once"));
    const { promise, resolve, reject } = Promise.withResolvers<number | null>();
    this.#reading = { buffer, resolve, reject };
    this.#deliver();
    return promise;
  }

  #deliver(): void {
    const reading = this.#reading;
    if (reading === null || (this.#incoming.length === 0 && !this.#ended)) return;
    this.#reading = null;
    if (this.#incoming.length === 0) return reading.resolve(null);
    const part = this.#incoming.subarray(0, reading.buffer.length);
    reading.buffer.set(part);
    this.#incoming = this.#incoming.slice(part.length);
    reading.resolve(part.length);
  }

  async write(bytes: Bytes): Promise<number> {
    if (this.closed) throw new Deno.errors.BadResource("Bad resource ID");
    const taken = bytes.slice(0, this.writeLimit);
    if (this.#held !== null) await new Promise<void>((go) => this.#held!.push(go));
    if (this.closed) throw new Deno.errors.Interrupted("operation canceled");
    this.writes.push(latin1Text(taken));
    return taken.length;
  }

  closeWrite(): Promise<void> {
    this.writeClosed = true;
    return Promise.resolve();
  }

  close(): void {
    if (this.closed) throw new Deno.errors.BadResource("Bad resource ID");
    this.closed = true;
    this.#reading?.reject(new Deno.errors.Interrupted("operation canceled"));
    this.#reading = null;
    this.letWritesGo();
  }
}

/** Runs all microtasks that do not depend on external events. */
export async function turns(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await null;
}
