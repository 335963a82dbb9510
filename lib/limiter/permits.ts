/** Permits of concurrency policies, from the admission of a request to its end. */

import { Cursor, releasePermits, retakePermits, type State } from "./algorithm.ts";
import type { CountedKey } from "./charge.ts";
import { chargeOverflow, type CountMinSketch, refundOverflow } from "./count_min_sketch.ts";
import type { EntryTable } from "./entry_table.ts";
import { PINNED } from "./table_layout.ts";

/** The table that counts permits. */
interface PermitTable {
  readonly entries: EntryTable;
  /** Time of the table in whole microseconds. */
  now(): number;
}

/** The permits that one request holds of one policy. */
export interface HeldPermits {
  readonly counted: CountedKey;
  /** `a` of the key's state right after the permits were last taken or renewed. */
  expiresAt: number;
  /** Time of that, in microseconds. */
  takenAt: number;
  /** The sketch that counts them because the table has no room. */
  sketch: CountMinSketch | null;
  /** Index in the list of all held permits. */
  index: number;
}

/**
 * The permits held by the requests of this worker.
 *
 * A permit that is not renewed is free after one to two windows, so the permits of a dead worker are not lost.
 * Therefore this worker renews its permits once per window, before it decides: a request holds its permits until it
 * ends.
 */
export class WorkerPermits {
  /** End of the first period in which permits have to be renewed, in microseconds. */
  #dueAt = Infinity;
  readonly #table: PermitTable;
  readonly #held: HeldPermits[] = [];
  /** The permits of the table that has taken over the counts. */
  #heir: WorkerPermits | null = null;

  /** Copy of the held permits for other processes; `null` if there are none. */
  #ledger: PermitLedger | null = null;

  constructor(table: PermitTable) {
    this.#table = table;
  }

  /** Records held permits in a ledger from now on. */
  keep(ledger: PermitLedger): void {
    this.#ledger = ledger;
    ledger.count = this.#held.length;
    for (const held of this.#held) this.#record(held);
  }

  #record(held: HeldPermits): void {
    if (this.#ledger === null) return;
    const { counted: { low, high, cost, windowUs }, expiresAt, sketch, index } = held;
    // Permits counted by estimate are not recorded; they are free after one to two windows.
    this.#ledger.set(index, { low, high, cost: sketch === null ? cost : 0, windowUs, expiresAt });
    this.#ledger.count = this.#held.length;
  }

  /** Releases the permits of a process that has ended. */
  giveBackAll(ledger: PermitLedger): void {
    for (const { low, high, cost, windowUs, expiresAt } of ledger.take()) {
      if (cost > 0) this.#release(low, high, cost, windowUs, expiresAt);
    }
  }

  /** Records the permits counted for a request. */
  hold(counted: CountedKey): HeldPermits {
    const { expiresAt, countedAt, sketch } = counted;
    const held: HeldPermits = { counted, expiresAt, takenAt: countedAt, sketch, index: this.#held.length };
    this.#held.push(held);
    this.#record(held);
    this.#dueAt = Math.min(this.#dueAt, periodEnd(held));
    return held;
  }

  /** Releases permits returned by {@linkcode hold}; call it once. */
  giveBack(held: HeldPermits): void {
    if (this.#heir !== null) return this.#heir.giveBack(held);
    const last = this.#held.pop()!;
    if (last !== held) {
      this.#held[held.index] = last;
      last.index = held.index;
      this.#record(last);
    }
    if (this.#ledger !== null) this.#ledger.count = this.#held.length;
    const { counted, sketch } = held;
    if (sketch !== null) {
      this.#refund(held, sketch);
      return;
    }
    this.#release(counted.low, counted.high, counted.cost, counted.windowUs, held.expiresAt);
  }

  #release(low: number, high: number, cost: number, windowUs: number, expiresAt: number): void {
    const cursor = cursorOf({ low, high });
    const next: State = { a: 0, b: 0, c: 0 };
    while (this.#table.entries.find(cursor)) {
      const now = this.#table.now();
      releasePermits(cursor, now, cost, windowUs, expiresAt, next);
      cursor.use = PINNED;
      if (this.#table.entries.write(cursor, next, now)) return;
    }
  }

  /** Moves held permits to another table that has taken over the counts. */
  moveTo(heir: WorkerPermits): void {
    for (const held of this.#held.splice(0)) {
      held.index = heir.#held.push(held) - 1;
      heir.#dueAt = Math.min(heir.#dueAt, periodEnd(held));
    }
    this.#dueAt = Infinity;
    this.#heir = heir;
    if (this.#ledger !== null) heir.keep(this.#ledger);
    this.#ledger = null;
  }

  /** Renews permits that were taken before the current period; call it before each decision about permits. */
  retake(): void {
    if (this.#dueAt === Infinity) return;
    const nowUs = this.#table.now();
    if (nowUs < this.#dueAt) return;
    this.#dueAt = Infinity;
    for (const held of this.#held) {
      if (periodEnd(held) <= nowUs) this.#retake(held);
      this.#dueAt = Math.min(this.#dueAt, periodEnd(held));
    }
  }

  #retake(held: HeldPermits): void {
    const { counted, sketch } = held;
    if (sketch !== null) {
      this.#refund(held, sketch);
      this.#charge(held, sketch);
      return;
    }
    const { entries } = this.#table;
    const { cost, windowUs } = counted;
    const cursor = cursorOf(counted);
    const next: State = { a: 0, b: 0, c: 0 };
    for (;;) {
      const found = entries.find(cursor);
      const now = this.#table.now();
      if (!found && !entries.place(cursor, now, [], 0) && !entries.displace(cursor, [], 0)) {
        this.#charge(held, counted.overflow);
        return;
      }
      retakePermits(cursor, now, cost, windowUs, held.expiresAt, next);
      cursor.use = PINNED;
      if (!entries.write(cursor, next, now)) continue;
      held.expiresAt = next.a;
      held.takenAt = now;
      this.#record(held);
      return;
    }
  }

  #charge(held: HeldPermits, sketch: CountMinSketch): void {
    const { counted } = held;
    held.sketch = sketch;
    held.takenAt = this.#table.now();
    this.#record(held);
    chargeOverflow(sketch, counted, "concurrency", held.takenAt, counted.cost, ruleOf(counted), true);
  }

  #refund({ counted, takenAt }: HeldPermits, sketch: CountMinSketch): void {
    refundOverflow(sketch, counted, "concurrency", takenAt, counted.cost, ruleOf(counted));
  }
}

/** End of the period in which permits were taken; they count for one more period. */
function periodEnd({ counted: { windowUs }, expiresAt, takenAt, sketch }: HeldPermits): number {
  return sketch === null ? expiresAt - windowUs : (Math.floor(takenAt / windowUs) + 1) * windowUs;
}

function cursorOf({ low, high }: Pick<CountedKey, "low" | "high">): Cursor {
  const cursor = new Cursor();
  cursor.low = low;
  cursor.high = high;
  return cursor;
}

function ruleOf({ limit, windowUs }: CountedKey) {
  return { limit, burst: 0, windowUs, penalize: false, bounded: false };
}

// The permits held by a worker, in memory where another process can release them after the worker has ended.

/** Maximum number of recorded permits. Those beyond it are free one to two windows after the worker has ended. */
const MAX_PERMITS = 4096;
const COUNT = 0;
const FIRST = 2;
const ENTRY_SIZE = 5;

/** Size of the ledger of one worker, in bytes. */
export const LEDGER_BYTES: number = (FIRST + MAX_PERMITS * ENTRY_SIZE) * 8;

/** Permits of one request: key, number, window, and the period in which they were counted. */
interface LedgerEntry {
  readonly low: number;
  readonly high: number;
  readonly cost: number;
  readonly windowUs: number;
  readonly expiresAt: number;
}

/** A list of held permits, written by one process and read by another after the first has ended. */
export class PermitLedger {
  readonly #numbers: Float64Array;

  /** @param process index of the process whose ledger it is, in memory shared by several */
  constructor(buffer: ArrayBufferLike, process = 0) {
    this.#numbers = new Float64Array(buffer, process * LEDGER_BYTES, LEDGER_BYTES / 8);
  }

  /** Sets the number of entries. */
  set count(count: number) {
    this.#numbers[COUNT] = count;
  }

  /** Writes an entry. */
  set(index: number, { low, high, cost, windowUs, expiresAt }: LedgerEntry): void {
    if (index >= MAX_PERMITS) return;
    const numbers = this.#numbers;
    const at = FIRST + index * ENTRY_SIZE;
    numbers[at] = low;
    numbers[at + 1] = high;
    numbers[at + 2] = cost;
    numbers[at + 3] = windowUs;
    numbers[at + 4] = expiresAt;
  }

  /** Removes and returns all entries. */
  take(): readonly LedgerEntry[] {
    const numbers = this.#numbers;
    const count = Math.min(MAX_PERMITS, numbers[COUNT]!);
    numbers[COUNT] = 0;
    return Array.from({ length: count }, (_, index) => {
      const at = FIRST + index * ENTRY_SIZE;
      const [low, high, cost, windowUs, expiresAt] = numbers.subarray(
        at,
        at + ENTRY_SIZE,
      ) as unknown as readonly [number, number, number, number, number];
      return { low, high, cost, windowUs, expiresAt };
    });
  }
}
