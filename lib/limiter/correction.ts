/** Counts that change once more when a request is over. */

import { Cursor, makeVerdict, type Rule, type State } from "./algorithm.ts";
import { type CountedKey, shareOf } from "./charge.ts";
import { fixedWindow } from "./fixed_window.ts";
import { chargeOverflow, refundOverflow } from "./overflow.ts";
import type { SharedTable } from "./shared_table.ts";
import { slidingWindow } from "./sliding_window.ts";
import { MAX_AHEAD_US } from "./token_bucket.ts";

/**
 * Counts more for a key, limit or not, or takes back some of what was counted.
 *
 * More is counted now. What is taken back is taken from where it was counted, and never more than still counts there:
 * a correction that comes late must not make room for other requests. Other keys may have the entry from here on.
 *
 * @param delta at most the cost is taken back
 */
export function correctCount(table: SharedTable, counted: CountedKey, delta: number): void {
  if (counted.sketch !== null) {
    if (delta !== 0) correctOverflow(table, counted, delta);
    return;
  }
  const cursor = new Cursor();
  cursor.low = counted.low;
  cursor.high = counted.high;
  const next: State = { a: 0, b: 0, c: 0 };
  for (;;) {
    const found = table.entries.find(cursor);
    const now = table.now();
    if (!found) {
      if (delta <= 0) return;
      // Its entry is another key's now. It begins anew, or with what is remembered of it.
      if (!table.entries.place(cursor, now, [], 0) && !table.entries.displace(cursor, [], 0)) return;
      table.displaced.seed(cursor, counted.policy.algorithm, now, ruleOf(counted));
    }
    if (delta > 0) addTo(cursor, now, delta, counted, next);
    else takeFrom(cursor, now, -delta, counted, next);
    cursor.use = useOf(next, counted);
    if (table.entries.write(cursor, next, now)) return;
  }
}

function correctOverflow(table: SharedTable, counted: CountedKey, delta: number): void {
  const { sketch, policy: { algorithm }, countedAt, cost } = counted;
  const rule = ruleOf(counted);
  if (delta < 0) refundOverflow(sketch!, counted, algorithm, countedAt, cost, rule, -delta);
  else chargeOverflow(sketch!, counted, algorithm, table.now(), delta, rule, true);
}

function ruleOf({ limit, burst, windowUs }: CountedKey): Rule {
  return { limit, burst, windowUs, penalize: false, bounded: false };
}

/** How much of its limit a key has used, as its entry says. */
function useOf(
  { b, c }: Readonly<State>,
  { policy: { algorithm }, limit, burst, windowUs }: CountedKey,
): number {
  if (algorithm === "token-bucket") return shareOf(b / windowUs, burst);
  return shareOf(algorithm === "sliding-window" ? b + c : b, limit);
}

/** The state with more in it, which may be more than the limit. */
function addTo(state: Readonly<State>, now: number, amount: number, counted: CountedKey, into: State): void {
  const { policy: { algorithm }, limit, burst, windowUs } = counted;
  if (algorithm === "token-bucket") {
    // Not the algorithm's penalty, which has an upper bound: who has had it pays all of it back.
    fillBucket(state, now, amount * windowUs, limit, into);
    return;
  }
  const decide = algorithm === "sliding-window" ? slidingWindow : fixedWindow;
  const verdict = makeVerdict();
  decide(state, now, amount, { limit, burst, windowUs, penalize: true, bounded: false }, verdict);
  into.a = verdict.next.a;
  into.b = verdict.next.b;
  into.c = verdict.next.c;
}

/** The state with less in it, or as it is when nothing of what was counted is left there. */
function takeFrom(
  state: Readonly<State>,
  now: number,
  amount: number,
  counted: CountedKey,
  into: State,
): void {
  const { policy: { algorithm }, expiresAt, windowUs, limit, countedAt } = counted;
  into.a = state.a;
  into.b = state.b;
  into.c = state.c;
  switch (algorithm) {
    case "fixed-window":
      if (state.a === expiresAt) into.b = Math.max(0, state.b - amount);
      return;
    case "sliding-window":
      if (state.a === expiresAt) into.c = Math.max(0, state.c - amount);
      else if (state.a === expiresAt + windowUs) into.b = Math.max(0, state.b - amount);
      return;
    case "token-bucket": {
      const left = amount * windowUs - Math.max(0, now - countedAt) * limit;
      if (left > 0) fillBucket(state, now, -left, limit, into);
      return;
    }
    case "concurrency":
      return;
  }
}

/** A bucket at a later moment, with more used up in it, or less. */
function fillBucket(state: Readonly<State>, now: number, amount: number, limit: number, into: State): void {
  const wasAhead = state.c > now + MAX_AHEAD_US;
  const at = wasAhead ? now : Math.max(now, state.c);
  const left = wasAhead ? state.b : Math.max(0, state.b - (at - state.c) * limit);
  const used = Math.max(0, left + amount);
  into.a = used === 0 ? at : at + Math.ceil(used / limit);
  into.b = used;
  into.c = at;
}
