import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { LineBytes, TimestampWriter } from "../../../lib/observe/line_bytes.ts";
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

Deno.test("TimestampWriter writes what Date does, whatever came before", () => {
  const rfc3339 = TimestampWriter.rfc3339();
  const combined = TimestampWriter.combined();
  const out = new LineBytes();
  const written = (write: () => void): string => {
    out.length = 0;
    write();
    return new TextDecoder().decode(out.written);
  };
  const near = fc.integer({ min: 1_767_225_600_000, max: 1_767_225_603_000 });
  fc.assert(
    fc.property(fc.oneof(near, fc.integer({ min: 0, max: 4_102_444_800_000 })), (ms) => {
      assertEquals(written(() => rfc3339.moment(out, ms + 0.9)), new Date(ms).toISOString());
      assertEquals(
        written(() => combined.second(out, ms)).slice(7, 20),
        new Date(ms).toISOString().replace(/^(\d+)-.*T(.*)\..*$/, "$1:$2"),
      );
    }),
    { seed: 4, numRuns: 1000 },
  );
  assertEquals(written(() => combined.second(out, 1_767_225_600_000)), "01/Jan/2026:00:00:00 +0000");
});
