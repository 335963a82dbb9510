import { assert, assertEquals, assertThrows } from "@std/assert";
import { seededRandom } from "../../../lib/core/random.ts";
import { SharedTable } from "../../../lib/limiter/shared_table.ts";
import { FakeClock } from "../../support/fake_clock.ts";

const random = seededRandom(7);

Deno.test("SharedTable.create() takes the memory once that its keys need", () => {
  const clock = new FakeClock();
  const small = SharedTable.create({ clock, random, maxKeys: 100 });
  assertEquals(small.maxKeys, 100);
  // 71 bytes a key and a megabyte of sketch for each of four policies; what `--check` prints.
  const usual = SharedTable.create({ clock, random });
  assertEquals(usual.byteLength, usual.buffer.byteLength);
  assertEquals(usual.byteLength, 9_247_552);
});

Deno.test("SharedTable.create() refuses sizes that make no table", () => {
  const clock = new FakeClock();
  for (const maxKeys of [0, -1, 1.5, NaN, 2 ** 24 + 1]) {
    assertThrows(() => SharedTable.create({ clock, random, maxKeys }), RangeError, "maxKeys");
  }
  for (const sketches of [-1, 129]) {
    assertThrows(() => SharedTable.create({ clock, random, maxKeys: 1, sketches }), RangeError, "sketches");
  }
});

Deno.test("SharedTable.attach() refuses memory that is no table", () => {
  const clock = new FakeClock();
  for (const buffer of [new SharedArrayBuffer(0), new SharedArrayBuffer(4096)]) {
    assertThrows(() => SharedTable.attach(buffer, { clock }), TypeError, "Cannot attach a table");
  }
});

Deno.test("SharedTable.attach() reads the keys, seeds and sketches of the one that made it", () => {
  const clock = new FakeClock();
  const made = SharedTable.create({ clock, random, maxKeys: 1000, sketches: 1 });
  const joined = SharedTable.attach(made.buffer, { clock });
  assertEquals([joined.maxKeys, joined.seedLow, joined.seedHigh], [1000, made.seedLow, made.seedHigh]);
  const key = { low: 1, high: 2 };
  made.sketch(99).add(key, 0, 5);
  assertEquals(joined.sketch(99).estimate(key, 0), 5);
  assertThrows(() => joined.sketch(100), RangeError, "made for 1");
});

Deno.test("SharedTable.now() is one time for workers whose clocks began at different moments", () => {
  const first = new FakeClock(5000);
  const table = SharedTable.create({ clock: first, random, maxKeys: 1 });
  assertEquals(table.now(), 0);
  first.tick(1234);
  const second = new FakeClock(77, first.wallTime());
  const joined = SharedTable.attach(table.buffer, { clock: second });
  assertEquals([table.now(), joined.now()], [1_234_000, 1_234_000]);
});

Deno.test("SharedTable.now() takes a worker along that joined after the calendar was set back", () => {
  const first = new FakeClock();
  const table = SharedTable.create({ clock: first, random, maxKeys: 1 });
  first.tick(3_600_000);
  table.now();
  const second = new FakeClock(0, first.wallTime() - 1_800_000);
  const joined = SharedTable.attach(table.buffer, { clock: second });
  assertEquals(joined.now(), table.now());
  second.tick(250);
  assertEquals(joined.now(), 3_600_250_000);
});

Deno.test("SharedTable.now() takes the others along when a worker joined after the calendar was set forward", () => {
  const first = new FakeClock();
  const table = SharedTable.create({ clock: first, random, maxKeys: 1 });
  const second = new FakeClock(0, first.wallTime() + 60_000);
  const joined = SharedTable.attach(table.buffer, { clock: second });
  const ahead = joined.now();
  assertEquals(ahead, 60_000_000);
  assertEquals(table.now(), ahead);
});

Deno.test("SharedTable.now() does not run away when workers differ by less than a millisecond", () => {
  const first = new FakeClock();
  const table = SharedTable.create({ clock: first, random, maxKeys: 1 });
  const second = new FakeClock(0, first.wallTime());
  const joined = SharedTable.attach(table.buffer, { clock: second });
  for (let i = 0; i < 100_000; i++) {
    const step = 1 + (i % 7) * 0.37;
    first.tick(step);
    second.tick(step);
    table.now();
    joined.now();
  }
  const elapsed = first.now() - 1000;
  assert(table.now() / 1000 - elapsed < 2 && joined.now() / 1000 - elapsed < 2);
});

Deno.test("SharedTable.now() does not run ahead when it is told old times", () => {
  const clock = new FakeClock(0);
  const late = SharedTable.create({ clock, random, maxKeys: 1 });
  const prompt = SharedTable.attach(late.buffer, { clock });
  for (let n = 0; n < 1000; n++) {
    clock.tick(150);
    prompt.now();
    assert(late.now(clock.now() - 40) <= clock.now() * 1000);
    late.now();
  }
  assertEquals([late.now(), prompt.now()], [150_000_000, 150_000_000]);
});
