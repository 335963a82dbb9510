/** Buffers that connections read into, and lend to whoever copies a body out of them at once. */

import type { BodyLender } from "../transport.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Size of each: a head and a small body. */
export const BUFFER_BYTES: number = 16 * 1024;
/** How many are kept; more are only needed when as many answers come in at one turn of the loop. */
const MAX_KEPT = 64;

/**
 * Keeps buffers that nobody uses.
 *
 * A body that came with its head is lent with the buffer it lies in. Copying it first would cost an `ArrayBuffer` a
 * response, and those are what makes the collector of old objects run (measured: 8 times a second at 10 KiB).
 */
export class BufferShelf implements BodyLender {
  readonly #kept: Bytes[] = [];

  /** How many there are. */
  get size(): number {
    return this.#kept.length;
  }

  /** A buffer for a connection; what is in it is of no meaning. */
  take(): Bytes {
    return this.#kept.pop() ?? new Uint8Array(BUFFER_BYTES);
  }

  giveBack({ buffer }: Bytes): void {
    if (this.#kept.length < MAX_KEPT && buffer.byteLength === BUFFER_BYTES) {
      this.#kept.push(new Uint8Array(buffer));
    }
  }
}
