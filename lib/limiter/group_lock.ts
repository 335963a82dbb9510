/**
 * How workers change a group of entries without ever waiting for a dead one.
 *
 * Each group has a version: even when it is at rest, odd while somebody writes. A decision
 *
 * 1. reads the version and then the entries it needs, with nothing locked, and works out what to write;
 * 2. swaps the version it has read for the odd one after it. If anybody has written since, that fails and the decision
 *    begins anew; so what is written always follows from what is there, and no two workers spend the same remainder;
 * 3. writes what is to be written into the group's journal, sets `pending`, writes the entry, clears `pending`;
 * 4. makes the version even again, two above the one it began with.
 *
 * A decision that takes several groups (several policies) swaps the versions of all of them in ascending order before
 * it writes anything, and gives those back that it has when one fails: all are checked, then all are charged.
 * Ordered, and never waited for while one is held, they cannot deadlock.
 *
 * A worker that is terminated stops where V8 looks for interrupts: at loops and at calls of functions. Between the
 * swap and the even version there are neither for a single group, so in practice it cannot stop there at all. That is
 * V8's affair and not a promise, so nothing depends on it: whoever finds the same odd version for `PATIENCE` waits of a
 * millisecond takes the group over, replays the journal if `pending` says that it is complete (which can be done any
 * number of times), and goes on. A worker that died before that point has written nothing, one that died after it has
 * made its decision. Dying between two groups charges some of the policies and not the others for that one decision.
 *
 * When another table takes over the counts, the entries of a group are copied while it is locked, and it stays so, with
 * `pending` saying why. Whoever finds that goes on in the other table: each count is in one of the two at any moment.
 *
 * Waits are counted and not timed, since a process that was stopped as a whole must not take its own locks over when it
 * goes on. A live worker that the system does not run for a hundred waits of others, just in these few nanoseconds,
 * would lose its group; it then writes what it or its successor has written already, and undoes at worst one later
 * decision about the same key.
 */

import { BUCKET, ENTRY, GROUP, MOVED, WAYS } from "./table_layout.ts";

const SPINS = 200;
const PATIENCE = 100;

/** Never notified: memory of several processes cannot be waited for. */
const PAUSE = new Int32Array(new SharedArrayBuffer(4));

/**
 * Waits until a group is at rest and returns its version, or an odd one when another table has its entries.
 *
 * @param version the odd one that was found
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
      // Nobody notifies: the writer is done in nanoseconds unless the system has stopped it, and then it needs the processor.
      Atomics.wait(PAUSE, 0, 0, 1);
      if (++waits >= PATIENCE) takeOver(words, floats, base, found);
    }
    const next = Atomics.load(words, base);
    if (next !== found) spins = waits = 0;
    found = next;
  }
  return found;
}

/** Finishes what the owner of an odd version began; does nothing when it has gone on meanwhile. */
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
 * Writes one entry: the swap from `expected` to the odd `locked`, journal, entry, and `after` as the group's version.
 *
 * With several entries to write, `expected` is what the group was locked with before, and `after` is odd but for the
 * last one. No loop and no call of a function in here, and none to be added: see above.
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
  // Not atomic, which would cost 14 ns: whoever replays this does so when the writer has been gone for long, and finds
  // all that it wrote. V8 keeps stores to typed arrays in their order, and drops none that another overwrites.
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
