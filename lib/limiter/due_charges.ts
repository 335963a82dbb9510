/** What is left to do when an admitted request is over. */

import type { Charge } from "./charge.ts";
import type { CountedKey } from "./counted_key.ts";
import type { LimiterStore } from "./limiter_store.ts";

/** What the policies counted that charge again at the end; `null` when none of them does. */
export function dueCharges(
  store: LimiterStore,
  charges: readonly Charge[],
  count: number,
): CountedKey[] | null {
  let due: CountedKey[] | null = null;
  for (let i = 0; i < count; i++) {
    const charge = charges[i]!;
    // What a dry run did not admit has not been counted.
    if (charge.policy.charge !== null && charge.verdict.admitted) (due ??= []).push(store.counted(charge));
  }
  return due;
}
