/** A steady rate, with a reserve for those who were quiet. */

import type { State } from "./cursor.ts";
import type { Rule, Verdict } from "./algorithm.ts";

/**
 * Token bucket, in the form of GCRA: `b` is how much of the bucket is used up at time `c`, `a` when it is full again.
 *
 * The bucket holds `burst` and fills by `limit` a window; a request that does not find its cost in it is refused. (GCRA,
 * ITU-T I.371 annex A, keeps the "theoretical arrival time" instead, which is `c + b / limit` here.) `b` is counted in
 * tokens times microseconds of the window, of which `limit` come back each microsecond: whole numbers, so a rate such as
 * 3 a second does not drift.
 */
export function tokenBucket(
  state: Readonly<State>,
  now: number,
  cost: number,
  rule: Readonly<Rule>,
  into: Verdict,
): void {
  const { limit, windowUs } = rule;
  // What never fills again must not be there in the first place: a limit of 0 refuses everything.
  const burst = limit === 0 ? 0 : rule.burst;
  const at = Math.max(now, state.c);
  const capacity = burst * windowUs;
  let used = Math.max(0, state.b - (at - state.c) * limit);
  const needed = cost * windowUs;
  const admitted = used + needed <= capacity;
  if (admitted) used += needed;
  // A penalty is bounded by a second bucket: a client that stops is let in again after twice the time to refill.
  else if (rule.penalize) used = Math.max(used, Math.min(used + needed, 2 * capacity));
  into.admitted = admitted;
  const untilFull = used === 0 ? 0 : Math.ceil(used / limit);
  into.next.a = at + untilFull;
  into.next.b = used;
  into.next.c = at;
  into.remaining = Math.max(0, Math.floor((capacity - used) / windowUs));
  into.resetUs = at + untilFull - now;
  const missing = used + needed - capacity;
  into.retryAfterUs = missing <= 0 ? 0 : cost > burst ? Infinity : Math.ceil(missing / limit) + at - now;
}
