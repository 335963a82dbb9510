import { assertEquals, assertThrows } from "@std/assert";
import { Cancellation, CancellationListener } from "../../../lib/core/cancellation.ts";

Deno.test("Cancellation.cancel() tells every listener at once and only once, the last one first", () => {
  const cancellation = new Cancellation();
  const seen: unknown[] = [];
  for (const name of ["first", "second", "third"]) {
    cancellation.listen((reason) => seen.push(name, reason));
  }
  assertEquals([cancellation.cancelled, cancellation.reason], [false, undefined]);
  cancellation.cancel("gone");
  cancellation.cancel("again");
  assertEquals(seen, ["third", "gone", "second", "gone", "first", "gone"]);
  assertEquals([cancellation.cancelled, cancellation.reason], [true, "gone"]);
});

Deno.test("Cancellation.listen() and add() tell at once when it is too late", () => {
  const cancellation = new Cancellation();
  cancellation.cancel("gone");
  const seen: unknown[] = [];
  using _listener = cancellation.listen((reason) => seen.push(reason));
  const added = new CancellationListener((reason) => seen.push(reason));
  cancellation.add(added);
  assertEquals(seen, ["gone", "gone"]);
  // It listens to nothing, and can listen to another.
  const other = new Cancellation();
  other.add(added);
  other.cancel("other");
  assertEquals(seen, ["gone", "gone", "other"]);
});

Deno.test("Cancellation does not tell listeners that are disposed, wherever they stand", () => {
  for (let gone = 0; gone < 32; gone++) {
    const cancellation = new Cancellation();
    const seen: number[] = [];
    const listeners = [0, 1, 2, 3, 4].map((index) => cancellation.listen(() => seen.push(index)));
    const isGone = (index: number) => (gone & (1 << index)) !== 0;
    for (const [index, listener] of listeners.entries()) {
      if (!isGone(index)) continue;
      listener[Symbol.dispose]();
      listener[Symbol.dispose]();
    }
    cancellation.cancel("gone");
    assertEquals(seen, [4, 3, 2, 1, 0].filter((index) => !isGone(index)));
    for (const listener of listeners) listener[Symbol.dispose]();
  }
});

Deno.test("Cancellation.add() takes a listener again, and refuses one that listens to another", () => {
  const seen: unknown[] = [];
  const listener = new CancellationListener((reason) => seen.push(reason));
  for (let round = 0; round < 3; round++) {
    new Cancellation().add(listener);
    listener[Symbol.dispose]();
  }
  const [first, second] = [new Cancellation(), new Cancellation()];
  first.add(listener);
  for (const cancellation of [first, second]) assertThrows(() => cancellation.add(listener), Error);
  second.cancel("second");
  first.cancel("first");
  assertEquals(seen, ["first"]);
  const third = new Cancellation();
  third.add(listener);
  third.cancel("third");
  assertEquals(seen, ["first", "third"]);
});

Deno.test("Cancellation.cancel() may be called by a listener", () => {
  const cancellation = new Cancellation();
  let calls = 0;
  for (let i = 0; i < 2; i++) {
    cancellation.listen(() => {
      calls++;
      cancellation.cancel("again");
    });
  }
  cancellation.cancel("first");
  assertEquals([calls, cancellation.reason], [2, "first"]);
});

Deno.test("Cancellation does not tell a listener that another one disposes, but one that it adds", () => {
  const cancellation = new Cancellation();
  const seen: string[] = [];
  const first = cancellation.listen(() => seen.push("first"));
  cancellation.listen(() => seen.push("second"));
  cancellation.listen(() => {
    first[Symbol.dispose]();
    cancellation.listen(() => seen.push("late"));
  });
  cancellation.cancel("gone");
  assertEquals(seen, ["late", "second"]);
});
