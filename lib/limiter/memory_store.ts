/** The interface of stores, and the memory store, which the workers of one machine share. */

import { Lease } from "../core/cancellation.ts";
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import {
  Cursor,
  fixedWindow,
  makeVerdict,
  MAX_AHEAD_US,
  type Rule,
  slidingWindow,
  type State,
} from "./algorithm.ts";
import type { BusyKeys } from "./busy_keys.ts";
import { type Charge, type CountedKey, countedKey, shareOf, useOf } from "./charge.ts";
import { chargeOverflow, estimateOverflow, refundOverflow, seedFromSketch } from "./count_min_sketch.ts";
import type { EntryTable } from "./entry_table.ts";
import type { HeldPermits } from "./permits.ts";
import type { ResolvedPolicy } from "./policy.ts";
import type { SharedTable } from "./shared_table.ts";
import { TICK_US } from "./table_layout.ts";

/** Whether a request is admitted; `"store-error"` if the store does not respond and the request must not pass. */
export type Admitted = boolean | "store-error";

/**
 * Decides about all policies of a request at once: all are checked, then all are charged.
 *
 * A store in this process decides synchronously. A store on the network returns a promise, and owns the charges until
 * the promise is settled.
 */
export interface LimiterStore {
  /** Whether {@linkcode admit} may return a promise. */
  readonly answersLater: boolean;

  /**
   * Fills in the verdicts of the first `count` charges, and counts the request if it is admitted.
   *
   * @param clockMs time of the clock, if it was already read
   * @returns whether every policy that is not on a dry run admits the request
   */
  admit(charges: readonly Charge[], count: number, clockMs?: number): Admitted | Promise<Admitted>;

  /** The permits that admitted charges took for concurrency policies, released once; `null` if there are none. */
  hold(charges: readonly Charge[], count: number): Lease | null;

  /** The record of an admitted charge, for {@linkcode correct}. */
  counted(charge: Charge): CountedKey;

  /**
   * Adds to the count of a key, regardless of the limit, or takes back a part of it.
   *
   * Callers do not wait for it. A store that cannot do it must report the failure.
   */
  correct(counted: CountedKey, delta: number): void;

  /** Deletes counts of a key outside the limiter's table. Callers do not wait for it. */
  reset?(policy: ResolvedPolicy, key: string): void;
}

// Options of a limiter.

/** Options of a {@linkcode RateLimiter} in addition to its policies. */
export interface RateLimiterOptions {
  clock: Clock;
  /** Seeds the table if the limiter makes one. */
  random: Random;
  /**
   * How many keys are counted exactly; a key counts once for each policy. Ignored with `table`.
   *
   * @default {the policies' `maxKeys` together}
   */
  maxKeys?: number;
  /** A table of counts shared with other workers; by default the limiter makes a new one. */
  table?: SharedTable;
  /**
   * Separates the counts from those of other limiters with the same table, for example the name of a route.
   *
   * @default {""}
   */
  scope?: string;
  /** Decides instead of the table, which then only has the bans. */
  store?: LimiterStore;
  /** Remembers the names of keys that use much of their limits; several limiters may share it. */
  busyKeys?: BusyKeys;
  /** Called when keys of a policy do not fit the table and displace others; at most once per window. */
  onOverflow?: (policy: ResolvedPolicy) => void;
}

// Counts in memory.

/**
 * Decides synchronously with a `SharedTable`.
 *
 * A decision reads the entries, computes its verdicts, and writes only if no worker has written to the same groups
 * since; otherwise it starts again. So it is one atomic step for all other workers, with any number of policies.
 */
export class MemoryStore implements LimiterStore {
  readonly table: SharedTable;
  readonly answersLater = false;
  readonly #entries: EntryTable;
  #decidedAt = 0;

  constructor(table: SharedTable) {
    this.table = table;
    this.#entries = table.entries;
  }

  admit(charges: readonly Charge[], count: number, clockMs?: number): boolean {
    const now = this.table.now(clockMs);
    for (;;) {
      const admitted = this.#evaluate(charges, count, now);
      this.#decidedAt = now;
      if (this.#settle(charges, count, admitted, now)) return admitted;
    }
  }

  hold(charges: readonly Charge[], count: number): Lease | null {
    const { permits } = this.table;
    const held: HeldPermits[] = [];
    for (let i = 0; i < count; i++) {
      const charge = charges[i]!;
      if (charge.policy.algorithm === "concurrency" && charge.verdict.admitted) {
        held.push(permits.hold(this.counted(charge)));
      }
    }
    if (held.length === 0) return null;
    return new Lease(() => {
      for (const each of held) permits.giveBack(each);
    });
  }

  counted(charge: Charge): CountedKey {
    return countedKey(charge, this.#decidedAt);
  }

  correct(counted: CountedKey, delta: number): void {
    correctCount(this.table.latest, counted, delta);
  }

  /** Fills in the verdicts without counting. */
  peek(charges: readonly Charge[], count: number): boolean {
    for (;;) {
      const admitted = this.#evaluate(charges, count, this.table.now());
      if (this.#isCurrent(charges, count)) return admitted;
    }
  }

  #evaluate(charges: readonly Charge[], count: number, now: number): boolean {
    const entries = this.#entries;
    const { moves } = entries;
    let missing = 0;
    for (let i = 0; i < count; i++) {
      const charge = charges[i]!;
      charge.overflowed = false;
      if (!entries.find(charge.cursor)) missing++;
    }
    // Entries found before the move are in another table.
    if (entries.moves !== moves) return this.#evaluate(charges, count, now);
    let admitted = true;
    for (let i = 0; i < count; i++) {
      const charge = charges[i]!;
      // Entries are chosen after all keys have been searched: a key must not take the expired entry of another key of
      // this decision.
      if (missing > 0 && charge.cursor.slot < 0) this.#place(charge, now, charges, count);
      const { verdict, cost, rule, cursor, policy } = charge;
      if (charge.overflowed) {
        estimateOverflow(charge.sketch, cursor, policy.algorithm, now, cost, rule, verdict);
      } else charge.algorithm(cursor, now, cost, rule, verdict);
      if (!verdict.admitted && !policy.dryRun) admitted = false;
    }
    return admitted;
  }

  #place(charge: Charge, now: number, charges: readonly Charge[], count: number): void {
    const { cursor, sketch } = charge;
    const { algorithm } = charge.policy;
    if (this.#entries.place(cursor, now, charges, count) || this.#entries.displace(cursor, charges, count)) {
      const tick = Math.floor(now / TICK_US) | 0;
      const seeded = !sketch.isActive(tick) || seedFromSketch(sketch, cursor, algorithm, now, charge.rule);
      if (seeded) {
        const { displaced } = this.table;
        if (displaced.isActive(tick)) displaced.seed(cursor, algorithm, now, charge.rule);
        return;
      }
      cursor.slot = -1;
      cursor.displaces = false;
    }
    charge.overflowed = true;
  }

  /** Writes the new states; `false` if another worker has written meanwhile. */
  #settle(charges: readonly Charge[], count: number, admitted: boolean, now: number): boolean {
    const entries = this.#entries;
    if (count === 1 && !charges[0]!.overflowed) {
      const { verdict, cursor, rule } = charges[0]!;
      if (!verdict.admitted && !rule.penalize && !verdict.corrects) return entries.isCurrent(cursor);
      cursor.use = useOf(charges[0]!);
      return entries.write(cursor, verdict.next, now);
    }
    let writes = 0;
    for (let i = 0; i < count; i++) {
      const charge = charges[i]!;
      const { verdict, rule } = charge;
      charge.writes = verdict.admitted ? admitted : rule.penalize || verdict.corrects;
      if (!charge.writes) continue;
      charge.cursor.use = useOf(charge);
      writes++;
    }
    if (writes === 0) return this.#isCurrent(charges, count);
    for (let i = 0; i < count; i++) {
      const charge = charges[i]!;
      if (!charge.overflowed || !charge.writes) continue;
      const { sketch, cursor, policy, cost, rule, verdict } = charge;
      if (chargeOverflow(sketch, cursor, policy.algorithm, now, cost, rule, !verdict.admitted)) continue;
      this.#refund(charges, i, now);
      return false;
    }
    if (entries.writeAll(charges, count, now)) return true;
    this.#refund(charges, count, now);
    return false;
  }

  #refund(charges: readonly Charge[], count: number, now: number): void {
    for (let i = 0; i < count; i++) {
      const { overflowed, writes, sketch, cursor, policy, cost, rule } = charges[i]!;
      if (overflowed && writes) refundOverflow(sketch, cursor, policy.algorithm, now, cost, rule);
    }
  }

  #isCurrent(charges: readonly Charge[], count: number): boolean {
    for (let i = 0; i < count; i++) {
      if (!this.#entries.isCurrent(charges[i]!.cursor)) return false;
    }
    return true;
  }
}

// Corrections of counts when a request has ended.

/**
 * Adds to the count of a key, regardless of the limit, or takes back a part of it.
 *
 * An addition counts now. A refund applies where the request was counted, and never exceeds what still counts there: a
 * late correction must not make room for other requests. After this, another key may displace the entry.
 *
 * @param delta a negative delta takes back at most the cost
 */
function correctCount(table: SharedTable, counted: CountedKey, delta: number): void {
  if (counted.sketch !== null) {
    if (delta !== 0) correctOverflow(table, counted, delta);
    return;
  }
  const cursor = new Cursor();
  cursor.low = counted.low;
  cursor.high = counted.high;
  const next: State = { a: 0, b: 0, c: 0 };
  for (;;) {
    const found = table.entries.find(cursor);
    const now = table.now();
    if (!found) {
      if (delta <= 0) return;
      // Another key has displaced the entry. The key starts anew, or with its remembered share.
      if (!table.entries.place(cursor, now, [], 0) && !table.entries.displace(cursor, [], 0)) return;
      table.displaced.seed(cursor, counted.policy.algorithm, now, ruleOf(counted));
    }
    if (delta > 0) addTo(cursor, now, delta, counted, next);
    else takeFrom(cursor, now, -delta, counted, next);
    cursor.use = usedAfter(next, counted);
    if (table.entries.write(cursor, next, now)) return;
  }
}

function correctOverflow(table: SharedTable, counted: CountedKey, delta: number): void {
  const { sketch, policy: { algorithm }, countedAt, cost } = counted;
  const rule = ruleOf(counted);
  if (delta < 0) refundOverflow(sketch!, counted, algorithm, countedAt, cost, rule, -delta);
  else chargeOverflow(sketch!, counted, algorithm, table.now(), delta, rule, true);
}

function ruleOf({ limit, burst, windowUs }: CountedKey): Rule {
  return { limit, burst, windowUs, penalize: false, bounded: false };
}

/** Used share of the limit, as stored in the entry. */
function usedAfter(
  { b, c }: Readonly<State>,
  { policy: { algorithm }, limit, burst, windowUs }: CountedKey,
): number {
  if (algorithm === "token-bucket") return shareOf(b / windowUs, burst);
  return shareOf(algorithm === "sliding-window" ? b + c : b, limit);
}

/** Adds to a state, possibly beyond the limit. */
function addTo(state: Readonly<State>, now: number, amount: number, counted: CountedKey, into: State): void {
  const { policy: { algorithm }, limit, burst, windowUs } = counted;
  if (algorithm === "token-bucket") {
    // Not the penalty of the algorithm, which is bounded: a charge must be paid in full.
    fillBucket(state, now, amount * windowUs, limit, into);
    return;
  }
  const decide = algorithm === "sliding-window" ? slidingWindow : fixedWindow;
  const verdict = makeVerdict();
  decide(state, now, amount, { limit, burst, windowUs, penalize: true, bounded: false }, verdict);
  into.a = verdict.next.a;
  into.b = verdict.next.b;
  into.c = verdict.next.c;
}

/** Subtracts from a state; leaves it unchanged if nothing of the counted amount is left. */
function takeFrom(
  state: Readonly<State>,
  now: number,
  amount: number,
  counted: CountedKey,
  into: State,
): void {
  const { policy: { algorithm }, expiresAt, windowUs, limit, countedAt } = counted;
  into.a = state.a;
  into.b = state.b;
  into.c = state.c;
  switch (algorithm) {
    case "fixed-window":
      if (state.a === expiresAt) into.b = Math.max(0, state.b - amount);
      return;
    case "sliding-window":
      if (state.a === expiresAt) into.c = Math.max(0, state.c - amount);
      else if (state.a === expiresAt + windowUs) into.b = Math.max(0, state.b - amount);
      return;
    case "token-bucket": {
      const left = amount * windowUs - Math.max(0, now - countedAt) * limit;
      if (left > 0) fillBucket(state, now, -left, limit, into);
      return;
    }
    case "concurrency":
      return;
  }
}

/** Advances a bucket to `now` and adds to its used part, or subtracts from it. */
function fillBucket(state: Readonly<State>, now: number, amount: number, limit: number, into: State): void {
  const wasAhead = state.c > now + MAX_AHEAD_US;
  const at = wasAhead ? now : Math.max(now, state.c);
  const left = wasAhead ? state.b : Math.max(0, state.b - (at - state.c) * limit);
  const used = Math.max(0, left + amount);
  into.a = used === 0 ? at : at + Math.ceil(used / limit);
  into.b = used;
  into.c = at;
}
