/** A socket without a network: the test decides what comes and when, and sees each write by itself. */

import { latin1Bytes, latin1Text } from "./raw_connection.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** As the runtime's sockets: a read takes what fits, a close breaks off what is pending, closing twice throws. */
export class ScriptedSocket {
  /** What each write carried, one character a byte. */
  readonly writes: string[] = [];
  /** Most bytes that one write takes. */
  writeLimit = Infinity;
  closed = false;
  /** Whether the end of what is written was told. */
  writeClosed = false;
  #held: (() => void)[] | null = null;
  #incoming: Bytes = new Uint8Array(0);
  #ended = false;
  #reading:
    | { buffer: Bytes; resolve: (count: number | null) => void; reject: (error: Error) => void }
    | null = null;

  /** The socket as the type that is asked for; what is not here is not used. */
  get conn(): Deno.Conn {
    return this as unknown as Deno.Conn;
  }

  /** Lets writes wait until {@linkcode letWritesGo}, as a full send buffer does. */
  holdWrites(): void {
    this.#held = [];
  }

  letWritesGo(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const go of held) go();
  }

  /** The server sends something; resolves when what waits for it has run. */
  async receive(text: string): Promise<void> {
    this.#incoming = latin1Bytes(latin1Text(this.#incoming) + text);
    this.#deliver();
    await turns();
  }

  /** The server closes its side. */
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

/** Lets everything run that does not wait for the outside. */
export async function turns(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await null;
}
