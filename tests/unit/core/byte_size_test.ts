import { assertEquals } from "@std/assert";
import { formatByteSize, parseByteSize } from "../../../lib/core/units.ts";

Deno.test("parseByteSize() reads numbers as bytes and text with a unit", () => {
  const cases: [unknown, number][] = [
    [0, 0],
    [65536, 65536],
    ["1B", 1],
    ["1KB", 1000],
    ["64KiB", 65536],
    ["10MB", 10_000_000],
    ["1.5MiB", 1_572_864],
    ["1GB", 1_000_000_000],
    ["1GiB", 1_073_741_824],
    ["0.5B", 0],
  ];
  for (const [value, bytes] of cases) assertEquals(parseByteSize(value), bytes, String(value));
});

Deno.test("parseByteSize() refuses everything else", () => {
  const bad = [
    -1,
    1.5,
    NaN,
    Infinity,
    2 ** 53,
    "",
    "5",
    "B",
    "-1B",
    "1 KiB",
    "1kib",
    "1K",
    "1TB",
    "1e3B",
    ".5KiB",
  ];
  for (const value of [...bad, null, undefined, true, {}, [], 5n]) {
    assertEquals(parseByteSize(value), undefined, String(value));
  }
});

Deno.test("formatByteSize() writes whole units, and bytes where there are none", () => {
  const sizes = [0, 1023, 1024, 65_536, 1_000_000, 16_777_216, 2 ** 31].map(formatByteSize);
  assertEquals(sizes, ["0 bytes", "1023 bytes", "1KiB", "64KiB", "1000000 bytes", "16MiB", "2GiB"]);
});
