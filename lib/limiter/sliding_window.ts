/** So many in any window, estimated from two counts. */

import type { Rule, State, Verdict } from "./algorithm.ts";

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
