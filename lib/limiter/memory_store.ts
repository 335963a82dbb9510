/** Counts in the memory that the workers of one machine share. */

import { Lease } from "../core/cancellation.ts";
import { type Charge, type CountedKey, countedKey, useOf } from "./charge.ts";
import { correctCount } from "./correction.ts";
import type { EntryTable } from "./entry_table.ts";
import type { HeldPermits } from "./permits.ts";
import type { LimiterStore } from "./limiter_store.ts";
import { chargeOverflow, estimateOverflow, refundOverflow, seedFromSketch } from "./overflow.ts";
import type { SharedTable } from "./shared_table.ts";
import { TICK_US } from "./table_layout.ts";

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
    let missing = 0;
    for (let i = 0; i < count; i++) {
      const charge = charges[i]!;
      charge.overflowed = false;
      if (!entries.find(charge.cursor)) missing++;
    }
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
