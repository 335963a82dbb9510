/** The algorithms, each a pure function, and their common types. */

import type { Fingerprint } from "./fingerprint.ts";

/** The numbers of a policy for one decision. */
export interface Rule {
  /** Limit per window. */
  limit: number;
  windowUs: number;
  /** Capacity of a token bucket; equals the limit for other algorithms. */
  burst: number;
  /** Whether refused requests count too. */
  penalize: boolean;
  /**
   * Whether no request of the policy can use more of a token bucket than its capacity: its numbers are constants, and
   * nothing is charged afterwards.
   */
  bounded: boolean;
}

/** The decision of an algorithm, and the new state of the key. */
export interface Verdict {
  admitted: boolean;
  /** The new state. To be written if the request was admitted or penalized, or if `corrects` is set. */
  next: State;
  /**
   * Whether the state that was read exceeds what the policy and the clock allow: the window was longer, the burst was
   * larger, or the clock was ahead when it was written. Then `next` has to be written for a refused request too. If the
   * state were only limited on reading, it would exceed the bounds each time, and refuse until it expires.
   */
  corrects: boolean;
  /** Remaining part of the limit after the request. */
  remaining: number;
  /** Microseconds until the same request would be admitted again without other requests; `Infinity` for never. */
  retryAfterUs: number;
  /** Microseconds until the whole limit is available again. */
  resetUs: number;
}

/**
 * Decides about one request: a pure function that writes its result to `into`, so that a decision allocates nothing.
 *
 * Times are whole microseconds. They may be earlier than those in the state: a little between the clocks of workers,
 * and much if the clock of a store was set back.
 */
export type Algorithm = (
  state: Readonly<State>,
  now: number,
  cost: number,
  rule: Readonly<Rule>,
  into: Verdict,
) => void;

/** Makes an empty verdict. */
export function makeVerdict(): Verdict {
  // Fractions first, so that the engine stores these fields as doubles from the start.
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

// Input and output of a decision.

/** State of a key: three numbers, all 0 for a key without an entry. */
export interface State {
  /** When the state expires, in microseconds of the table's time. */
  a: number;
  b: number;
  c: number;
}

/** A key's entry in a `SharedTable`, as read; made once and reused for many decisions. */
export class Cursor implements Fingerprint, State {
  low = 0;
  high = 0;
  /** First word of the group. */
  base = 0;
  /** Version of the group when the entry was read. */
  version = 0;
  /** Index of the entry in the group; -1 if the key has none. */
  slot = -1;
  /** Whether the entry belongs to another key, which loses it when the cursor is written. */
  displaces = false;
  /** Used share of the limit, in units of `FULL_USE`; set it before a write. */
  use = 0;
  a = 0.5;
  b = 0.5;
  c = 0.5;

  constructor() {
    // Initialised with fractions: an engine that first sees small integers would box each later value.
    this.a = this.b = this.c = 0;
  }
}

// Limit per window, which begins with a key's first request.

/**
 * Fixed window: `a` is the end of the window, `b` the count in it.
 *
 * The simplest algorithm. A client with requests at the end of one window and at the beginning of the next gets up to
 * twice the limit within less than a window. Windows begin with the first request of a key, not on the minute, so that
 * clients do not all return at the same moment.
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
  // Started when the policy's window was longer, or the clock was ahead. No client waits longer than the current
  // window.
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

// Limit for any window, estimated from two counts.

/**
 * Sliding window counter: `b` is the count of the previous window, `c` of the current one, `a` is two windows after the
 * current one started.
 *
 * The requests of the previous window are assumed to be spread evenly, and count in proportion to its overlap with the
 * last window. So there is no moment at which the whole limit is available again. (Pingora's `rate_with` and
 * Cloudflare's limiter estimate in the same way.) Computed in integers: all terms are multiplied by the window.
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
  // Started when the policy's window was longer, or the clock was ahead.
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

/** Time until the weighted sum leaves room for the cost: in this window, or in the next one. */
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

// A steady rate, with a burst after a pause.

/**
 * Maximum lead of the time in a state over the clock. Up to this, the bucket waits for the clock: the clocks of workers
 * differ a little, and a worker that set the time back each time would gain the tokens refilled in between. A clock
 * that is further behind was set back.
 */
export const MAX_AHEAD_US = 1_000_000;

/**
 * Token bucket, in the form of GCRA: `b` is the used part of the bucket at time `c`, `a` is when it is full again.
 *
 * The bucket holds `burst` and refills by `limit` per window. A request is refused if its cost exceeds the tokens in
 * the bucket. (GCRA, ITU-T I.371 annex A, stores the "theoretical arrival time" instead, which is `c + b / limit`
 * here.) `b` is counted in tokens times microseconds of the window, of which `limit` refill each microsecond: integers,
 * so a rate such as 3 a second does not drift.
 */
export function tokenBucket(
  state: Readonly<State>,
  now: number,
  cost: number,
  rule: Readonly<Rule>,
  into: Verdict,
): void {
  const { limit, windowUs } = rule;
  // A bucket that never refills must be empty from the start: a limit of 0 refuses everything.
  const burst = limit === 0 ? 0 : rule.burst;
  const wasAhead = state.c > now + MAX_AHEAD_US;
  const at = wasAhead ? now : Math.max(now, state.c);
  const capacity = burst * windowUs;
  let used = wasAhead ? state.b : Math.max(0, state.b - (at - state.c) * limit);
  const most = rule.penalize ? 2 * capacity : capacity;
  // Used when the bucket was larger. No client waits longer than the current bucket takes to refill.
  const hadMore = rule.bounded && used > most;
  if (hadMore) used = most;
  const needed = cost * windowUs;
  const admitted = used + needed <= capacity;
  if (admitted) used += needed;
  // A penalty is limited by a second bucket: a client that stops is admitted again after twice the time to refill.
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

// Limit of concurrent requests.

/** Wait sent to a client when no permit is free, since it is unknown when one will be. */
export const RETRY_AFTER_US = 1_000_000;

/**
 * Concurrency: `c` counts the permits taken in the current period, `b` those taken in the previous one and still held,
 * `a` is two periods after the current one started.
 *
 * A permit that is never released, because its worker died, must not be lost for ever: after the second change of
 * periods it is free again. So a permit is held for one to two windows, unless it is renewed.
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
 * Releases permits.
 *
 * @param periodEnd `a` of the state right after they were taken; identifies the period
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
  // An entry without permits has no content, so another key may take it at once.
  if (into.b + into.c === 0) into.a = 0;
}

/**
 * Renews permits regardless of the limit, so that they count in the current period.
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
