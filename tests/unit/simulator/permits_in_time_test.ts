import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { PermitsInTime } from "../../../lib/simulator/simulated_limits.ts";

Deno.test("PermitsInTime give back what has ended, in the order of the ends (property)", () => {
  const times = fc.array(fc.integer({ min: 0, max: 50 }), { maxLength: 40 });
  fc.assert(
    fc.property(times, fc.integer({ min: 0, max: 50 }), (ends, until) => {
      const given: number[] = [];
      const places = new PermitsInTime();
      for (const end of ends) places.hold({ [Symbol.dispose]: () => given.push(end) }, end);
      places.releaseUntil(until, (end) => assertEquals(end <= until, true));
      assertEquals(given, ends.filter((end) => end <= until).sort((a, b) => a - b));
      places[Symbol.dispose]();
      places[Symbol.dispose]();
      assertEquals(given.toSorted((a, b) => a - b), ends.toSorted((a, b) => a - b));
    }),
    { seed: 8, numRuns: 200 },
  );
});
