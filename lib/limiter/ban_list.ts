/** Keys that are refused for some time, whatever they have left. */

import type { Charge } from "./charge.ts";
import type { Cursor, State } from "./algorithm.ts";
import type { SharedTable } from "./shared_table.ts";
import { PINNED, TICK_US, tickOf } from "./table_layout.ts";

/** Keeps the entry of a ban apart from the one that counts. A ban has nothing to do with the window, and outlives it. */
const SALT = 0x5bd1e995;
const NOTHING: Readonly<State> = Object.freeze({ a: 0, b: 0, c: 0 });

/** Bans in a `SharedTable`: an entry each, which says until when. */
export class BanList {
  readonly #table: SharedTable;

  constructor(table: SharedTable) {
    this.#table = table;
  }

  /** Whether any of the keys is banned; the verdict of its charge then says for how long. */
  find(charges: readonly Charge[], count: number): boolean {
    const table = this.#table;
    const until = table.bannedUntilTick;
    if (until === 0) return false;
    const now = table.now();
    if (((until - Math.floor(now / TICK_US)) | 0) <= 0) return false;
    let banned = false;
    for (let i = 0; i < count; i++) {
      const { cursor, verdict, policy, windowSalt } = charges[i]!;
      cursor.low ^= SALT ^ windowSalt;
      do table.entries.find(cursor); while (!table.entries.isCurrent(cursor));
      cursor.low ^= SALT ^ windowSalt;
      verdict.admitted = cursor.a <= now || policy.dryRun;
      verdict.retryAfterUs = verdict.resetUs = Math.max(0, cursor.a - now);
      if (!verdict.admitted) banned = true;
    }
    return banned;
  }

  /** Writes a ban down; `false` when there is no room for it. */
  add({ cursor, windowSalt }: Charge, durationUs: number): boolean {
    const table = this.#table;
    cursor.low ^= SALT ^ windowSalt;
    let written = false;
    while (!written) {
      const now = table.now();
      const { entries } = table;
      if (!entries.find(cursor) && !entries.place(cursor, now, [], 0) && !entries.displace(cursor, [], 0)) {
        break;
      }
      const next: State = { a: now + durationUs, b: 1, c: 0 };
      // Before the entry: nobody looks for one while this says that there is none.
      table.raiseBannedUntil(tickOf(next.a, now));
      cursor.use = PINNED;
      written = entries.write(cursor, next, now);
    }
    cursor.low ^= SALT ^ windowSalt;
    return written;
  }

  /** For how many milliseconds the key of a charge is banned; 0 when it is not. */
  leftMs({ cursor, windowSalt }: Charge): number {
    const table = this.#table;
    if (table.bannedUntilTick === 0) return 0;
    cursor.low ^= SALT ^ windowSalt;
    do table.entries.find(cursor); while (!table.entries.isCurrent(cursor));
    cursor.low ^= SALT ^ windowSalt;
    return Math.max(0, cursor.a - table.now()) / 1000;
  }

  /** Lifts a ban. */
  lift({ cursor, windowSalt }: Charge): void {
    cursor.low ^= SALT ^ windowSalt;
    erase(this.#table, cursor);
    cursor.low ^= SALT ^ windowSalt;
  }
}

/** Forgets what a table knows of a key. */
export function erase(table: SharedTable, cursor: Cursor): void {
  while (table.entries.find(cursor)) {
    if (table.entries.write(cursor, NOTHING, table.now())) return;
  }
}
