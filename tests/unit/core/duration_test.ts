import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { formatDuration, parseDuration } from "../../../lib/core/units.ts";

Deno.test("parseDuration() reads numbers as milliseconds and text with a unit", () => {
  const cases: [unknown, number][] = [
    [0, 0],
    [250, 250],
    [1.5, 1.5],
    ["0ms", 0],
    ["250ms", 250],
    ["5s", 5000],
    ["1.5m", 90_000],
    ["1h", 3_600_000],
    ["1d", 86_400_000],
  ];
  for (const [value, ms] of cases) assertEquals(parseDuration(value), ms, String(value));
});

Deno.test("parseDuration() refuses everything else", () => {
  const bad = [
    -1,
    NaN,
    Infinity,
    -Infinity,
    "",
    "5",
    "s",
    "-5s",
    "+5s",
    "5 s",
    " 5s",
    "5s ",
    "5S",
    "5sec",
    "1h30m",
  ];
  const worse = [".5s", "5.s", "1e3ms", "0x5s", "٥s", null, undefined, true, {}, [], 5n];
  for (const value of [...bad, ...worse]) assertEquals(parseDuration(value), undefined, String(value));
});

Deno.test("formatDuration() writes what an operator would", () => {
  const cases: [number, string][] = [
    [0, "0ms"],
    [1, "1ms"],
    [250, "250ms"],
    [1000, "1s"],
    [1500, "1.5s"],
    [90_000, "1.5m"],
    [3_600_000, "1h"],
    [61_000, "61s"],
  ];
  for (const [ms, text] of cases) assertEquals(formatDuration(ms), text);
});

Deno.test("formatDuration() writes what parseDuration() reads (property)", () => {
  fc.assert(
    fc.property(fc.nat({ max: 1_000_000_000 }), (ms) => {
      const read = parseDuration(formatDuration(ms));
      // A tenth of a unit is not always exact in binary.
      return read !== undefined && Math.abs(read - ms) < 1e-6;
    }),
    { seed: 20260102 },
  );
});
