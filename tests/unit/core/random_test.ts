import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { seededRandom, systemRandom } from "../../../lib/core/random.ts";

function take(random: () => number, count: number): number[] {
  return Array.from({ length: count }, () => random());
}

Deno.test("seededRandom() repeats itself for a seed and differs between seeds", () => {
  assertEquals(take(seededRandom(1), 100), take(seededRandom(1), 100));
  assertNotEquals(take(seededRandom(1), 100), take(seededRandom(2), 100));
  assertEquals(take(seededRandom(-1), 10), take(seededRandom(0xffffffff), 10));
});

Deno.test("seededRandom() keeps to [0, 1) and spreads evenly", () => {
  const buckets = new Array(10).fill(0);
  for (const value of take(seededRandom(7), 100_000)) {
    assert(value >= 0 && value < 1);
    buckets[Math.floor(value * 10)]++;
  }
  for (const count of buckets) assert(count > 9_500 && count < 10_500, buckets.join(" "));
});

Deno.test("systemRandom() keeps to [0, 1)", () => {
  for (const value of take(systemRandom, 1000)) assert(value >= 0 && value < 1);
});
