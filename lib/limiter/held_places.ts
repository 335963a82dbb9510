/** Places of concurrency policies, from the admission of a request to its end. */

import { Lease } from "../core/lease.ts";
import type { Charge } from "./charge.ts";
import { releasePlaces } from "./concurrency.ts";
import type { CountMinSketch } from "./count_min_sketch.ts";
import { Cursor, type State } from "./cursor.ts";
import type { Fingerprint } from "./fingerprint.ts";
import { refundOverflow } from "./overflow.ts";
import type { SharedTable } from "./shared_table.ts";

/** As much as giving places back needs to know. */
interface HeldPlaces extends Fingerprint {
  readonly cost: number;
  readonly windowUs: number;
  readonly limit: number;
  /** In the table: the end of the period in which they were taken. */
  readonly periodEnd: number;
  /** Where they were counted when the table had no room. */
  readonly sketch: CountMinSketch | null;
  readonly takenAt: number;
}

/**
 * The places that admitted charges took of concurrency policies, to be given back once; `null` when they took none.
 *
 * @param takenAt time of the decision
 */
export function holdPlaces(
  table: SharedTable,
  charges: readonly Charge[],
  count: number,
  takenAt: number,
): Lease | null {
  const held: HeldPlaces[] = [];
  for (let i = 0; i < count; i++) {
    const { policy, verdict, cursor, cost, rule, overflowed, sketch } = charges[i]!;
    if (policy.algorithm !== "concurrency" || !verdict.admitted) continue;
    held.push({
      low: cursor.low,
      high: cursor.high,
      cost,
      windowUs: rule.windowUs,
      limit: rule.limit,
      periodEnd: verdict.next.a,
      sketch: overflowed ? sketch : null,
      takenAt,
    });
  }
  if (held.length === 0) return null;
  return new Lease(() => {
    for (const places of held) giveBack(table, places);
  });
}

function giveBack(table: SharedTable, places: HeldPlaces): void {
  const { sketch, takenAt, cost, windowUs, limit, periodEnd } = places;
  if (sketch !== null) {
    refundOverflow(sketch, places, "concurrency", takenAt, cost, {
      limit,
      burst: 0,
      windowUs,
      penalize: false,
    });
    return;
  }
  const cursor = new Cursor();
  cursor.low = places.low;
  cursor.high = places.high;
  const next: State = { a: 0, b: 0, c: 0 };
  while (table.entries.find(cursor)) {
    const now = table.now();
    releasePlaces(cursor, now, cost, windowUs, periodEnd, next);
    if (table.entries.write(cursor, next, now)) return;
  }
}
