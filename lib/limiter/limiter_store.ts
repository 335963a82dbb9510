/** Where counts are kept. */

import type { Lease } from "../core/cancellation.ts";
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import type { BusyKeys } from "./busy_keys.ts";
import type { Charge, CountedKey } from "./charge.ts";
import type { ResolvedPolicy } from "./policy.ts";
import type { SharedTable } from "./shared_table.ts";

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

  /** The permits that admitted charges took of concurrency policies, to be given back once; `null` when they took none. */
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

// What a limiter is made with.

/** What a {@linkcode RateLimiter} takes beside its policies. */
export interface RateLimiterOptions {
  clock: Clock;
  /** Seeds the table that the limiter makes for itself. */
  random: Random;
  /** How many keys are counted exactly; each policy's count one by one. Ignored with `table`. @default {the policies' `maxKeys` together} */
  maxKeys?: number;
  /** The counts, when they are shared with other workers; otherwise the limiter makes a table of its own. */
  table?: SharedTable;
  /**
   * Sets the counts apart from those of other limiters that share the table: the name of a route, say.
   *
   * @default {""}
   */
  scope?: string;
  /** Decides in place of the table, which then has the bans only. */
  store?: LimiterStore;
  /** Remembers the names of keys that use much of their limits; several limiters may share it. */
  busyKeys?: BusyKeys;
  /** Called when keys of a policy do not fit the table and take the places of others; at most once a window. */
  onOverflow?: (policy: ResolvedPolicy) => void;
}
