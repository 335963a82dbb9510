/** A byte sink that a test can inspect, slow down and break. */

import type { ByteSink } from "../../lib/observe/line_writer.ts";

/** Stores written bytes; each element of `writes` is one write. */
export class MemorySink implements ByteSink {
  readonly writes: Uint8Array[] = [];
  /** Maximum number of bytes per write, as in a nearly full pipe. */
  maxBytes = Infinity;
  /** Error of the next writes. */
  error: Error | null = null;
  #gate: PromiseWithResolvers<void> | null = null;

  /** Everything that was written. */
  get text(): string {
    const decoder = new TextDecoder();
    return this.writes.map((bytes) => decoder.decode(bytes, { stream: true })).join("") + decoder.decode();
  }

  /** The lines that were written. */
  get lines(): string[] {
    return this.text.split("\n").slice(0, -1);
  }

  /** Blocks writes until {@linkcode MemorySink.resume}. */
  stall(): void {
    this.#gate ??= Promise.withResolvers();
  }

  /** Unblocks writes. */
  resume(): void {
    this.#gate?.resolve();
    this.#gate = null;
  }

  async write(bytes: Uint8Array): Promise<number> {
    await this.#gate?.promise;
    return this.writeSync(bytes);
  }

  writeSync(bytes: Uint8Array): number {
    if (this.error !== null) throw this.error;
    const taken = bytes.subarray(0, Math.min(bytes.length, this.maxBytes));
    this.writes.push(taken.slice());
    return taken.length;
  }
}
