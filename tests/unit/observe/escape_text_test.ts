import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { escapeControls, escapeQuoted } from "../../../lib/observe/text_format.ts";

const ANY_TEXT = fc.string({ unit: "binary", maxLength: 40 });
// deno-lint-ignore no-control-regex
const HARMFUL = /[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;

Deno.test("escapeQuoted() leaves harmless text as it is", () => {
  for (const text of ["", "/a/b?c=d&e=%20", "müller", "日本", "😀"]) assertEquals(escapeQuoted(text), text);
});

Deno.test("escapeQuoted() escapes quotes, backslashes, controls and marks of direction", () => {
  assertEquals(escapeQuoted('a"b\\c'), 'a\\"b\\\\c');
  assertEquals(escapeQuoted("a\r\nb\tc\x1b[31m\x7f\x85"), "a\\r\\nb\\tc\\u001b[31m\\u007f\\u0085");
  assertEquals(escapeQuoted("\u202egnp.exe\u2028"), "\\u202egnp.exe\\u2028");
});

Deno.test("escapeQuoted() makes the inside of a JSON string that reads back the same", () => {
  fc.assert(
    fc.property(ANY_TEXT, (text) => {
      const escaped = escapeQuoted(text);
      assertEquals(JSON.parse(`"${escaped}"`), text);
      assert(!HARMFUL.test(escaped));
    }),
    { seed: 11, numRuns: 500 },
  );
});

Deno.test("escapeControls() never leaves a harmful character, and changes nothing else", () => {
  assertEquals(escapeControls('a "b" \\c\nd'), 'a "b" \\c\\nd');
  fc.assert(
    fc.property(ANY_TEXT, (text) => {
      const escaped = escapeControls(text);
      assert(!HARMFUL.test(escaped));
      if (!HARMFUL.test(text)) assertEquals(escaped, text);
    }),
    { seed: 12, numRuns: 500 },
  );
});
