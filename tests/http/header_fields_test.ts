import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { HeaderFields, isFieldValue, isToken } from "../../lib/http/header_fields.ts";

Deno.test("HeaderFields keeps order and repetitions, with names in lower case", () => {
  const fields = new HeaderFields([["X-B", "1"], ["x-a", "2"], ["x-b", "3"]]);
  assertEquals([...fields], [["x-b", "1"], ["x-a", "2"], ["x-b", "3"]]);
  assertEquals([...fields.entries()], [...fields]);
  const seen: string[] = [];
  fields.forEach((value, name) => seen.push(`${name}=${value}`));
  assertEquals(seen, ["x-b=1", "x-a=2", "x-b=3"]);
});

Deno.test("HeaderFields is made of pairs, objects, Headers and other HeaderFields", () => {
  const expected: [string, string][] = [["a", "1"], ["b", "2"]];
  assertEquals([...new HeaderFields(expected)], expected);
  assertEquals([...new HeaderFields({ A: "1", B: "2" })], expected);
  assertEquals([...new HeaderFields(new Headers({ a: "1", b: "2" }))], expected);
  assertEquals([...new HeaderFields(new HeaderFields(expected))], expected);
  assertEquals([...new HeaderFields()], []);
});

Deno.test("HeaderFields.get() joins repetitions; cookies by semicolons", () => {
  const fields = new HeaderFields([["x", "1"], ["cookie", "a=1"], ["X", "2"], ["cookie", "b=2"], [
    "empty",
    "",
  ]]);
  assertEquals(fields.get("X"), "1, 2");
  assertEquals(fields.get("Cookie"), "a=1; b=2");
  assertEquals([fields.get("empty"), fields.get("absent")], ["", null]);
  assertEquals([fields.has("EMPTY"), fields.has("absent")], [true, false]);
  assertEquals([fields.getAll("x"), fields.getAll("absent")], [["1", "2"], []]);
});

Deno.test("HeaderFields.getSetCookie() keeps cookies apart", () => {
  const fields = new HeaderFields([["Set-Cookie", "a=1, x"], ["set-cookie", "b=2"]]);
  assertEquals(fields.getSetCookie(), ["a=1, x", "b=2"]);
});

Deno.test("HeaderFields.set() takes the place of the first line and removes the others", () => {
  const fields = new HeaderFields([["a", "1"], ["b", "1"], ["a", "2"], ["c", "1"], ["a", "3"]]);
  fields.set("A", " new\t");
  assertEquals([...fields], [["a", "new"], ["b", "1"], ["c", "1"]]);
  fields.set("d", "4");
  assertEquals([...fields].at(-1), ["d", "4"]);
});

Deno.test("HeaderFields.set() drops the white space around values that Headers does, and no other", () => {
  const fields = new HeaderFields({ x: "\r\n\t a\u00a0 \n" });
  fields.append("x", "\u00a0b");
  assertEquals(fields.getAll("x"), ["a\u00a0", "\u00a0b"]);
  assertEquals(new Headers({ x: "\r\n\t a\u00a0 \n" }).get("x"), "a\u00a0");
  assertThrows(() => fields.set("x", "\ufeffa"), TypeError);
});

Deno.test("HeaderFields.delete() removes every line of the field", () => {
  const fields = new HeaderFields([["a", "1"], ["b", "1"], ["A", "2"]]);
  fields.delete("a");
  fields.delete("absent");
  assertEquals([...fields], [["b", "1"]]);
});

Deno.test("HeaderFields refuses names and values that would end a field", () => {
  const fields = new HeaderFields();
  for (const name of ["", "a b", "a:", "a\r\nb", "ä", "a\0", "(a)"]) {
    for (const call of [() => fields.set(name, "x"), () => fields.append(name, "x")]) {
      assertThrows(call, TypeError);
    }
  }
  for (const value of ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "a\x7fb", "\u0100", "\u{1f600}", "a\x1bb"]) {
    for (const call of [() => fields.set("x", value), () => fields.append("x", value)]) {
      assertThrows(call, TypeError);
    }
    assertThrows(() => new HeaderFields({ x: value }), TypeError);
  }
  assertEquals([...fields], []);
});

Deno.test("HeaderFields.adopt() takes a list over without a copy", () => {
  const list = ["a", "1"];
  const fields = HeaderFields.adopt(list);
  fields.append("b", "2");
  assertEquals(list, ["a", "1", "b", "2"]);
});

Deno.test("isToken() and isFieldValue() draw the line where RFC 9110 does", () => {
  const tchar = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]$/;
  for (let code = 0; code < 300; code++) {
    const char = String.fromCharCode(code);
    assertEquals(isToken(char), tchar.test(char), `${code}`);
    const allowed = code === 9 || (code >= 0x20 && code !== 0x7f && code <= 0xff);
    assertEquals(isFieldValue(char), allowed, `${code}`);
  }
  assert(!isToken("") && isFieldValue(""));
});

Deno.test("HeaderFields agrees with Headers wherever Headers keeps what it was given (property)", () => {
  const name = fc.constantFrom("a", "B", "x-c", "X-C");
  const value = fc.constantFrom("1", "two", "", " 3 ", "four, five");
  const step = fc.oneof(
    fc.record({ kind: fc.constantFrom("append" as const, "set" as const), name, value }),
    fc.record({ kind: fc.constant("delete" as const), name, value }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const fields = new HeaderFields();
      const model = new Headers();
      for (const { kind, name, value } of steps) {
        if (kind === "delete") {
          fields.delete(name);
          model.delete(name);
        } else {
          fields[kind](name, value);
          model[kind](name, value);
        }
      }
      for (const name of ["a", "b", "x-c", "d"]) {
        assertEquals(fields.get(name), model.get(name));
        assertEquals(fields.has(name), model.has(name));
      }
    }),
    { seed: 20260103, numRuns: 500 },
  );
});
