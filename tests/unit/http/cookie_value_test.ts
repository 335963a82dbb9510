import { assertEquals } from "@std/assert";
import { getCookies } from "@std/http/cookie";
import fc from "fast-check";
import { cookieValue } from "../../../lib/http/received_fields.ts";

Deno.test("cookieValue() finds one cookie of several", () => {
  const table: [string | null, string | null][] = [
    [null, null],
    ["", null],
    ["a=1", "1"],
    ["b=2; a=1", "1"],
    ["b=2;a=1", "1"],
    ["aa=2; a=1", "1"],
    ["ba=2; xa=3", null],
    ["a=1; a=2", "1"],
    ["a=", null],
    ["a", null],
    ["b=a=1; a=2", "2"],
    ["a=x=y", "x=y"],
    ["a=1 ; b=2", "1"],
    [";;; a=1", "1"],
  ];
  for (const [cookies, expected] of table) {
    assertEquals(cookieValue(cookies, "a"), expected, cookies ?? "null");
  }
});

Deno.test("cookieValue() agrees with the parser of @std/http (property)", () => {
  const name = fc.constantFrom("a", "b", "aa", "ab");
  const value = fc.string({ unit: fc.constantFrom("x", "=", "1"), minLength: 1, maxLength: 4 });
  const pairs = fc.uniqueArray(fc.tuple(name, value), { selector: ([each]) => each, maxLength: 4 });
  fc.assert(
    fc.property(pairs, (cookies) => {
      const field = cookies.map(([each, held]) => `${each}=${held}`).join("; ");
      const parsed = field === "" ? {} : getCookies(new Headers({ cookie: field }));
      assertEquals(cookieValue(field, "a"), parsed.a ?? null);
    }),
    { seed: 3, numRuns: 300 },
  );
});
