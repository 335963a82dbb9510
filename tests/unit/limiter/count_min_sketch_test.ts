import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { CountMinSketch } from "../../../lib/limiter/count_min_sketch.ts";
import { ROWS } from "../../../lib/limiter/table_layout.ts";
import { SEED } from "./arrivals.ts";

function makeSketch(cells: number): CountMinSketch {
  return new CountMinSketch(new Int32Array(new SharedArrayBuffer((1 + ROWS * 2 * cells) * 4)), 1, cells, 0);
}

Deno.test("CountMinSketch never counts too little, in any window", () => {
  const step = fc.record({ low: fc.integer({ min: 0, max: 40 }), count: fc.nat(100), next: fc.nat(2) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const sketch = makeSketch(16);
      const exact = new Map<string, number>();
      let window = 250;
      for (const { low, count, next } of steps) {
        window += next === 2 ? 1 : 0;
        const name = `${low} ${window}`;
        exact.set(name, (exact.get(name) ?? 0) + count);
        const counted = sketch.add({ low, high: 0 }, window, count);
        assert(counted >= exact.get(name)!);
        assertEquals(sketch.estimate({ low, high: 0 }, window), counted);
        assert(sketch.estimate({ low, high: 0 }, window - 1) >= (exact.get(`${low} ${window - 1}`) ?? 0));
      }
    }),
    SEED,
  );
});

Deno.test("CountMinSketch counts exactly while keys are few", () => {
  const sketch = makeSketch(16_384);
  for (let i = 0; i < 500; i++) sketch.add({ low: Math.imul(i, 64), high: i }, 7, i);
  for (let i = 0; i < 500; i++) assertEquals(sketch.estimate({ low: Math.imul(i, 64), high: i }, 7), i);
});

Deno.test("CountMinSketch forgets a window when the one after the next begins", () => {
  const sketch = makeSketch(16);
  const key = { low: 1, high: 2 };
  sketch.add(key, 0, 5);
  assertEquals([sketch.estimate(key, 0), sketch.estimate(key, 1), sketch.estimate(key, 2)], [5, 0, 0]);
  sketch.add(key, 2, 1);
  assertEquals([sketch.estimate(key, 2), sketch.estimate(key, 1)], [1, 0]);
});

Deno.test("CountMinSketch stays full when a cell is full, also when something is taken back", () => {
  const sketch = makeSketch(16);
  const key = { low: 1, high: 2 };
  const full = 2 ** 24 - 1;
  sketch.add(key, 0, full - 1);
  assertEquals(sketch.add(key, 0, 5), full);
  assertEquals(sketch.add(key, 0, -5), full);
});

Deno.test("CountMinSketch.isActive() tells whether anything may still count", () => {
  const sketch = makeSketch(16);
  assertEquals(sketch.isActive(5), false);
  sketch.keepActive(8);
  sketch.keepActive(6);
  assertEquals([sketch.isActive(7), sketch.isActive(8)], [true, false]);
});
