import { assertEquals } from "@std/assert";
import { fieldTokens } from "../../../lib/http/field_lines.ts";

Deno.test("fieldTokens() splits at commas, trims, and leaves empty elements out", () => {
  assertEquals(fieldTokens("a, b ,,\tc"), ["a", "b", "c"]);
  assertEquals(fieldTokens(" , ,"), []);
  assertEquals(fieldTokens(""), []);
  assertEquals(fieldTokens("A b"), ["A b"]);
});
