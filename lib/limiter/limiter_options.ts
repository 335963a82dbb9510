/** What a limiter is made with. */

import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import type { BusyKeys } from "./busy_keys.ts";
import type { LimiterStore } from "./limiter_store.ts";
import type { ResolvedPolicy } from "./policy.ts";
import type { SharedTable } from "./shared_table.ts";

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
