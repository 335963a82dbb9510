import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { HealthState } from "../../../lib/health/server_check.ts";

/** What is believed after each of the results. */
function beliefs(state: HealthState, results: string): string {
  return [...results].map((result) => {
    state.observe(result === "+");
    return state.health === "up" ? "U" : "D";
  }).join("");
}

Deno.test("HealthState.observe() flips after as many results in a row as asked", () => {
  assertEquals(beliefs(new HealthState({ rise: 2, fall: 3 }, "up"), "---++-"), "UUDDUU");
});

Deno.test("HealthState.observe() does not add up failures that a pass lies between", () => {
  assertEquals(beliefs(new HealthState({ rise: 1, fall: 3 }, "up"), "--+--+--+---"), "UUUUUUUUUUUD");
});

Deno.test("HealthState.observe() lets the first result of a new server decide", () => {
  assertEquals(beliefs(new HealthState({ rise: 3, fall: 3 }), "-"), "D");
  assertEquals(beliefs(new HealthState({ rise: 3, fall: 3 }), "+"), "U");
});

Deno.test("HealthState.observe() is true exactly when the belief changes, for any results", () => {
  const count = fc.integer({ min: 1, max: 4 });
  fc.assert(
    fc.property(count, count, fc.array(fc.boolean(), { maxLength: 40 }), (rise, fall, results) => {
      const state = new HealthState({ rise, fall }, "up");
      let up = true;
      results.forEach((passed, i) => {
        const needed = up ? fall : rise;
        const tail = results.slice(Math.max(0, i + 1 - needed), i + 1);
        const flips = tail.length === needed && tail.every((result) => result !== up) && passed !== up;
        assertEquals(state.observe(passed), flips);
        if (flips) up = !up;
        assertEquals(state.health, up ? "up" : "down");
      });
    }),
    { seed: 2, numRuns: 300 },
  );
});
