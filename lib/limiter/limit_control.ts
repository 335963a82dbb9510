/** Control of limits at run time: status of keys, bans, reset. */

import type { Duration } from "../core/units.ts";
import type { Cursor, State } from "./algorithm.ts";
import { type Charge, limitOf } from "./charge.ts";
import type { MemoryStore } from "./memory_store.ts";
import type { ResolvedPolicy } from "./policy.ts";
import type { SharedTable } from "./shared_table.ts";
import { PINNED, TICK_US, tickOf } from "./table_layout.ts";

/** Control of the limits of a running proxy. */
export interface LimitControl {
  /** The policies with all defaults filled in. */
  readonly policies: readonly ResolvedPolicy[];

  /**
   * The counts of a key in each policy. Policies whose limit is a function are left out. With a shared `store` these
   * are only the counts that this instance made while the store did not respond.
   *
   * @param policyName name of one policy; all policies when left out
   * @throws {RangeError} when there is no such policy
   */
  statusOf(key: string, policyName?: string): PolicyStatus[];

  /**
   * Deletes the counts of a key, and lifts its ban.
   *
   * @param policyName name of one policy; all policies when left out
   * @throws {RangeError} when there is no such policy
   */
  reset(key: string, policyName?: string): void;

  /**
   * Refuses all requests with a key for some time.
   *
   * @param duration `"10m"`, or milliseconds
   * @param policyName name of one policy; all policies when left out
   * @returns `false` when the table had no room for the bans of all these policies
   * @throws {RangeError} when there is no such policy
   * @throws {TypeError} when the duration is not valid
   */
  ban(key: string, duration: Duration, policyName?: string): boolean;
}

// Status of keys, without counting.

/** The status of one policy for a request, without counting it. */
export interface PolicyStatus {
  /** The policy. */
  readonly policy: ResolvedPolicy;
  /** The key by which it counts the request. */
  readonly key: string;
  /** The limit for this key; the capacity, for a token bucket. */
  readonly limit: number;
  /** Remaining part of the limit now. */
  readonly remaining: number;
  /** Milliseconds until the whole limit is available again. */
  readonly resetMs: number;
  /** Milliseconds until the request would be admitted; 0 if it would be now. */
  readonly retryAfterMs: number;
}

/** Prepares a charge without a request; `false` if its numbers depend on a request. */
export function setConstants(charge: Charge): boolean {
  const { policy: { limit, burst, cost }, rule } = charge;
  if (typeof limit === "function" || typeof burst === "function") return false;
  rule.limit = limit;
  rule.burst = burst ?? limit;
  charge.cost = typeof cost === "number" ? cost : 1;
  return true;
}

/** Reads the status of each charge. */
export function statusOf(store: MemoryStore, charges: readonly Charge[]): PolicyStatus[] {
  store.peek(charges, charges.length);
  const waits = charges.map(({ verdict }) => verdict.admitted ? 0 : verdict.retryAfterUs / 1000);
  // A second time at cost 0: the remainder before the request, not after it.
  for (const charge of charges) charge.cost = 0;
  store.peek(charges, charges.length);
  return charges.map((charge, i) => ({
    policy: charge.policy,
    key: charge.key,
    limit: limitOf(charge),
    remaining: charge.verdict.remaining,
    resetMs: charge.verdict.resetUs / 1000,
    retryAfterMs: waits[i]!,
  }));
}

// Bans: keys that are refused for some time, whatever remains of their limits.

/** Separates the entry of a ban from the entry of the counts. A ban does not depend on the window, and outlives it. */
const SALT = 0x5bd1e995;
const NOTHING: Readonly<State> = Object.freeze({ a: 0, b: 0, c: 0 });

/** Bans in a `SharedTable`: one entry each, with its end. */
export class BanList {
  readonly #table: SharedTable;

  constructor(table: SharedTable) {
    this.#table = table;
  }

  /** Whether any of the keys is banned. The verdict of each charge then has the remaining time. */
  find(charges: readonly Charge[], count: number): boolean {
    const table = this.#table;
    const until = table.bannedUntilTick;
    if (until === 0) return false;
    const now = table.now();
    if (((until - Math.floor(now / TICK_US)) | 0) <= 0) return false;
    let banned = false;
    for (let i = 0; i < count; i++) {
      const { cursor, verdict, policy, windowSalt } = charges[i]!;
      cursor.low ^= SALT ^ windowSalt;
      do table.entries.find(cursor); while (!table.entries.isCurrent(cursor));
      cursor.low ^= SALT ^ windowSalt;
      verdict.admitted = cursor.a <= now || policy.dryRun;
      verdict.retryAfterUs = verdict.resetUs = Math.max(0, cursor.a - now);
      if (!verdict.admitted) banned = true;
    }
    return banned;
  }

  /** Adds a ban; `false` when the table has no room for it. */
  add({ cursor, windowSalt }: Charge, durationUs: number): boolean {
    const table = this.#table;
    cursor.low ^= SALT ^ windowSalt;
    let written = false;
    while (!written) {
      const now = table.now();
      const { entries } = table;
      if (!entries.find(cursor) && !entries.place(cursor, now, [], 0) && !entries.displace(cursor, [], 0)) {
        break;
      }
      const next: State = { a: now + durationUs, b: 1, c: 0 };
      // Before the entry: no worker searches for bans while this says that there are none.
      table.raiseBannedUntil(tickOf(next.a, now));
      cursor.use = PINNED;
      written = entries.write(cursor, next, now);
    }
    cursor.low ^= SALT ^ windowSalt;
    return written;
  }

  /** Remaining milliseconds of a ban of the charge's key; 0 when it is not banned. */
  leftMs({ cursor, windowSalt }: Charge): number {
    const table = this.#table;
    if (table.bannedUntilTick === 0) return 0;
    cursor.low ^= SALT ^ windowSalt;
    do table.entries.find(cursor); while (!table.entries.isCurrent(cursor));
    cursor.low ^= SALT ^ windowSalt;
    return Math.max(0, cursor.a - table.now()) / 1000;
  }

  /** Lifts a ban. */
  lift({ cursor, windowSalt }: Charge): void {
    cursor.low ^= SALT ^ windowSalt;
    erase(this.#table, cursor);
    cursor.low ^= SALT ^ windowSalt;
  }
}

/** Deletes the entry of a key. */
export function erase(table: SharedTable, cursor: Cursor): void {
  while (table.entries.find(cursor)) {
    if (table.entries.write(cursor, NOTHING, table.now())) return;
  }
}
