/**
 * How workers change a group of entries without waiting for a dead worker.
 *
 * Each group has a version: even when idle, odd while a worker writes. A decision
 *
 * 1. reads the version and then the entries it needs, without a lock, and computes what to write;
 * 2. swaps the version it has read for the odd one after it. If another worker has written since, the swap fails and
 *    the decision starts again. So each write is based on the current entries, and no two workers spend the same
 *    remainder;
 * 3. writes the change to the group's journal, sets `pending`, writes the entry, clears `pending`;
 * 4. makes the version even again, two above the initial one.
 *
 * A decision about several groups (several policies) swaps the versions of all of them in ascending order before it
 * writes anything, and releases them when one swap fails: all are checked, then all are charged. Because of the order,
 * and because no worker waits while it holds a lock, deadlocks are impossible.
 *
 * A terminated worker stops where V8 checks for interrupts: at loops and function calls. For a single group there are
 * none between the swap and the even version, so in practice a worker cannot stop there. V8 does not guarantee this, so
 * nothing depends on it: a worker that finds the same odd version for `PATIENCE` waits of a millisecond takes over the
 * group, replays the journal if `pending` says that it is complete (replaying twice is harmless), and continues. A
 * worker that died before that point has written nothing; one that died after it has made its decision. If a worker
 * dies between two groups, that one decision charges some of the policies and not the others.
 *
 * When another table takes over the counts, the entries of a group are copied while it is locked. The group then stays
 * locked, with `MOVED` in `pending`, and other workers continue in the other table. So each count is in exactly one of
 * the two tables at any moment.
 *
 * Waits are counted, not timed: a process that was stopped as a whole must not take over its own locks when it
 * continues. A live worker that the system does not run for a hundred waits of others, just in these few nanoseconds,
 * would lose its group. It then repeats a write that it or its successor has already made, and undoes at worst one
 * later decision about the same key.
 */

import { BUCKET, ENTRY, GROUP, MOVED, WAYS } from "./table_layout.ts";

const SPINS = 200;
const PATIENCE = 100;

/** Never notified: waiting for memory of several processes is not possible. */
const PAUSE = new Int32Array(new SharedArrayBuffer(4));

/**
 * Waits until a group is idle and returns its version, or an odd version if its entries moved to another table.
 *
 * @param version the odd version that was found
 */
export function awaitGroup(words: Int32Array, floats: Float64Array, base: number, version: number): number {
  let found = version;
  let spins = 0;
  let waits = 0;
  while ((found & 1) === 1) {
    if (Atomics.load(words, base + GROUP.pending) === MOVED) return found;
    if (spins < SPINS) {
      spins++;
    } else {
      // Never notified: the writer finishes in nanoseconds unless the system has stopped it, and then it needs the
      // processor.
      Atomics.wait(PAUSE, 0, 0, 1);
      if (++waits >= PATIENCE) takeOver(words, floats, base, found);
    }
    const next = Atomics.load(words, base);
    if (next !== found) spins = waits = 0;
    found = next;
  }
  return found;
}

/** Finishes the write of the owner of an odd version; does nothing if the owner has continued meanwhile. */
export function takeOver(words: Int32Array, floats: Float64Array, base: number, version: number): void {
  const mine = (version + 2) | 0;
  if (Atomics.compareExchange(words, base, version, mine) !== version) return;
  if (Atomics.load(words, base + GROUP.pending) === 1) replay(words, floats, base);
  Atomics.store(words, base, (mine + 1) | 0);
}

function replay(words: Int32Array, floats: Float64Array, base: number): void {
  const slot = words[base + GROUP.slot]!;
  const bucket = base + GROUP.buckets + (slot >>> 3) * BUCKET.size;
  const tagAt = bucket + (slot & (WAYS - 1));
  const entry = bucket + BUCKET.entries + (slot & (WAYS - 1)) * ENTRY.size;
  const from = (base + GROUP.state) >> 1;
  const to = (entry + ENTRY.state) >> 1;
  words[tagAt] = words[base + GROUP.tag]!;
  words[tagAt + BUCKET.ticks] = words[base + GROUP.tick]!;
  words[entry] = words[base + GROUP.check]!;
  words[entry + ENTRY.use] = words[base + GROUP.use]!;
  floats[to] = floats[from]!;
  floats[to + 1] = floats[from + 1]!;
  floats[to + 2] = floats[from + 2]!;
  Atomics.store(words, base + GROUP.pending, 0);
}

/**
 * Writes one entry: swaps `expected` for the odd `locked`, writes journal and entry, and sets the group's version to
 * `after`.
 *
 * With several entries to write, `expected` is the version of the lock, and `after` is odd except for the last entry.
 * This function must contain no loop and no function call, see above.
 *
 * @returns whether the group was at `expected`; otherwise nothing is written
 */
export function writeEntry(
  words: Int32Array,
  floats: Float64Array,
  base: number,
  expected: number,
  locked: number,
  after: number,
  slot: number,
  tag: number,
  tick: number,
  check: number,
  use: number,
  a: number,
  b: number,
  c: number,
): boolean {
  const bucket = base + GROUP.buckets + (slot >>> 3) * BUCKET.size;
  const tagAt = bucket + (slot & (WAYS - 1));
  const entry = bucket + BUCKET.entries + (slot & (WAYS - 1)) * ENTRY.size;
  const journal = (base + GROUP.state) >> 1;
  const state = (entry + ENTRY.state) >> 1;
  if (Atomics.compareExchange(words, base, expected, locked) !== expected) return false;
  words[base + GROUP.slot] = slot;
  words[base + GROUP.tag] = tag;
  words[base + GROUP.tick] = tick;
  words[base + GROUP.check] = check;
  words[base + GROUP.use] = use;
  floats[journal] = a;
  floats[journal + 1] = b;
  floats[journal + 2] = c;
  // Not atomic, which would cost 14 ns. Another worker replays this only long after the writer has gone, and then sees
  // all its writes. V8 keeps the order of stores to typed arrays and drops none that another overwrites.
  words[base + GROUP.pending] = 1;
  words[tagAt] = tag;
  words[tagAt + BUCKET.ticks] = tick;
  words[entry] = check;
  words[entry + ENTRY.use] = use;
  floats[state] = a;
  floats[state + 1] = b;
  floats[state + 2] = c;
  words[base + GROUP.pending] = 0;
  Atomics.store(words, base, after);
  return true;
}
