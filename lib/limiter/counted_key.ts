/** What a request was counted by, for whoever corrects it when the request is over. */

import type { Charge } from "./charge.ts";
import type { CountMinSketch } from "./count_min_sketch.ts";
import type { DueCharge } from "./policy.ts";
import type { Fingerprint } from "./fingerprint.ts";

/** One policy's part in an admitted request. */
export interface CountedKey extends Fingerprint, DueCharge {
  readonly limit: number;
  readonly burst: number;
  readonly windowUs: number;
  /** `a` of the key's state right after, which tells in which window it was counted. */
  readonly expiresAt: number;
  /** Where it was counted when the table had no room. */
  readonly sketch: CountMinSketch | null;
  /** Where it is counted when the table has no room. */
  readonly overflow: CountMinSketch;
  /** Time of the decision, in microseconds of the table's. */
  readonly countedAt: number;
}

/** Keeps what a charge says, before it is used for the next request. */
export function countedKey(charge: Charge, countedAt: number): CountedKey {
  const { policy, key, cost, rule, verdict, cursor, overflowed, sketch } = charge;
  return {
    low: cursor.low,
    high: cursor.high,
    policy,
    key,
    cost,
    limit: rule.limit,
    burst: rule.burst,
    windowUs: rule.windowUs,
    expiresAt: verdict.next.a,
    sketch: overflowed ? sketch : null,
    overflow: sketch,
    countedAt,
  };
}
