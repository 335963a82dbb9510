import { assertEquals, assertThrows } from "@std/assert";
import { RequestError } from "../../../lib/core/errors.ts";
import { HeaderFields } from "../../../lib/http/header_fields.ts";
import { screenFields, type Underscores } from "../../../lib/http/proxy_fields.ts";
import { rawFields } from "../../support/raw_fields.ts";

function screened(lines: readonly string[], underscores: Underscores = "drop"): string[] {
  const fields = rawFields(...lines);
  screenFields(fields, underscores);
  return [...fields].map(([name, value]) => `${name}=${value}`);
}

Deno.test("screenFields() drops names with underscores, refuses them, or lets them pass", () => {
  const lines = ["Host: a_b", "X_Forwarded_For: 1", "_: 2", "X-A: 3", "x_: 4"];
  assertEquals(screened(lines), ["host=a_b", "x-a=3"]);
  assertEquals(screened(lines, "pass").length, 5);
  const error = assertThrows(() => screened(lines, "refuse"), RequestError, '"x_forwarded_for"');
  assertEquals(error.status, 400);
  assertEquals(screened(["Host: a_b"], "refuse"), ["host=a_b"]);
});

Deno.test("screenFields() leaves out empty lines of a field that has others", () => {
  assertEquals(screened(["X-User:", "x-user: me"]), ["x-user=me"]);
  assertEquals(screened(["X-User: me", "x-user:\t "]), ["x-user=me"]);
  assertEquals(screened(["X-User:", "X-User:", "X-User:"]), ["x-user="]);
  assertEquals(screened(["X-User: a", "X-User:", "X-User: b", "Y:"]), ["x-user=a", "x-user=b", "y="]);
  assertEquals(screened(["Cookie:", "COOKIE: a=b", "Accept:"]), ["cookie=a=b", "accept="]);
});

Deno.test("screenFields() counts no line that it has dropped", () => {
  assertEquals(screened(["X_A: 1", "X_A:"]), []);
});

Deno.test("screenFields() screens lines that were copied, and looks at no others", () => {
  const copied = rawFields("X_A: 1", "B:", "B: 2");
  copied.detach();
  screenFields(copied, "drop");
  assertEquals([...copied], [["b", "2"]]);
  const own = new HeaderFields([["x_a", "1"]]);
  screenFields(own, "drop");
  assertEquals([...own], [["x_a", "1"]]);
});

Deno.test("screenFields() looks at each line a few times, however many are empty", () => {
  const fields = rawFields(...Array.from({ length: 200 }, (_, index) => `${"a".repeat(150)}${index}:`));
  const lines = fields.lines!;
  let compared = 0;
  for (const method of ["isNamed", "nameAsWritten"] as const) {
    const original = lines[method].bind(lines) as (...given: unknown[]) => never;
    lines[method] = (...given: unknown[]) => {
      compared++;
      return original(...given);
    };
  }
  screenFields(fields, "drop");
  assertEquals([...fields].length, 200);
  if (compared > 1000) throw new Error(`${compared} names were read or compared`);
});
