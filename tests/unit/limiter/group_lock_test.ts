import { assertEquals } from "@std/assert";
import { awaitGroup, takeOver, writeEntry } from "../../../lib/limiter/group_lock.ts";
import { BUCKET, GROUP } from "../../../lib/limiter/table_layout.ts";

const SLOT = 13;
const TAG_AT = GROUP.buckets + BUCKET.size + 5;
const CHECK_AT = GROUP.buckets + BUCKET.size + BUCKET.entries + 5 * 8;
const USE_AT = CHECK_AT + 1;
const STATE_AT = (CHECK_AT + 2) / 2;

interface Memory {
  readonly words: Int32Array;
  readonly floats: Float64Array;
}

function makeMemory(): Memory {
  const buffer = new SharedArrayBuffer(GROUP.size * 4);
  return { words: new Int32Array(buffer), floats: new Float64Array(buffer) };
}

function contents({ words, floats }: Memory): number[] {
  return [
    words[TAG_AT]!,
    words[TAG_AT + BUCKET.ticks]!,
    words[CHECK_AT]!,
    words[USE_AT]!,
    ...floats.subarray(STATE_AT, STATE_AT + 3),
  ];
}

/** The stores of `writeEntry`, one by one, so that a worker can die after each. */
function stores({ words, floats }: Memory, locked: number): (() => void)[] {
  const journal = GROUP.state / 2;
  return [
    () => words[GROUP.version] = locked,
    () => words[GROUP.slot] = SLOT,
    () => words[GROUP.tag] = 11,
    () => words[GROUP.tick] = 12,
    () => words[GROUP.check] = 14,
    () => words[GROUP.use] = 15,
    () => floats[journal] = 0.1,
    () => floats[journal + 1] = 0.2,
    () => floats[journal + 2] = 0.3,
    () => words[GROUP.pending] = 1,
    () => words[TAG_AT] = 11,
    () => words[TAG_AT + BUCKET.ticks] = 12,
    () => words[CHECK_AT] = 14,
    () => words[USE_AT] = 15,
    () => floats[STATE_AT] = 0.1,
    () => floats[STATE_AT + 1] = 0.2,
    () => floats[STATE_AT + 2] = 0.3,
    () => words[GROUP.pending] = 0,
    () => words[GROUP.version] = locked + 1,
  ];
}

const BEFORE = [1, 2, 3, 4, 4.5, 5.5, 6.5];
const AFTER = [11, 12, 14, 15, 0.1, 0.2, 0.3];

function writeBefore(memory: Memory): void {
  const { words, floats } = memory;
  assertEquals(writeEntry(words, floats, 0, 0, 1, 2, SLOT, 1, 2, 3, 4, 4.5, 5.5, 6.5), true);
  assertEquals(contents(memory), BEFORE);
}

Deno.test("writeEntry() does the stores that the test interrupts", () => {
  const written = makeMemory();
  const stored = makeMemory();
  assertEquals(
    writeEntry(written.words, written.floats, 0, 0, 1, 2, SLOT, 11, 12, 14, 15, 0.1, 0.2, 0.3),
    true,
  );
  for (const store of stores(stored, 1)) store();
  assertEquals(written.words, stored.words);
});

Deno.test("takeOver() finds all of an entry as it was or all as it was to be, wherever its writer died", () => {
  const count = stores(makeMemory(), 3).length;
  for (let done = 1; done < count; done++) {
    const memory = makeMemory();
    writeBefore(memory);
    for (const store of stores(memory, 3).slice(0, done)) store();
    takeOver(memory.words, memory.floats, 0, 3);
    assertEquals(memory.words[GROUP.version], 6);
    assertEquals(memory.words[GROUP.pending], 0);
    // The journal is complete with its tenth store; until then nothing has happened.
    assertEquals(contents(memory), done < 10 ? BEFORE : AFTER, `after ${done} stores`);
  }
});

Deno.test("takeOver() finishes what one who took over and died had begun", () => {
  const memory = makeMemory();
  writeBefore(memory);
  for (const store of stores(memory, 3).slice(0, 11)) store();
  // The second one has swapped the version and replayed half.
  memory.words[GROUP.version] = 5;
  memory.words[TAG_AT + BUCKET.ticks] = 12;
  takeOver(memory.words, memory.floats, 0, 5);
  assertEquals(contents(memory), AFTER);
});

Deno.test("takeOver() leaves a group alone whose owner has gone on", () => {
  const memory = makeMemory();
  writeBefore(memory);
  takeOver(memory.words, memory.floats, 0, 1);
  assertEquals(memory.words[GROUP.version], 2);
});

Deno.test("writeEntry() writes nothing when the version is another one", () => {
  const memory = makeMemory();
  writeBefore(memory);
  assertEquals(
    writeEntry(memory.words, memory.floats, 0, 0, 1, 2, SLOT, 11, 12, 14, 15, 0.1, 0.2, 0.3),
    false,
  );
  assertEquals(contents(memory), BEFORE);
});

Deno.test("awaitGroup() takes over from a writer that never goes on", () => {
  const memory = makeMemory();
  writeBefore(memory);
  for (const store of stores(memory, 3).slice(0, 11)) store();
  assertEquals(awaitGroup(memory.words, memory.floats, 0, 3), 6);
  assertEquals(contents(memory), AFTER);
});
