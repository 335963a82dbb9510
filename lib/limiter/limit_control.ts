/** What can be done with limits at run time: status of keys, bans, reset. */

import type { Duration } from "../core/units.ts";
import type { Cursor, State } from "./algorithm.ts";
import { type Charge, limitOf } from "./charge.ts";
import type { MemoryStore } from "./memory_store.ts";
import type { ResolvedPolicy } from "./policy.ts";
import type { SharedTable } from "./shared_table.ts";
import { PINNED, TICK_US, tickOf } from "./table_layout.ts";

/** The limits of a running proxy, for programs. */
export interface LimitControl {
  /** The policies, complete. */
  readonly policies: readonly ResolvedPolicy[];

  /**
   * What policies have counted for a key; those whose limit is a function are left out. Of a `store` that machines share
   * this is only what the instance has counted while the store did not reply.
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

// What policies would say, asked without counting.

/** What one policy says about a request, without counting it. */
export interface PolicyStatus {
  /** Whose status it is. */
  readonly policy: ResolvedPolicy;
  /** What it counts the request by. */
  readonly key: string;
  /** Its limit for this key; the capacity, for a token bucket. */
  readonly limit: number;
  /** How much it allows now. */
  readonly remaining: number;
  /** Milliseconds until it allows the whole limit again. */
  readonly resetMs: number;
  /** 0 when the request would be admitted. */
  readonly retryAfterMs: number;
}

/** Prepares a charge without a request; `false` when its numbers depend on one. */
export function setConstants(charge: Charge): boolean {
  const { policy: { limit, burst, cost }, rule } = charge;
  if (typeof limit === "function" || typeof burst === "function") return false;
  rule.limit = limit;
  rule.burst = burst ?? limit;
  charge.cost = typeof cost === "number" ? cost : 1;
  return true;
}

/** Asks for the status of each charge. */
export function statusOf(store: MemoryStore, charges: readonly Charge[]): PolicyStatus[] {
  store.peek(charges, charges.length);
  const waits = charges.map(({ verdict }) => verdict.admitted ? 0 : verdict.retryAfterUs / 1000);
  // A second look at no cost: what is left before the request and not after it.
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

// Keys that are refused for some time, whatever they have left.

/** Keeps the entry of a ban apart from the one that counts. A ban has nothing to do with the window, and outlives it. */
const SALT = 0x5bd1e995;
const NOTHING: Readonly<State> = Object.freeze({ a: 0, b: 0, c: 0 });

/** Bans in a `SharedTable`: an entry each, which says until when. */
export class BanList {
  readonly #table: SharedTable;

  constructor(table: SharedTable) {
    this.#table = table;
  }

  /** Whether any of the keys is banned; the verdict of its charge then says for how long. */
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

  /** Writes a ban down; `false` when there is no room for it. */
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
      // Before the entry: nobody looks for one while this says that there is none.
      table.raiseBannedUntil(tickOf(next.a, now));
      cursor.use = PINNED;
      written = entries.write(cursor, next, now);
    }
    cursor.low ^= SALT ^ windowSalt;
    return written;
  }

  /** For how many milliseconds the key of a charge is banned; 0 when it is not. */
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

/** Forgets what a table knows of a key. */
export function erase(table: SharedTable, cursor: Cursor): void {
  while (table.entries.find(cursor)) {
    if (table.entries.write(cursor, NOTHING, table.now())) return;
  }
}
