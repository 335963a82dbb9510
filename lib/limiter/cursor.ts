/** Where a decision reads and writes. */

import type { Fingerprint } from "./fingerprint.ts";

/** What an algorithm knows about a key: three numbers, all 0 for a key that has none. */
export interface State {
  /** When the rest may be forgotten, in microseconds of the table's time. */
  a: number;
  b: number;
  c: number;
}

/** One key's place in a `SharedTable`, as it was read; made once and used for one decision after the other. */
export class Cursor implements Fingerprint, State {
  low = 0;
  high = 0;
  /** First word of the group. */
  base = 0;
  /** Version of the group when the entry was read. */
  version = 0;
  /** Place in the group; -1 when the key has none. */
  slot = -1;
  /** Whether the place is that of another key, which loses it when the cursor is written. */
  displaces = false;
  /** Share of the limit that is used, of `FULL_USE`; to be set before a write. */
  use = 0;
  a = 0.5;
  b = 0.5;
  c = 0.5;

  constructor() {
    // Begun as fractions and set to zero here: an engine that first sees small integers would box each later value.
    this.a = this.b = this.c = 0;
  }
}
