/** Bodies with a `content-length` (RFC 9112 section 6.3, item 6). */

import type { BodyReader } from "./body_reader.ts";

/** Reads a body of known length. */
export class LengthReader implements BodyReader {
  readonly endsWithConnection = false;
  contentStart = 0;
  contentEnd = 0;
  next = 0;
  atMost: number;

  /** @param length number of bytes that are still to come */
  constructor(length: number) {
    this.atMost = length;
  }

  get done(): boolean {
    return this.atMost === 0;
  }

  read(_bytes: Uint8Array, from: number, to: number): void {
    const taken = Math.min(this.atMost, to - from);
    this.contentStart = from;
    this.contentEnd = this.next = from + taken;
    this.atMost -= taken;
  }
}
