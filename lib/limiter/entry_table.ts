/** The entries of a table: search, placement and writes. */

import { Cursor, type State } from "./algorithm.ts";
import type { DisplacedKeys } from "./displaced_keys.ts";
import { awaitGroup, writeEntry } from "./group_lock.ts";
import {
  BUCKET,
  BUCKETS,
  ENTRY,
  GROUP,
  HEADER,
  MOVED,
  PINNED,
  TICK_US,
  tickOf,
  WAYS,
} from "./table_layout.ts";

/** An object with a cursor. Arrays of these are passed instead of arrays of cursors, to save the copy. */
interface CursorHolder {
  readonly cursor: Cursor;
}

/** A cursor, and the state to be written there. */
interface PendingWrite extends CursorHolder {
  readonly verdict: { readonly next: Readonly<State> };
  /** Whether there is a state to write; otherwise only the version is checked. */
  readonly writes: boolean;
}

/** Whole microseconds since the table was made. */
interface TableTime {
  now(): number;
}

/** Maximum number of groups read to estimate the number of used entries. */
const MAX_COUNTED_GROUPS = 1024;

/** With more free entries than this, a bucket is chosen without counting those of the second bucket. */
const SPARE = 3;

/**
 * A hash table of fixed size: a key belongs to one group of entries, and there to one of two buckets of eight.
 *
 * An entry holds the key's fingerprint, its expiry, and three numbers defined by the algorithm of its policy. Expired
 * entries become free within 66 ms. If none is free, a new key displaces the key that has used the least of its limit.
 * `group_lock.ts` describes how several workers change entries at once.
 */
export class EntryTable {
  /** The table that takes over the entries, or has taken them over; `null` if there is none. */
  heir: EntryTable | null = null;
  /** Number of moves to the memory of an heir. Entries found before a move must not be written after it. */
  moves = 0;
  #words: Int32Array;
  #floats: Float64Array;
  #groups: number;
  #displaced: DisplacedKeys;
  readonly #time: TableTime;
  /** The former table, while not all of its entries have been moved. */
  #former: EntryTable | null = null;
  readonly #order: number[] = [];

  /**
   * @param groups number of groups, which follow the header
   * @param displaced remembers the keys that lose their entries
   */
  constructor(
    words: Int32Array,
    floats: Float64Array,
    groups: number,
    displaced: DisplacedKeys,
    time: TableTime,
  ) {
    this.#time = time;
    this.#words = words;
    this.#floats = floats;
    this.#groups = groups;
    this.#displaced = displaced;
  }

  /** The memory with the current entries. */
  get words(): Int32Array {
    return this.#words;
  }

  /**
   * Finds and reads the entry of the cursor's key; `false` if there is none.
   *
   * A concurrent write may tear what is read; {@linkcode isCurrent} and {@linkcode write} detect that.
   */
  find(cursor: Cursor): boolean {
    const words = this.#words;
    const { low, high } = cursor;
    if (this.#former !== null) this.#moveGroupOf(high);
    const base = this.#groupOf(high);
    let version = Atomics.load(words, base);
    if ((version & 1) === 1) {
      version = awaitGroup(words, this.#floats, base, version);
      if ((version & 1) === 1) {
        this.#follow();
        return this.find(cursor);
      }
    }
    cursor.base = base;
    cursor.version = version;
    const first = low & (BUCKETS - 1);
    let slot = this.#findIn(base, first, low, high);
    if (slot < 0) slot = this.#findIn(base, secondBucket(low), low, high);
    cursor.slot = slot;
    cursor.displaces = false;
    if (slot < 0) {
      cursor.a = cursor.b = cursor.c = 0;
      return false;
    }
    const bucket = base + GROUP.buckets + (slot >>> 3) * BUCKET.size;
    const state = (bucket + BUCKET.entries + (slot & (WAYS - 1)) * ENTRY.size + ENTRY.state) >> 1;
    cursor.a = this.#floats[state]!;
    cursor.b = this.#floats[state + 1]!;
    cursor.c = this.#floats[state + 2]!;
    return true;
  }

  #groupOf(high: number): number {
    return HEADER.size + Math.floor((high >>> 0) * this.#groups / 2 ** 32) * GROUP.size;
  }

  #findIn(base: number, bucket: number, low: number, high: number): number {
    const words = this.#words;
    const tags = base + GROUP.buckets + bucket * BUCKET.size;
    // Entries before tags: their cache lines are known at once, so the processor fetches them together. Checking the
    // tags first would make it wait for memory twice (measured: 40 ns more, with 100,000 keys).
    for (let way = 0; way < WAYS; way++) {
      if (words[tags + BUCKET.entries + way * ENTRY.size] !== high) continue;
      if (words[tags + way] === low) return bucket * WAYS + way;
    }
    return -1;
  }

  /**
   * Chooses a free entry for a key without one; `false` if both of its buckets are full.
   *
   * @param holders charges of the same decision; the entries of the first `count` are not free
   */
  place(cursor: Cursor, nowUs: number, holders: readonly CursorHolder[], count: number): boolean {
    const nowTick = Math.floor(nowUs / TICK_US) | 0;
    const first = cursor.low & (BUCKETS - 1);
    const second = secondBucket(cursor.low);
    const free = this.#countFree(cursor.base, first, nowTick);
    // The first bucket while it has enough free entries: a key in it is found without reading the second one.
    const spare = free > SPARE || free >= this.#countFree(cursor.base, second, nowTick);
    const bucket = spare ? first : second;
    let slot = this.#freeIn(cursor.base, bucket, nowTick, holders, count);
    // Only if other keys of the same decision took the last entries of the emptier bucket.
    if (slot < 0) {
      slot = this.#freeIn(cursor.base, bucket === first ? second : first, nowTick, holders, count);
    }
    cursor.slot = slot;
    return slot >= 0;
  }

  /**
   * Chooses the entry of another key for a key without one, if none is free: in its two buckets, the key that has used
   * the least of its limit, and of several such keys the one that expires first. `false` if none can be displaced.
   *
   * So a client that invents keys displaces keys that have used as little, not keys that have used more. The other key
   * loses its entry when the cursor is written; its used share is remembered if there is room.
   *
   * @param holders charges of the same decision; the entries of the first `count` cannot be displaced
   */
  displace(cursor: Cursor, holders: readonly CursorHolder[], count: number): boolean {
    const words = this.#words;
    const { base, low, high } = cursor;
    const first = low & (BUCKETS - 1);
    const second = secondBucket(low);
    let least = PINNED;
    let soonest = 0;
    let chosen = -1;
    for (let i = 0; i < 2 * WAYS; i++) {
      // The start differs by key: otherwise new keys within one tick would displace each other.
      const way = (i + high) & (2 * WAYS - 1);
      const slot = (way < WAYS ? first : second) * WAYS + (way & (WAYS - 1));
      const use = words[entryAt(base, slot) + ENTRY.use]!;
      if (use > least || use === PINNED) continue;
      const tick = words[tickAt(base, slot)]!;
      if (use === least && ((tick - soonest) | 0) >= 0) continue;
      if (count > 1 && isTaken(base, slot, holders, count)) continue;
      least = use;
      soonest = tick;
      chosen = slot;
    }
    cursor.slot = chosen;
    cursor.displaces = chosen >= 0;
    return chosen >= 0;
  }

  /**
   * Runs before the entry is overwritten: another worker that searches for the displaced key must not take it for new.
   */
  #remember({ base, slot }: Cursor, nowUs: number): void {
    const words = this.#words;
    const entry = entryAt(base, slot);
    const tag = tickAt(base, slot) - BUCKET.ticks;
    this.#displaced.remember(
      words[tag]!,
      words[entry + ENTRY.check]!,
      words[entry + ENTRY.use]!,
      words[tag + BUCKET.ticks]!,
      Math.floor(nowUs / TICK_US) | 0,
    );
  }

  /** Number of used entries; for large tables an estimate from some of the groups. */
  countUsed(nowUs: number): number {
    const nowTick = Math.floor(nowUs / TICK_US) | 0;
    const sampled = Math.min(this.#groups, MAX_COUNTED_GROUPS);
    let used = 0;
    for (let i = 0; i < sampled; i++) {
      const base = HEADER.size + Math.floor(i * this.#groups / sampled) * GROUP.size;
      for (let bucket = 0; bucket < BUCKETS; bucket++) used += WAYS - this.#countFree(base, bucket, nowTick);
    }
    return Math.round(used * this.#groups / sampled);
  }

  /** Moves every entry that has not expired to the heir, which has the same seeds, while other workers count. */
  move(heir: EntryTable): void {
    this.heir = heir;
    for (let group = 0; group < this.#groups; group++) {
      this.#moveGroup(HEADER.size + group * GROUP.size, heir);
    }
    Atomics.store(this.#words, HEADER.moved, 1);
  }

  /** Continues in the memory of the heir. */
  #follow(): void {
    const { heir } = this;
    if (heir === null) throw new Error("Cannot count: another table has taken over, which is not known here");
    // The heir's entries may have moved too.
    if (heir.#words === this.#words) heir.#follow();
    this.#former = new EntryTable(this.#words, this.#floats, this.#groups, this.#displaced, this.#time);
    this.#words = heir.#words;
    this.#floats = heir.#floats;
    this.#groups = heir.#groups;
    this.#displaced = heir.#displaced;
    this.moves++;
  }

  /** Moves the entry of a key to this table before it is searched here. */
  #moveGroupOf(high: number): void {
    const former = this.#former!;
    // Prevents recursion while entries are written here.
    this.#former = null;
    if (Atomics.load(former.#words, HEADER.moved) === 1) return;
    former.#moveGroup(former.#groupOf(high), this);
    this.#former = former;
  }

  /**
   * Several workers may do this at once. When it returns, the entries have moved and no worker writes here any more.
   */
  #moveGroup(base: number, heir: EntryTable): void {
    const words = this.#words;
    for (;;) {
      let version = Atomics.load(words, base);
      if ((version & 1) === 1) version = awaitGroup(words, this.#floats, base, version);
      if ((version & 1) === 1) return;
      const locked = version + 1;
      if (Atomics.compareExchange(words, base, version, locked) !== version) continue;
      if (!this.#copyGroup(base, locked, heir)) continue;
      // Another odd version shows whether a worker took over the group meanwhile.
      const moved = (locked + 2) | 0;
      if (Atomics.compareExchange(words, base, locked, moved) !== locked) continue;
      Atomics.store(words, base + GROUP.pending, MOVED);
      return;
    }
  }

  /** @returns `false` if another worker took over the group because this one was too slow */
  #copyGroup(base: number, locked: number, heir: EntryTable): boolean {
    const words = this.#words;
    const nowUs = this.#time.now();
    const nowTick = Math.floor(nowUs / TICK_US) | 0;
    const cursor = new Cursor();
    const state: State = { a: 0, b: 0, c: 0 };
    for (let slot = 0; slot < BUCKETS * WAYS; slot++) {
      const tick = tickAt(base, slot);
      if (((words[tick]! - nowTick) | 0) <= 0) continue;
      const entry = entryAt(base, slot);
      const at = (entry + ENTRY.state) >> 1;
      cursor.low = words[tick - BUCKET.ticks]!;
      cursor.high = words[entry + ENTRY.check]!;
      state.a = this.#floats[at]!;
      state.b = this.#floats[at + 1]!;
      state.c = this.#floats[at + 2]!;
      cursor.use = words[entry + ENTRY.use]!;
      do {
        if (Atomics.load(words, base) !== locked) return false;
        if (!heir.find(cursor) && !heir.place(cursor, nowUs, [], 0) && !heir.displace(cursor, [], 0)) break;
      } while (!heir.write(cursor, state, nowUs));
    }
    return true;
  }

  #countFree(base: number, bucket: number, nowTick: number): number {
    const words = this.#words;
    const ticks = base + GROUP.buckets + bucket * BUCKET.size + BUCKET.ticks;
    let free = 0;
    for (let way = 0; way < WAYS; way++) {
      if (((words[ticks + way]! - nowTick) | 0) <= 0) free++;
    }
    return free;
  }

  #freeIn(
    base: number,
    bucket: number,
    nowTick: number,
    holders: readonly CursorHolder[],
    count: number,
  ): number {
    const words = this.#words;
    const ticks = base + GROUP.buckets + bucket * BUCKET.size + BUCKET.ticks;
    for (let way = 0; way < WAYS; way++) {
      if (((words[ticks + way]! - nowTick) | 0) > 0) continue;
      const slot = bucket * WAYS + way;
      if (count === 1 || !isTaken(base, slot, holders, count)) return slot;
    }
    return -1;
  }

  /** Whether the cursor's group is unchanged since {@linkcode find}. */
  isCurrent(cursor: Cursor): boolean {
    // A swap without a change instead of a load: reads of the entry must not be reordered after it (possible on ARM).
    return Atomics.compareExchange(this.#words, cursor.base, cursor.version, cursor.version) ===
      cursor.version;
  }

  /**
   * Writes the new state of one key, unless another worker has written to its group since {@linkcode find}.
   *
   * @returns whether it was written
   */
  write(cursor: Cursor, next: Readonly<State>, nowUs: number): boolean {
    const { version } = cursor;
    if (cursor.displaces) this.#remember(cursor, nowUs);
    return this.#writeEntry(cursor, next, nowUs, version, version + 1, (version + 2) | 0);
  }

  /**
   * Writes the new states of several keys, or none if another worker has written to one of their groups. Also returns
   * `false` if another worker took over a group meanwhile because this one was too slow.
   *
   * The version of a group is also raised for a key without an entry, since its decision relies on there being none.
   */
  writeAll(pending: readonly PendingWrite[], count: number, nowUs: number): boolean {
    const order = this.#order;
    this.#sortByGroup(pending, count);
    for (let i = 0; i < count; i++) {
      if (this.#lock(pending, i)) continue;
      for (let locked = 0; locked < i; locked++) this.#unlock(pending[order[locked]!]!.cursor);
      return false;
    }
    let held = true;
    for (let i = 0; i < count && held; i++) {
      const { cursor, verdict, writes } = pending[i]!;
      const locked = cursor.version + 1;
      if (!writes || cursor.slot < 0) continue;
      if (cursor.displaces) this.#remember(cursor, nowUs);
      // A group of a worker that the system did not run for long may be taken over. The decision then starts again: its
      // earlier writes count twice, which is better than admitting an uncounted request.
      held = this.#writeEntry(cursor, verdict.next, nowUs, locked, locked, locked);
    }
    for (let i = 0; i < count; i++) this.#unlock(pending[i]!.cursor);
    return held;
  }

  /** Sorts positions by group, ascending. An insertion sort, since there are only a few. */
  #sortByGroup(pending: readonly PendingWrite[], count: number): void {
    const order = this.#order;
    for (let i = 0; i < count; i++) {
      const { base } = pending[i]!.cursor;
      let at = i;
      for (; at > 0 && pending[order[at - 1]!]!.cursor.base > base; at--) order[at] = order[at - 1]!;
      order[at] = i;
    }
  }

  #lock(pending: readonly PendingWrite[], position: number): boolean {
    const order = this.#order;
    const { base, version } = pending[order[position]!]!.cursor;
    if (position > 0) {
      const before = pending[order[position - 1]!]!.cursor;
      if (before.base === base) return before.version === version;
    }
    return Atomics.compareExchange(this.#words, base, version, version + 1) === version;
  }

  /**
   * Ends a lock. With several cursors in one group the first call unlocks; no call does if the group was taken over.
   */
  #unlock({ base, version }: Cursor): void {
    Atomics.compareExchange(this.#words, base, version + 1, (version + 2) | 0);
  }

  #writeEntry(
    cursor: Cursor,
    next: Readonly<State>,
    nowUs: number,
    expected: number,
    locked: number,
    after: number,
  ): boolean {
    return writeEntry(
      this.#words,
      this.#floats,
      cursor.base,
      expected,
      locked,
      after,
      cursor.slot,
      cursor.low,
      tickOf(next.a, nowUs),
      cursor.high,
      cursor.use,
      next.a,
      next.b,
      next.c,
    );
  }
}

function entryAt(base: number, slot: number): number {
  return base + GROUP.buckets + (slot >>> 3) * BUCKET.size + BUCKET.entries +
    (slot & (WAYS - 1)) * ENTRY.size;
}

function tickAt(base: number, slot: number): number {
  return base + GROUP.buckets + (slot >>> 3) * BUCKET.size + BUCKET.ticks + (slot & (WAYS - 1));
}

/** The second bucket for a key; never equal to the first one. */
function secondBucket(low: number): number {
  return ((low & (BUCKETS - 1)) + 1 + ((low >>> 6) % (BUCKETS - 1))) & (BUCKETS - 1);
}

function isTaken(base: number, slot: number, holders: readonly CursorHolder[], count: number): boolean {
  for (let i = 0; i < count; i++) {
    const { cursor } = holders[i]!;
    if (cursor.slot === slot && cursor.base === base) return true;
  }
  return false;
}
