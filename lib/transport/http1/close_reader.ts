/** Bodies that last as long as the connection (RFC 9112 section 6.3, item 8). */

import type { BodyReader } from "./body_reader.ts";

/** Reads a body that ends with its connection. */
export class CloseReader implements BodyReader {
  readonly endsWithConnection = true;
  readonly done = false;
  readonly atMost: number = Infinity;
  contentStart = 0;
  contentEnd = 0;
  next = 0;

  read(_bytes: Uint8Array, from: number, to: number): void {
    this.contentStart = from;
    this.contentEnd = this.next = to;
  }
}
