import { assertEquals } from "@std/assert";
import { Split } from "../../../lib/balancer/fnv_hash.ts";
import { seededRandom } from "../../../lib/core/random.ts";

const KEYS = Array.from({ length: 20_000 }, (_, n) => `user-${n}`);

Deno.test("Split chooses by weight, at random and by key", () => {
  const split = new Split([["stable", 95], ["never", 0], ["canary", 5]], seededRandom(6));
  for (const keyOf of [() => null, (key: string) => key]) {
    const chosen = KEYS.map((key) => split.pick(keyOf(key)));
    const share = chosen.filter((each) => each === "canary").length / KEYS.length;
    assertEquals([share > 0.045 && share < 0.055, chosen.includes("never")], [true, false]);
  }
});

Deno.test("Split gives a key the same choice, and keeps it when the last one grows", () => {
  const at = (weight: number) => new Split([["stable", 100 - weight], ["canary", weight]], seededRandom(1));
  const five = at(5);
  const twenty = at(20);
  for (const key of KEYS) {
    assertEquals(five.pick(key), five.pick(key));
    if (five.pick(key) === "canary") assertEquals(twenty.pick(key), "canary");
  }
  assertEquals(at(0).pick(null), "stable");
  assertEquals(at(100).pick("x"), "canary");
});
