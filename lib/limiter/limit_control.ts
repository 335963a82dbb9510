/** What may be done with limits while they are at work. */

import type { Duration } from "../core/duration.ts";
import type { ResolvedPolicy } from "./policy.ts";
import type { PolicyStatus } from "./policy_status.ts";

/** The limits of a running proxy, for programs. */
export interface LimitControl {
  /** The policies, complete. */
  readonly policies: readonly ResolvedPolicy[];

  /**
   * What policies have counted for a key; those whose limit is a function are left out. Of a `store` that machines share
   * this is only what the instance has counted by itself while the store did not answer.
   *
   * @param policyName of the policy that is meant; all when left out
   * @throws {RangeError} when there is no such policy
   */
  statusOf(key: string, policyName?: string): PolicyStatus[];

  /**
   * Forgets what was counted for a key, and lifts its ban.
   *
   * @param policyName of the policy whose count is meant; all when left out
   * @throws {RangeError} when there is no such policy
   */
  reset(key: string, policyName?: string): void;

  /**
   * Refuses everything that has the key for some time.
   *
   * @param duration `"10m"`, or milliseconds
   * @param policyName of the policy whose keys are meant; all when left out
   * @returns `false` when there was no room to write it down for all of these policies
   * @throws {RangeError} when there is no such policy
   * @throws {TypeError} when the duration is none
   */
  ban(key: string, duration: Duration, policyName?: string): boolean;
}
