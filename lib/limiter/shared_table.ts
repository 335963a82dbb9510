/** Exact counts of a fixed number of keys, in memory shared by workers. */

import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import { CountMinSketch } from "./count_min_sketch.ts";
import { DisplacedKeys } from "./displaced_keys.ts";
import { EntryTable } from "./entry_table.ts";
import { WorkerPermits } from "./permits.ts";
import { GROUP, HEADER, MAGIC, MAX_KEYS, MAX_SKETCHES, ROWS, tableSize } from "./table_layout.ts";

/** Options of a {@linkcode SharedTable}. */
interface SharedTableOptions {
  clock: Clock;
  /** Seeds the fingerprints. Must be unpredictable, or clients could choose keys that share an entry. */
  random: Random;
  /** How many keys are counted exactly; a key counts once for each policy. @default {100_000} */
  maxKeys?: number;
  /** How many policies can count by estimate when the table is full; at most 128. @default {4} */
  sketches?: number;
  /** Allocates zeroed memory that other processes can map too. @default {a `SharedArrayBuffer`} */
  allocate?: (byteLength: number) => ArrayBufferLike;
  /** @internal The table whose seeds and time are copied, so that its counts can be taken over. */
  like?: SharedTable;
}

/** How full a table is. */
export interface MemoryUse {
  /** Keys counted now; an estimate for large tables. */
  readonly keys: number;
  /** Number of keys that the table is sized for. */
  readonly maxKeys: number;
}

/**
 * The counts of a limiter in a `SharedArrayBuffer` of fixed size. Any number of workers read and write them without
 * messages, see {@linkcode EntryTable}. A key without an entry displaces a key that has used less of its limit, see
 * {@linkcode DisplacedKeys}. If no entry can be displaced (held permits, bans), a sketch of the policy counts it by
 * estimate.
 */
export class SharedTable {
  /** The memory; post it to a Worker and call {@linkcode SharedTable.attach} there. */
  readonly buffer: ArrayBufferLike;
  /** How many keys are counted exactly. */
  readonly maxKeys: number;
  /** @internal Seed of the fingerprints. */
  readonly seedLow: number;
  /** @internal */
  readonly seedHigh: number;

  /** @internal The entries. */
  readonly entries: EntryTable;
  /** @internal Used shares of keys that lost their entries. */
  readonly displaced: DisplacedKeys;
  /** @internal Permits held by the requests of this worker. */
  readonly permits: WorkerPermits = new WorkerPermits(this);
  readonly #time: TableClock;
  readonly #words: Int32Array;
  readonly #groups: number;
  readonly #sketches: number;
  readonly #sketchCells: number;
  readonly #floats: Float64Array;
  /** The table that has taken over these counts. */
  #heir: SharedTable | null = null;

  private constructor(buffer: ArrayBufferLike, clock: Clock, offsetMs: number) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
    this.#time = new TableClock(this.#words, clock, offsetMs);
    this.maxKeys = this.#words[HEADER.maxKeys]!;
    this.seedLow = this.#words[HEADER.seedLow]!;
    this.seedHigh = this.#words[HEADER.seedHigh]!;
    this.#groups = this.#words[HEADER.groups]!;
    this.#sketches = this.#words[HEADER.sketches]!;
    this.#sketchCells = this.#words[HEADER.sketchCells]!;
    const displacedAt = HEADER.size + this.#groups * GROUP.size +
      this.#sketches * ROWS * 2 * this.#sketchCells;
    this.displaced = new DisplacedKeys(this.#words, displacedAt, this.#words[HEADER.displacedCells]!);
    this.#floats = new Float64Array(buffer);
    this.entries = new EntryTable(this.#words, this.#floats, this.#groups, this.displaced, this.#time);
  }

  /**
   * Makes an empty table.
   *
   * @throws {RangeError} when `maxKeys` or `sketches` is out of range
   */
  static create(options: SharedTableOptions): SharedTable {
    const { clock, random, maxKeys = 100_000, sketches = 4 } = options;
    if (!Number.isInteger(maxKeys) || maxKeys < 1 || maxKeys > MAX_KEYS) {
      throw new RangeError(
        `Cannot make a table: maxKeys is ${maxKeys}, expected a whole number from 1 to ${MAX_KEYS}`,
      );
    }
    if (!Number.isInteger(sketches) || sketches < 0 || sketches > MAX_SKETCHES) {
      throw new RangeError(
        `Cannot make a table: sketches is ${sketches}, expected a whole number from 0 to ${MAX_SKETCHES}`,
      );
    }
    const size = tableSize(maxKeys, sketches);
    const { allocate = (byteLength: number) => new SharedArrayBuffer(byteLength) } = options;
    const buffer = allocate(size.byteLength);
    const words = new Int32Array(buffer);
    words[HEADER.magic] = MAGIC;
    words[HEADER.maxKeys] = maxKeys;
    words[HEADER.groups] = size.groups;
    words[HEADER.sketches] = sketches;
    words[HEADER.sketchCells] = size.sketchCells;
    words[HEADER.displacedCells] = size.displacedCells;
    const { like } = options;
    words[HEADER.seedLow] = like?.seedLow ?? Math.floor(random() * 2 ** 32);
    words[HEADER.seedHigh] = like?.seedHigh ?? Math.floor(random() * 2 ** 32);
    const originMs = like === undefined ? clock.wallTime() : like.#floats[HEADER.originMs >> 1]!;
    new Float64Array(buffer)[HEADER.originMs >> 1] = originMs;
    return new SharedTable(buffer, clock, like === undefined ? -clock.now() : like.#time.offsetMs);
  }

  /** Maximum number of policies that count by estimate. */
  get sketches(): number {
    return this.#sketches;
  }

  /**
   * Names the table that will take over the counts, for workers that do not move the counts themselves. When they find
   * entries that have moved, they continue in that table. `null` cancels this.
   */
  follow(heir: SharedTable | null): void {
    this.entries.heir = heir === null ? null : heir.entries;
  }

  /**
   * Takes over the counts of another table and the permits that its requests hold. That table must have been passed as
   * `like` when this one was made. Other workers may go on counting there if they know this table, see
   * {@linkcode follow}. Estimated counts are not taken over.
   *
   * @param moves `false` if another process moves the counts
   */
  takeOver(other: SharedTable, moves = true): void {
    if (moves) {
      // A ban must be found when its entry has moved, and a ban added meanwhile is written to either table.
      this.raiseBannedUntil(other.bannedUntilTick);
      other.entries.move(this.entries);
      this.raiseBannedUntil(other.bannedUntilTick);
    }
    other.permits.moveTo(this.permits);
    other.#heir = this;
  }

  /** The table that counts now instead of this one. */
  get latest(): SharedTable {
    // deno-lint-ignore no-this-alias
    let table: SharedTable = this;
    while (table.#heir !== null) table = table.#heir;
    return table;
  }

  /**
   * Attaches to a table that another worker has made.
   *
   * @throws {TypeError} when the memory is not a table of this version
   */
  static attach(buffer: ArrayBufferLike, options: { clock: Clock }): SharedTable {
    if (buffer.byteLength < HEADER.size * 4 || new Int32Array(buffer)[HEADER.magic] !== MAGIC) {
      throw new TypeError("Cannot attach a table: the memory does not hold one of this version");
    }
    const { clock } = options;
    const originMs = new Float64Array(buffer)[HEADER.originMs >> 1]!;
    return new SharedTable(buffer, clock, Math.max(0, clock.wallTime() - originMs) - clock.now());
  }

  /** Size of the memory in bytes; constant. */
  get byteLength(): number {
    return this.buffer.byteLength;
  }

  /** How full the table is now. */
  get use(): MemoryUse {
    return { keys: this.entries.countUsed(this.now()), maxKeys: this.maxKeys };
  }

  /**
   * Microseconds since the table was made, the same for all workers within a millisecond.
   *
   * @param clockMs time of the clock, if it was already read
   */
  now(clockMs?: number): number {
    return this.#time.now(clockMs);
  }

  /**
   * The sketch of a policy, the same in every worker.
   *
   * @param salt salt of the policy, not 0
   * @throws {RangeError} when there are more policies than the table was made for
   */
  sketch(salt: number): CountMinSketch {
    const words = this.#words;
    for (let i = 0; i < this.#sketches; i++) {
      const entry = HEADER.directory + 2 * i;
      const owner = Atomics.compareExchange(words, entry, 0, salt);
      if (owner !== 0 && owner !== salt) continue;
      const size = ROWS * 2 * this.#sketchCells;
      const base = HEADER.size + this.#groups * GROUP.size + i * size;
      return new CountMinSketch(words, base, this.#sketchCells, entry + 1);
    }
    throw new RangeError(
      `Cannot count another policy: the table was made for ${this.#sketches} (option sketches)`,
    );
  }

  /** @internal Tick until which at least one key may be banned. */
  get bannedUntilTick(): number {
    return this.entries.words[HEADER.bannedUntil]!;
  }

  /** @internal Records that a key is banned until a tick. */
  raiseBannedUntil(tick: number): void {
    if (tick === 0) return;
    const { words } = this.entries;
    for (;;) {
      const until = Atomics.load(words, HEADER.bannedUntil);
      if (until !== 0 && ((until - tick) | 0) >= 0) return;
      if (Atomics.compareExchange(words, HEADER.bannedUntil, until, tick) === until) return;
    }
  }
}

// One time for all workers that share a table.

/** Minimum lag of the latest time in the table, in milliseconds, before a worker writes its own time. */
const BEACON_MS = 100;

/**
 * Microseconds since the table was made, the same for all workers within a millisecond.
 *
 * The monotonic clocks of workers start at different moments. A worker that attaches derives the table's time from the
 * wall clock, and a worker that is behind adopts the later time of the others. So a wall clock that was corrected
 * between the starts of two workers shifts the time once, but the workers still agree.
 */
class TableClock {
  readonly #words: Int32Array;
  readonly #clock: Clock;
  #offsetMs: number;

  /** @param offsetMs table time minus clock time, in milliseconds */
  constructor(words: Int32Array, clock: Clock, offsetMs: number) {
    this.#words = words;
    this.#clock = clock;
    this.#offsetMs = offsetMs;
  }

  /** Table time minus clock time, in milliseconds. */
  get offsetMs(): number {
    return this.#offsetMs;
  }

  /**
   * Whole microseconds.
   *
   * @param clockMs time of the clock, if it was already read
   */
  now(clockMs?: number): number {
    const us = Math.floor(((clockMs ?? this.#clock.now()) + this.#offsetMs) * 1000);
    const ms = Math.floor(us / 1000);
    const words = this.#words;
    const ahead = (words[HEADER.latestMs]! - ms) | 0;
    if (ahead > 0) {
      // The caller's time may be stale; only a clock that is behind is a reason to move on. A worker that moved on
      // because of a stale time would be ahead the next time and others would follow, so that time would run too fast
      // for all.
      if (clockMs !== undefined) return this.now();
      // Exactly to the millisecond that was written, which is never later than its writer's clock. If it were rounded
      // up, two workers would push each other forward for ever.
      const latest = (ms + ahead) * 1000;
      this.#offsetMs += (latest - us) / 1000;
      return latest;
    }
    if (ahead < -BEACON_MS) Atomics.store(words, HEADER.latestMs, ms | 0);
    return us;
  }
}
