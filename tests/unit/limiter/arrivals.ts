/** Requests of one key as the properties of all algorithms need them. */

import fc from "fast-check";
import { type Algorithm, makeVerdict, type Rule, type State } from "../../../lib/limiter/algorithm.ts";

export const SEED = { seed: 20260727, numRuns: 300 };

/** One request: microseconds after the one before, and what it costs. */
export interface Arrival {
  readonly gap: number;
  readonly cost: number;
}

/** What came of it. */
export interface Outcome {
  readonly at: number;
  readonly cost: number;
  readonly admitted: boolean;
  readonly remaining: number;
  readonly retryAfterUs: number;
  readonly resetUs: number;
  /** The state that the decision was made from. */
  readonly before: State;
}

/** Requests that come in bursts and after pauses around the length of a window. */
export function arrivals(windowUs: number): fc.Arbitrary<Arrival[]> {
  const gap = fc.oneof(
    fc.constant(0),
    fc.integer({ min: 0, max: Math.ceil(windowUs / 10) }),
    fc.integer({ min: 0, max: 3 * windowUs }),
    fc.constantFrom(windowUs - 1, windowUs, windowUs + 1, 2 * windowUs - 1, 2 * windowUs),
  );
  return fc.array(fc.record({ gap, cost: fc.integer({ min: 0, max: 4 }) }), { maxLength: 60 });
}

/** A limit and a window, small enough that properties meet the edges. */
export const rules: fc.Arbitrary<Rule> = fc.record({
  limit: fc.integer({ min: 0, max: 12 }),
  windowUs: fc.constantFrom(1, 7, 1000, 1_000_000, 86_400_000_000),
  burst: fc.integer({ min: 1, max: 20 }),
  penalize: fc.constant(false),
  bounded: fc.boolean(),
});

/** A rule with requests to match. */
export const traces: fc.Arbitrary<{ rule: Rule; list: Arrival[] }> = rules.chain((rule) =>
  arrivals(rule.windowUs).map((list) => ({ rule, list }))
);

/** Lets requests through an algorithm as the store does: what is refused is not written. */
export function play(algorithm: Algorithm, rule: Rule, list: readonly Arrival[]): Outcome[] {
  let state: State = { a: 0, b: 0, c: 0 };
  let now = 1;
  const verdict = makeVerdict();
  return list.map(({ gap, cost }) => {
    now += gap;
    const before = { ...state };
    algorithm(state, now, cost, rule, verdict);
    if (verdict.admitted || rule.penalize) state = { ...verdict.next };
    const { admitted, remaining, retryAfterUs, resetUs } = verdict;
    return { at: now, cost, admitted, remaining, retryAfterUs, resetUs, before };
  });
}

/** Asserts that a refused request is refused until the moment that it was told, and admitted then. */
export function checkRetryAfter(algorithm: Algorithm, rule: Rule, outcomes: readonly Outcome[]): void {
  const verdict = makeVerdict();
  for (const { at, cost, admitted, retryAfterUs, before } of outcomes) {
    if (admitted) continue;
    if (retryAfterUs === Infinity) {
      algorithm(before, at + 400 * rule.windowUs, cost, rule, verdict);
      if (verdict.admitted) throw new Error(`a cost of ${cost} was said never to be admitted`);
      continue;
    }
    algorithm(before, at + retryAfterUs, cost, rule, verdict);
    if (!verdict.admitted) throw new Error(`refused after the ${retryAfterUs} us that it was told to wait`);
    algorithm(before, at + retryAfterUs - 1, cost, rule, verdict);
    if (verdict.admitted) throw new Error(`told to wait ${retryAfterUs} us, of which one less is enough`);
  }
}

/** What was admitted in the busiest interval of a length. */
export function busiest(outcomes: readonly Outcome[], lengthUs: number): number {
  let most = 0;
  for (const { at: start } of outcomes) {
    const inside = outcomes.filter(({ at, admitted }) => admitted && at >= start && at < start + lengthUs);
    most = Math.max(most, inside.reduce((sum, { cost }) => sum + cost, 0));
  }
  return most;
}
