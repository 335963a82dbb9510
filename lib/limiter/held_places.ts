/** Places of concurrency policies, from the admission of a request to its end. */

import { releasePlaces } from "./concurrency.ts";
import type { CountedKey } from "./counted_key.ts";
import { Cursor, type State } from "./cursor.ts";
import { refundOverflow } from "./overflow.ts";
import type { SharedTable } from "./shared_table.ts";

/** Gives back the places that a request took of a concurrency policy; to be called once. */
export function giveBackPlaces(table: SharedTable, places: CountedKey): void {
  const { sketch, countedAt, cost, windowUs, limit, expiresAt } = places;
  if (sketch !== null) {
    const rule = { limit, burst: 0, windowUs, penalize: false, bounded: false };
    refundOverflow(sketch, places, "concurrency", countedAt, cost, rule);
    return;
  }
  const cursor = new Cursor();
  cursor.low = places.low;
  cursor.high = places.high;
  const next: State = { a: 0, b: 0, c: 0 };
  while (table.entries.find(cursor)) {
    const now = table.now();
    releasePlaces(cursor, now, cost, windowUs, expiresAt, next);
    if (table.entries.write(cursor, next, now)) return;
  }
}
