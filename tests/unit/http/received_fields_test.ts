import { assertEquals } from "@std/assert";
import { isUntidy, receivedValue, tidyValue } from "../../../lib/http/received_fields.ts";

Deno.test("tidyValue() takes empty lines and white space off the ends, and nothing else", () => {
  const table: [string, string, string][] = [
    ["x", "me", "me"],
    ["x", "", ""],
    ["x", "me, ", "me"],
    ["x", "me, , ", "me"],
    ["x", "me, , , you, ", "me, , , you"],
    ["x", "me,, ", "me,"],
    ["x", ", ", ""],
    ["x", ",, ", ","],
    ["x", ", me", ", me"],
    ["x", ",me,", ",me,"],
    ["x", " me\t", "me"],
    ["x", "\t , , me , ", "me"],
    ["x", " ,me", ",me"],
    ["x", "  ", ""],
    ["x", "a; ", "a;"],
    ["x", "; a", "; a"],
    ["cookie", "; a=1; b=2; ", "a=1; b=2"],
    ["cookie", "; ; a=1", "a=1"],
    ["cookie", ";a=1", ";a=1"],
    ["cookie", "a=1, ", "a=1,"],
  ];
  for (const [name, value, tidy] of table) {
    assertEquals(tidyValue(name, value), tidy, JSON.stringify(value));
    if (!isUntidy(value)) assertEquals(tidy, value, JSON.stringify(value));
  }
});

Deno.test("receivedValue() says what the runtime goes through, where its get() says something else", () => {
  const value = (...lines: string[]) =>
    receivedValue(new Headers(lines.map((line): [string, string] => ["appid", line])), "appid");
  assertEquals(value(), null);
  assertEquals([value(""), value("", "")], ["", ""]);
  assertEquals([value("me"), value("", "me"), value("", "", "me", "")], ["me", "me", "me"]);
  assertEquals([value("a", "b"), value("a", "", "b"), value(", me")], ["a, b", "a, , b", ", me"]);
});

Deno.test("tidyValue() is quick with a field full of empty lines", () => {
  const long = `${", ".repeat(100_000)}x${", ".repeat(100_000)}`;
  assertEquals(tidyValue("x", ` ${long}`), "x");
});
