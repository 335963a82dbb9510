/** A small body of known length that did not come with its head, waited for to be handed over whole. */

import type { UpstreamResponse } from "../transport.ts";
import type { BodyStreamOwner, PendingRead } from "./body_stream.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Collects the reads of one body. */
export class WholeBody {
  /** Whose body it is. */
  readonly response: UpstreamResponse;
  /** The content, as far as it has come. */
  readonly bytes: Bytes;
  /** The read that is pending; whoever gives up waiting goes on with it. */
  pending: PendingRead | null = null;
  #filled: number;

  /** @param first what came with the head */
  constructor(response: UpstreamResponse, length: number, first: Bytes) {
    this.response = response;
    this.bytes = new Uint8Array(length);
    this.bytes.set(first);
    this.#filled = first.length;
  }

  /** Begins a read of what is missing. */
  read(socket: Pick<BodyStreamOwner, "read">): Promise<number | null> {
    const buffer = this.bytes.subarray(this.#filled);
    const count = socket.read(buffer);
    this.pending = { buffer, count };
    return count;
  }

  /** Takes what a read has brought; `true` when nothing is missing. */
  take(count: number): boolean {
    this.#filled += count;
    return this.#filled === this.bytes.length;
  }

  /** How much is missing. */
  get missing(): number {
    return this.bytes.length - this.#filled;
  }

  /** A copy of what has come; `null` when nothing has. */
  get begun(): Bytes | null {
    return this.#filled > 0 ? this.bytes.slice(0, this.#filled) : null;
  }
}
