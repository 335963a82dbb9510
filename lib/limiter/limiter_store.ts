/** Where counts are kept. */

import type { Charge } from "./charge.ts";

/**
 * Decides about all policies of a request at once: all are checked, then all are charged.
 *
 * A store in this process answers at once. One behind a network answers with a promise; its caller then hands in
 * charges that nobody else uses meanwhile.
 */
export interface LimiterStore {
  /**
   * Fills in the verdicts of the first `count` charges and counts the request when it is admitted.
   *
   * @param clockMs what the clock said, when the caller has asked it already
   * @returns whether every policy that is not on a dry run admits it
   */
  admit(charges: readonly Charge[], count: number, clockMs?: number): boolean | Promise<boolean>;
}
