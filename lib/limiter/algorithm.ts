/** The algorithms, each a pure function, and what they have in common. */

import type { Fingerprint } from "./fingerprint.ts";

/** The numbers of a policy for one decision. */
export interface Rule {
  /** How many in each window. */
  limit: number;
  windowUs: number;
  /** How many at once; only a token bucket has it apart from the limit. */
  burst: number;
  /** Whether refused requests count too. */
  penalize: boolean;
  /**
   * Whether no request of the policy can use up more of a token bucket than it holds: its numbers are constants, and
   * nothing is charged afterwards.
   */
  bounded: boolean;
}

/** What an algorithm decides, and the state of the key after it. */
export interface Verdict {
  admitted: boolean;
  /** The state afterwards; to be written when the request was admitted, is penalized, or `corrects` says so. */
  next: State;
  /**
   * Whether the state that was read lies beyond what the policy and the clock allow, because the window was longer, the
   * burst was larger or the clock was ahead when it was written. `next` is then to be written for a refused request as
   * well: bounded only as it is read, it would be as far ahead the next time, and refuse for as long as it lasts.
   */
  corrects: boolean;
  /** How much more would be admitted right after. */
  remaining: number;
  /** Microseconds until the same request would be admitted once more, if there were no others; `Infinity` for never. */
  retryAfterUs: number;
  /** Microseconds until the whole limit is there again. */
  resetUs: number;
}

/**
 * Decides about one request: a pure function that writes the decision into `into`, which keeps a decision free of
 * allocations.
 *
 * Times are whole microseconds. They may be earlier than those in the state: by what workers' clocks differ, and by much
 * where the clock of a store was set back.
 */
export type Algorithm = (
  state: Readonly<State>,
  now: number,
  cost: number,
  rule: Readonly<Rule>,
  into: Verdict,
) => void;

/** Makes an empty decision to write into. */
export function makeVerdict(): Verdict {
  // Fractions first, so that the engine keeps these fields as numbers with fraction from the beginning.
  const verdict: Verdict = {
    admitted: false,
    next: { a: 0.5, b: 0.5, c: 0.5 },
    corrects: false,
    remaining: 0.5,
    retryAfterUs: 0.5,
    resetUs: 0.5,
  };
  verdict.next.a = verdict.next.b = verdict.next.c = 0;
  verdict.remaining = verdict.retryAfterUs = verdict.resetUs = 0;
  return verdict;
}

// Where a decision reads and writes.

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

// So many in each window, which begins with a key's first request.

/**
 * Fixed window: `a` is when the window ends, `b` what was counted in it.
 *
 * The cheapest to understand. A client that asks at the end of one window and the beginning of the next gets twice the
 * limit within less than a window, and not more. Windows begin when a key is first seen and not on the minute, so that
 * clients do not all come back at the same moment.
 */
export function fixedWindow(
  state: Readonly<State>,
  now: number,
  cost: number,
  rule: Readonly<Rule>,
  into: Verdict,
): void {
  const { limit, windowUs } = rule;
  let end = state.a;
  let count = state.b;
  // Begun when the policy's window was longer, or the clock was ahead: nobody waits longer than the window in force.
  const corrects = end > now + windowUs;
  if (corrects) {
    end = now + windowUs;
  } else if (end <= now) {
    end = now + windowUs;
    count = 0;
  }
  const admitted = count + cost <= limit;
  if (admitted || rule.penalize) count += cost;
  into.admitted = admitted;
  into.corrects = corrects;
  into.next.a = end;
  into.next.b = count;
  into.next.c = 0;
  into.remaining = Math.max(0, Math.floor(limit - count));
  into.resetUs = end - now;
  into.retryAfterUs = count + cost <= limit ? 0 : cost > limit ? Infinity : end - now;
}

// So many in any window, estimated from two counts.

/**
 * Sliding window counter: `b` counts the window before, `c` the one that runs, `a` is two windows after its start.
 *
 * What was counted in the window before is taken to be spread evenly over it, and counts for as much as of it lies
 * within the last window; so there is no moment at which everything is allowed anew. (Pingora's `rate_with` and
 * Cloudflare's limiter estimate in the same way.) In whole numbers: everything is multiplied by the window.
 */
export function slidingWindow(
  state: Readonly<State>,
  now: number,
  cost: number,
  rule: Readonly<Rule>,
  into: Verdict,
): void {
  const { limit, windowUs } = rule;
  let start = state.a - 2 * windowUs;
  let previous = state.b;
  let current = state.c;
  // Begun when the policy's window was longer, or the clock was ahead.
  const corrects = start > now;
  if (corrects) {
    start = now;
  } else if (state.a <= now) {
    start = now;
    previous = current = 0;
  } else if (now >= start + windowUs) {
    start += windowUs;
    previous = current;
    current = 0;
  }
  const left = windowUs - (now - start);
  const admitted = previous * left + (current + cost) * windowUs <= limit * windowUs;
  if (admitted || rule.penalize) current += cost;
  const fits = previous * left + (current + cost) * windowUs <= limit * windowUs;
  into.retryAfterUs = fits ? 0 : waitFor(previous, current, cost, left, rule);
  into.admitted = admitted;
  into.corrects = corrects;
  into.next.a = start + 2 * windowUs;
  into.next.b = previous;
  into.next.c = current;
  into.remaining = Math.max(
    0,
    Math.floor((limit * windowUs - previous * left - current * windowUs) / windowUs),
  );
  into.resetUs = current > 0 ? left + windowUs : previous > 0 ? left : 0;
}

/** When the weighted sum has come down to what leaves room for the cost: in this window, or in the next one. */
function waitFor(
  previous: number,
  current: number,
  cost: number,
  left: number,
  rule: Readonly<Rule>,
): number {
  const { limit, windowUs } = rule;
  if (cost > limit) return Infinity;
  if (current + cost <= limit) {
    return left - Math.floor((limit - current - cost) * windowUs / previous);
  }
  return left + Math.max(0, windowUs - Math.floor((limit - cost) * windowUs / current));
}

// A steady rate, with a reserve for those who were quiet.

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

// So many at once.

/** What a client whose permit is not free is told to wait; nobody knows when one will be. */
export const RETRY_AFTER_US = 1_000_000;

/**
 * Concurrency: `c` counts the permits taken in the period that runs, `b` those taken in the one before and still held,
 * `a` is two periods after its start.
 *
 * A permit that nobody gives back, because the worker that held it died, must not be lost for ever: after the second
 * change of periods it is free again. So a permit is held for one to two windows, unless it is taken again.
 */
export function concurrency(
  state: Readonly<State>,
  now: number,
  cost: number,
  rule: Readonly<Rule>,
  into: Verdict,
): void {
  rollPeriods(state, now, rule.windowUs, into.next);
  const { next } = into;
  const held = next.b + next.c;
  const admitted = held + cost <= rule.limit;
  if (admitted) next.c += cost;
  into.admitted = admitted;
  into.corrects = false;
  into.remaining = Math.max(0, Math.floor(rule.limit - next.b - next.c));
  into.retryAfterUs = into.remaining >= cost ? 0 : cost > rule.limit ? Infinity : RETRY_AFTER_US;
  into.resetUs = 0;
}

/**
 * Gives permits back.
 *
 * @param periodEnd `a` of the state right after they were taken, which tells in which period that was
 */
export function releasePermits(
  state: Readonly<State>,
  now: number,
  cost: number,
  windowUs: number,
  periodEnd: number,
  into: State,
): void {
  rollPeriods(state, now, windowUs, into);
  if (into.a === periodEnd) into.c = Math.max(0, into.c - cost);
  else if (into.a === periodEnd + windowUs) into.b = Math.max(0, into.b - cost);
  // An entry without permits says nothing, so another key may have it at once.
  if (into.b + into.c === 0) into.a = 0;
}

/**
 * Takes permits again, whatever the limit, so that they count from the period that runs on.
 *
 * @param periodEnd `a` of the state right after they were taken
 */
export function retakePermits(
  state: Readonly<State>,
  now: number,
  cost: number,
  windowUs: number,
  periodEnd: number,
  into: State,
): void {
  rollPeriods(state, now, windowUs, into);
  if (into.a === periodEnd) return;
  if (into.a === periodEnd + windowUs) into.b = Math.max(0, into.b - cost);
  into.c += cost;
}

function rollPeriods(state: Readonly<State>, now: number, windowUs: number, into: State): void {
  if (state.a <= now) {
    into.a = now + 2 * windowUs;
    into.b = into.c = 0;
  } else if (state.a - windowUs <= now) {
    into.a = state.a + windowUs;
    into.b = state.c;
    into.c = 0;
  } else {
    into.a = state.a;
    into.b = state.b;
    into.c = state.c;
  }
}
