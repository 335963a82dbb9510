import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { editDistance, nearestName } from "../../../lib/core/describe_value.ts";

const NAMES = [
  "listen",
  "upstreams",
  "limiter",
  "gracePeriod",
  "upstreamRequestFilter",
  "responseFilter",
  "logging",
];

Deno.test("nearestName() finds what was meant", () => {
  const cases: readonly [string, string | undefined][] = [
    ["upstream", "upstreams"],
    ["limitter", "limiter"],
    ["limtier", "limiter"],
    ["Listen", "listen"],
    ["lsiten", "listen"],
    ["grace_period", "gracePeriod"],
    ["grace", "gracePeriod"],
    ["reponse-filter", "responseFilter"],
    ["upstreamResponseFilter", "upstreamRequestFilter"],
    ["admin", undefined],
    ["routes", undefined],
    ["x", undefined],
    ["", undefined],
  ];
  for (const [name, expected] of cases) assertEquals(nearestName(name, NAMES), expected, name);
});

Deno.test("editDistance() is a distance", () => {
  const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 7 });
  fc.assert(
    fc.property(word, word, (a, b) => {
      const distance = editDistance(a, b);
      assertEquals(distance, editDistance(b, a));
      assertEquals(distance === 0, a === b);
      assertEquals(distance >= Math.abs(a.length - b.length), true);
      assertEquals(distance <= Math.max(a.length, b.length), true);
      assertEquals(editDistance(`${a}x`, `${b}x`), distance);
    }),
    { seed: 7, numRuns: 300 },
  );
  assertEquals(editDistance("ab", "ba"), 1);
});
