import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { TimestampFormatter } from "../../../lib/observe/text_format.ts";

Deno.test("TimestampFormatter.format() writes what Date does, whatever came before", () => {
  const formatter = new TimestampFormatter();
  const moment = fc.integer({ min: 0, max: 4_102_444_800_000 });
  const near = fc.integer({ min: 1_767_225_600_000, max: 1_767_225_603_000 });
  fc.assert(
    fc.property(fc.oneof(near, moment), (ms) => {
      assertEquals(formatter.format(ms), new Date(ms).toISOString());
    }),
    { seed: 3, numRuns: 1000 },
  );
  assertEquals(formatter.format(1_767_225_600_000.9), "2026-01-01T00:00:00.000Z");
});
