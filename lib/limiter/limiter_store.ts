/** Where counts are kept. */

import type { Lease } from "../core/lease.ts";
import type { Charge } from "./charge.ts";
import type { CountedKey } from "./counted_key.ts";
import type { ResolvedPolicy } from "./policy.ts";

/** Whether a request is admitted; `"store-error"` when the store cannot say and is not to let it pass. */
export type Admitted = boolean | "store-error";

/**
 * Decides about all policies of a request at once: all are checked, then all are charged.
 *
 * A store in this process answers at once. One behind a network answers with a promise; it is handed charges that nobody
 * else uses until that is settled.
 */
export interface LimiterStore {
  /** Whether {@linkcode admit} may answer with a promise. */
  readonly answersLater: boolean;

  /**
   * Fills in the verdicts of the first `count` charges and counts the request when it is admitted.
   *
   * @param clockMs what the clock said, when the caller has asked it already
   * @returns whether every policy that is not on a dry run admits it
   */
  admit(charges: readonly Charge[], count: number, clockMs?: number): Admitted | Promise<Admitted>;

  /** The places that admitted charges took of concurrency policies, to be given back once; `null` when they took none. */
  hold(charges: readonly Charge[], count: number): Lease | null;

  /** What an admitted charge was counted by, for {@linkcode correct}. */
  counted(charge: Charge): CountedKey;

  /**
   * Counts more for a key, limit or not, or takes back some of what was counted.
   *
   * Nobody waits for it, and a store that cannot do it now has to report that by itself.
   */
  correct(counted: CountedKey, delta: number): void;

  /** Forgets what it has counted elsewhere than in the limiter's table; nobody waits for that either. */
  reset?(policy: ResolvedPolicy, key: string): void;
}
