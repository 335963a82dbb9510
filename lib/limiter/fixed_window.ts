/** So many in each window, which begins with a key's first request. */

import type { Rule, State, Verdict } from "./algorithm.ts";

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
