import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { FailureWindow } from "../../../lib/health/ejection.ts";

Deno.test("FailureWindow counts what happened in the last while, to a tenth of it", () => {
  const events = fc.array(fc.tuple(fc.nat(400), fc.nat(3)), { maxLength: 60 });
  fc.assert(
    fc.property(events, (events) => {
      const window = new FailureWindow(1000);
      const seen: { bucket: number; rank: number }[] = [];
      let now = 12_345;
      for (const [gap, rank] of events) {
        now += gap;
        window.record(rank, now);
        seen.push({ bucket: Math.floor(now / 100), rank });
        const recent = seen.filter(({ bucket }) => bucket > Math.floor(now / 100) - 10);
        assertEquals(window.requests, recent.length);
        assertEquals(window.failures, recent.filter(({ rank }) => rank > 0).length);
        assertEquals(window.highestRank, Math.max(...recent.map(({ rank }) => rank)));
      }
    }),
    { seed: 9, numRuns: 200 },
  );
});

Deno.test("FailureWindow.clear() forgets everything", () => {
  const window = new FailureWindow(1000);
  window.record(2, 5000);
  window.clear();
  window.record(0, 5001);
  assertEquals([window.requests, window.failures, window.highestRank], [1, 0, 0]);
});
