/** A steady rate, with a reserve for those who were quiet. */

import type { Rule, State, Verdict } from "./algorithm.ts";

/**
 * By how much the time in a state may be ahead of a clock. Up to that the bucket waits for the clock: those of workers
 * differ a little, and one that took the time back each time would gain what came back in between. A clock that is
 * further behind was set back.
 */
export const MAX_AHEAD_US = 1_000_000;

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
  const wasAhead = state.c > now + MAX_AHEAD_US;
  const at = wasAhead ? now : Math.max(now, state.c);
  const capacity = burst * windowUs;
  let used = wasAhead ? state.b : Math.max(0, state.b - (at - state.c) * limit);
  const most = rule.penalize ? 2 * capacity : capacity;
  // Used up when the bucket was larger; nobody waits longer than the bucket in force takes to fill.
  const hadMore = rule.bounded && used > most;
  if (hadMore) used = most;
  const needed = cost * windowUs;
  const admitted = used + needed <= capacity;
  if (admitted) used += needed;
  // A penalty is bounded by a second bucket: a client that stops is let in again after twice the time to refill.
  else if (rule.penalize) used = Math.max(used, Math.min(used + needed, 2 * capacity));
  into.admitted = admitted;
  into.corrects = wasAhead || hadMore;
  const untilFull = used === 0 ? 0 : Math.ceil(used / limit);
  into.next.a = at + untilFull;
  into.next.b = used;
  into.next.c = at;
  into.remaining = Math.max(0, Math.floor((capacity - used) / windowUs));
  into.resetUs = at + untilFull - now;
  const missing = used + needed - capacity;
  into.retryAfterUs = missing <= 0 ? 0 : cost > burst ? Infinity : Math.ceil(missing / limit) + at - now;
}
