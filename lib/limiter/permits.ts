/** Permits of concurrency policies, from the admission of a request to its end. */

import { Cursor, releasePermits, retakePermits, type State } from "./algorithm.ts";
import type { CountedKey } from "./charge.ts";
import { chargeOverflow, type CountMinSketch, refundOverflow } from "./count_min_sketch.ts";
import type { EntryTable } from "./entry_table.ts";
import { PINNED } from "./table_layout.ts";

/** Where permits are counted. */
interface PermitTable {
  readonly entries: EntryTable;
  /** Whole microseconds. */
  now(): number;
}

/** The permits that one request holds of one policy. */
export interface HeldPermits {
  readonly counted: CountedKey;
  /** `a` of the key's state right after they were taken, or taken again. */
  expiresAt: number;
  /** When that was. */
  takenAt: number;
  /** Where they are counted when the table has no room. */
  sketch: CountMinSketch | null;
  /** Position in the list of all. */
  index: number;
}

/**
 * What the requests of this worker hold.
 *
 * A permit that nobody speaks of is free after a window or two, so that the permits of a worker that died are not lost. So
 * this worker takes its own again before it decides, once a window: a request holds its permits for as long as it runs.
 */
export class WorkerPermits {
  /** When the first period ends in which something was taken, in microseconds. */
  #dueAt = Infinity;
  readonly #table: PermitTable;
  readonly #held: HeldPermits[] = [];
  /** Those of the table that has taken over the counts. */
  #heir: WorkerPermits | null = null;

  /** Where it is written down for other processes; `null` when there are none. */
  #ledger: PermitLedger | null = null;

  constructor(table: PermitTable) {
    this.#table = table;
  }

  /** Writes down from now on what is held. */
  keep(ledger: PermitLedger): void {
    this.#ledger = ledger;
    ledger.count = this.#held.length;
    for (const held of this.#held) this.#note(held);
  }

  #note(held: HeldPermits): void {
    if (this.#ledger === null) return;
    const { counted: { low, high, cost, windowUs }, expiresAt, sketch, index } = held;
    // What the table had no room for is free after a window or two.
    this.#ledger.set(index, { low, high, cost: sketch === null ? cost : 0, windowUs, expiresAt });
    this.#ledger.count = this.#held.length;
  }

  /** Gives back what a process held that has ended. */
  giveBackAll(ledger: PermitLedger): void {
    for (const { low, high, cost, windowUs, expiresAt } of ledger.take()) {
      if (cost > 0) this.#release(low, high, cost, windowUs, expiresAt);
    }
  }

  /** Takes into account what was counted for a request. */
  hold(counted: CountedKey): HeldPermits {
    const { expiresAt, countedAt, sketch } = counted;
    const held: HeldPermits = { counted, expiresAt, takenAt: countedAt, sketch, index: this.#held.length };
    this.#held.push(held);
    this.#note(held);
    this.#dueAt = Math.min(this.#dueAt, periodEnd(held));
    return held;
  }

  /** Gives back what {@linkcode hold} returned; to be called once. */
  giveBack(held: HeldPermits): void {
    if (this.#heir !== null) return this.#heir.giveBack(held);
    const last = this.#held.pop()!;
    if (last !== held) {
      this.#held[held.index] = last;
      last.index = held.index;
      this.#note(last);
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

  /** Moves the permits that are held to another table, to which the counts were copied. */
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

  /** Takes again what is held since before the period that runs; to be called before anything is decided about permits. */
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
      this.#note(held);
      return;
    }
  }

  #charge(held: HeldPermits, sketch: CountMinSketch): void {
    const { counted } = held;
    held.sketch = sketch;
    held.takenAt = this.#table.now();
    this.#note(held);
    chargeOverflow(sketch, counted, "concurrency", held.takenAt, counted.cost, ruleOf(counted), true);
  }

  #refund({ counted, takenAt }: HeldPermits, sketch: CountMinSketch): void {
    refundOverflow(sketch, counted, "concurrency", takenAt, counted.cost, ruleOf(counted));
  }
}

/** When the period is over in which permits were taken; they are counted for one more. */
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

// What a worker holds of concurrency policies, in memory where it can be given back when the worker has ended.

/** Most permits that are written down; what a worker holds beyond them is free after a window or two. */
const MAX_PERMITS = 4096;
const COUNT = 0;
const FIRST = 2;
const ENTRY_SIZE = 5;

/** Bytes of the ledger of one worker. */
export const LEDGER_BYTES: number = (FIRST + MAX_PERMITS * ENTRY_SIZE) * 8;

/** Permits that are held: of which key, how many, for how long, and by when they were counted. */
interface LedgerEntry {
  readonly low: number;
  readonly high: number;
  readonly cost: number;
  readonly windowUs: number;
  readonly expiresAt: number;
}

/** A list of what is held, which one process writes and another reads when that one has ended. */
export class PermitLedger {
  readonly #numbers: Float64Array;

  /** @param process whose ledger it is, in memory of several */
  constructor(buffer: ArrayBufferLike, process = 0) {
    this.#numbers = new Float64Array(buffer, process * LEDGER_BYTES, LEDGER_BYTES / 8);
  }

  /** How many entries there are. */
  set count(count: number) {
    this.#numbers[COUNT] = count;
  }

  /** Writes one down. */
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

  /** Takes all entries off. */
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
