import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Cursor } from "../../../lib/limiter/algorithm.ts";
import { DisplacedKeys } from "../../../lib/limiter/displaced_keys.ts";
import { EntryTable } from "../../../lib/limiter/entry_table.ts";
import { takeOver } from "../../../lib/limiter/group_lock.ts";
import { BUCKETS, DISPLACED_ROWS, GROUP, HEADER, PINNED, WAYS } from "../../../lib/limiter/table_layout.ts";
import { seededRandom } from "../../../lib/core/random.ts";
import { SEED } from "./arrivals.ts";

const DISPLACED_CELLS = 64;

function makeEntries(groups: number): EntryTable {
  const words = new Int32Array(
    new SharedArrayBuffer((HEADER.size + groups * GROUP.size + 2 * DISPLACED_ROWS * DISPLACED_CELLS) * 4),
  );
  return entriesIn(words, groups);
}

function entriesIn(words: Int32Array, groups: number): EntryTable {
  const displaced = new DisplacedKeys(words, HEADER.size + groups * GROUP.size, DISPLACED_CELLS);
  return new EntryTable(words, new Float64Array(words.buffer), groups, displaced, { now: () => 0 });
}

function cursorFor(low: number, high: number): Cursor {
  const cursor = new Cursor();
  cursor.low = low;
  cursor.high = high;
  return cursor;
}

/** Writes as the store does; `false` when there is no room. */
function put(entries: EntryTable, cursor: Cursor, value: number, until: number, now: number): boolean {
  if (!entries.find(cursor) && !entries.place(cursor, now, [], 0)) return false;
  assert(entries.write(cursor, { a: until, b: value, c: -value }, now));
  return true;
}

Deno.test("EntryTable keeps what a Map keeps, for keys that crowd the same buckets", () => {
  // Few halves, so that keys share buckets and tags.
  const half = fc.constantFrom(0, 1, 64, 65, -1, -(2 ** 31), 2 ** 31 - 1);
  const write = fc.record({ low: half, high: half, value: fc.integer() });
  fc.assert(
    fc.property(fc.array(write, { maxLength: 60 }), (writes) => {
      const entries = makeEntries(3);
      const model = new Map<string, number>();
      for (const { low, high, value } of writes) {
        if (put(entries, cursorFor(low, high), value, 1e9, 1)) model.set(`${low},${high}`, value);
        for (const [key, expected] of model) {
          const [l, h] = key.split(",").map(Number);
          const cursor = cursorFor(l!, h!);
          assertEquals([entries.find(cursor), cursor.a, cursor.b, cursor.c], [
            true,
            1e9,
            expected,
            -expected,
          ]);
        }
      }
    }),
    SEED,
  );
});

Deno.test("EntryTable has room for as many keys as it is meant for", () => {
  const groups = 20;
  const keysPerGroup = 288;
  const entries = makeEntries(groups);
  const random = seededRandom(3);
  const bits = (): number => Math.floor(random() * 2 ** 32) | 0;
  for (let i = 0; i < groups * keysPerGroup; i++) {
    assert(put(entries, cursorFor(bits(), bits()), i, 1e9, 1));
  }
});

Deno.test("EntryTable says so when there is no room, and has room again when entries have expired", () => {
  const entries = makeEntries(1);
  const random = seededRandom(4);
  const bits = (): number => Math.floor(random() * 2 ** 32) | 0;
  let written = 0;
  for (let i = 0; i < 20 * BUCKETS * WAYS; i++) {
    if (put(entries, cursorFor(bits(), bits()), i, 1_000_000, 1)) written++;
  }
  assertEquals(written, BUCKETS * WAYS);
  assertEquals(put(entries, cursorFor(bits(), bits()), 1, 2_000_000, 999_999), false);
  // Within a tick of 65,536 us.
  assertEquals(put(entries, cursorFor(bits(), bits()), 1, 2_000_000, 1_070_000), true);
});

Deno.test("EntryTable.displace() chooses the key that has used least, of these the one that expires first, and no pinned one", () => {
  const entries = makeEntries(1);
  const low = 64 * 63;
  const uses = [PINNED, 9, 5, 7, 5, 5, PINNED, 8];
  // Two full buckets: in both of them the keys of one low half may be.
  for (let i = 0; i < 16; i++) {
    const cursor = cursorFor(low, i + 1);
    entries.find(cursor);
    assert(entries.place(cursor, 1, [], 0));
    cursor.use = uses[i % 8]!;
    assert(entries.write(cursor, { a: 1e9 - i * 1e6, b: i, c: 0 }, 1));
  }
  const left: number[] = [];
  for (let n = 0; n < 12; n++) {
    const cursor = cursorFor(low, 100 + n);
    assertEquals([entries.find(cursor), entries.place(cursor, 1, [], 0)], [false, false]);
    assert(entries.displace(cursor, [], 0));
    cursor.use = PINNED;
    assert(entries.write(cursor, { a: 1e9, b: 0, c: 0 }, 1));
    for (let i = 0; i < 16; i++) {
      if (!left.includes(i) && !entries.find(cursorFor(low, i + 1))) left.push(i);
    }
  }
  assertEquals(left, [13, 12, 10, 5, 4, 2, 11, 3, 15, 7, 9, 1]);
  const last = cursorFor(low, 200);
  assertEquals([entries.find(last), entries.displace(last, [], 0), last.displaces], [false, false, false]);
});

Deno.test("EntryTable.write() does nothing when somebody has written since the entry was read", () => {
  const entries = makeEntries(1);
  const mine = cursorFor(1, 2);
  const theirs = cursorFor(3, 4);
  assertEquals([entries.find(mine), entries.find(theirs)], [false, false]);
  assert(entries.place(mine, 1, [], 0) && entries.place(theirs, 1, [], 0));
  assert(entries.write(theirs, { a: 9e6, b: 1, c: 0 }, 1));
  assertEquals([entries.isCurrent(mine), entries.write(mine, { a: 9e6, b: 1, c: 0 }, 1)], [false, false]);
  assertEquals(entries.find(mine), false);
});

Deno.test("EntryTable.writeAll() writes all or none, also of keys in one group", () => {
  for (const groups of [1, 50]) {
    const entries = makeEntries(groups);
    const held = Array.from({ length: 10 }, (_, i) => ({
      cursor: cursorFor(i * 77, Math.imul(i + 1, 0x9e3779b1)),
      verdict: { next: { a: 9e6, b: i, c: 0 } },
      writes: i !== 4,
    }));
    const read = (): void => {
      for (const { cursor } of held) entries.find(cursor);
      for (const { cursor } of held) if (cursor.slot < 0) assert(entries.place(cursor, 1, held, held.length));
    };
    read();
    const other = cursorFor(held[9]!.cursor.low ^ 1, held[9]!.cursor.high);
    assert(put(entries, other, 1, 9e6, 1));
    assertEquals(entries.writeAll(held, held.length, 1), false);
    for (const { cursor } of held) assertEquals(entries.find(cursor), false);
    read();
    assertEquals(entries.writeAll(held, held.length, 1), true);
    held.forEach(({ cursor }, i) => {
      assertEquals(entries.find(cursor), i !== 4);
      if (i !== 4) assertEquals(cursor.b, i);
    });
  }
});

Deno.test("EntryTable.writeAll() says so when a group was taken over before it was written", () => {
  const groups = 50;
  const words = new Int32Array(HEADER.size + groups * GROUP.size);
  const floats = new Float64Array(words.buffer);
  const entries = entriesIn(words, groups);
  const held = [1, 2].map((value) => ({
    cursor: cursorFor(value, Math.imul(value, 0x9e3779b1)),
    verdict: { next: { a: 9e6, b: value, c: 0 } },
    get writes(): boolean {
      // Asked when all groups are locked: another worker has waited too long just now.
      if (slow) takeOver(words, floats, this.cursor.base, this.cursor.version + 1);
      return true;
    },
  }));
  let slow = true;
  const decide = (): boolean => {
    for (const { cursor } of held) if (!entries.find(cursor)) entries.place(cursor, 1, held, held.length);
    return entries.writeAll(held, held.length, 1);
  };
  assertEquals(decide(), false);
  for (const { cursor } of held) assertEquals(entries.find(cursor), false);
  slow = false;
  assertEquals(decide(), true);
  for (const { cursor } of held) assertEquals(entries.find(cursor), true);
});

Deno.test("EntryTable.place() gives the keys of one decision different entries", () => {
  const entries = makeEntries(1);
  // All in bucket 0, and there are eight entries in it and eight in each second bucket.
  const held = Array.from({ length: 12 }, (_, i) => ({ cursor: cursorFor(64 * 63 * i, i) }));
  for (const { cursor } of held) entries.find(cursor);
  for (const { cursor } of held) assert(entries.place(cursor, 1, held, held.length));
  assertEquals(new Set(held.map(({ cursor }) => cursor.slot)).size, 12);
});
