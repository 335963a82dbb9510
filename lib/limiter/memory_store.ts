/** Where counts are kept: the interface of stores, and the store in memory that the workers of one machine share. */

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

/** Whether a request is admitted; `"store-error"` when the store cannot say and is not to let it pass. */
export type Admitted = boolean | "store-error";

/**
 * Decides about all policies of a request at once: all are checked, then all are charged.
 *
 * A store in this process decides at once. One behind a network returns a promise; it gets charges that nobody
 * else uses until that is settled.
 */
export interface LimiterStore {
  /** Whether {@linkcode admit} may return a promise. */
  readonly answersLater: boolean;

  /**
   * Fills in the verdicts of the first `count` charges and counts the request when it is admitted.
   *
   * @param clockMs the time of the clock, if it was read already
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

/** What a {@linkcode RateLimiter} takes in addition to its policies. */
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

// Counts in memory.

/**
 * Decides in a `SharedTable`, at once.
 *
 * A decision reads what it needs, works out its verdicts, and writes only if nobody has written to the same groups
 * since; else it begins anew. That makes it one step for all other workers, whatever number of policies it has.
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

  /** Fills in the verdicts and counts nothing. */
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
    // What was found before that is of another table.
    if (entries.moves !== moves) return this.#evaluate(charges, count, now);
    let admitted = true;
    for (let i = 0; i < count; i++) {
      const charge = charges[i]!;
      // Places are chosen once all keys are looked up: none may take the expired entry of another one.
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

  /** Writes what the verdicts come to; `false` when somebody else has written meanwhile. */
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

// Counts that change once more when a request is over.

/**
 * Counts more for a key, limit or not, or takes back some of what was counted.
 *
 * More is counted now. What is taken back is taken from where it was counted, and never more than still counts there:
 * a correction that comes late must not make room for other requests. Other keys may have the entry from here on.
 *
 * @param delta at most the cost is taken back
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
      // Its entry is another key's now. It begins anew, or with what is remembered of it.
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

/** How much of its limit a key has used, as its entry says. */
function usedAfter(
  { b, c }: Readonly<State>,
  { policy: { algorithm }, limit, burst, windowUs }: CountedKey,
): number {
  if (algorithm === "token-bucket") return shareOf(b / windowUs, burst);
  return shareOf(algorithm === "sliding-window" ? b + c : b, limit);
}

/** The state with more in it, which may be more than the limit. */
function addTo(state: Readonly<State>, now: number, amount: number, counted: CountedKey, into: State): void {
  const { policy: { algorithm }, limit, burst, windowUs } = counted;
  if (algorithm === "token-bucket") {
    // Not the algorithm's penalty, which has an upper bound: who has had it pays all of it back.
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

/** The state with less in it, or as it is when nothing of what was counted is left there. */
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

/** A bucket at a later moment, with more used up in it, or less. */
function fillBucket(state: Readonly<State>, now: number, amount: number, limit: number, into: State): void {
  const wasAhead = state.c > now + MAX_AHEAD_US;
  const at = wasAhead ? now : Math.max(now, state.c);
  const left = wasAhead ? state.b : Math.max(0, state.b - (at - state.c) * limit);
  const used = Math.max(0, left + amount);
  into.a = used === 0 ? at : at + Math.ceil(used / limit);
  into.b = used;
  into.c = at;
}
