import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { FailureWindow } from "../../lib/health/failure_window.ts";

Deno.test("FailureWindow counts what happened in the last while, to a tenth of it", () => {
  const events = fc.array(fc.tuple(fc.nat(400), fc.boolean()), { maxLength: 60 });
  fc.assert(
    fc.property(events, (events) => {
      const window = new FailureWindow(1000);
      const seen: { bucket: number; failed: boolean }[] = [];
      let now = 12_345;
      for (const [gap, failed] of events) {
        now += gap;
        window.record(failed, now);
        seen.push({ bucket: Math.floor(now / 100), failed });
        const recent = seen.filter(({ bucket }) => bucket > Math.floor(now / 100) - 10);
        assertEquals(window.requests, recent.length);
        assertEquals(window.failures, recent.filter(({ failed }) => failed).length);
      }
    }),
    { seed: 9, numRuns: 200 },
  );
});

Deno.test("FailureWindow.clear() forgets everything", () => {
  const window = new FailureWindow(1000);
  window.record(true, 5000);
  window.clear();
  window.record(false, 5001);
  assertEquals([window.requests, window.failures], [1, 0]);
});
