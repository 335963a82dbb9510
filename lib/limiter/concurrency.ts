/** So many at once. */

import type { Rule, State, Verdict } from "./algorithm.ts";

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
