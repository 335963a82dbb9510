import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { HeaderFields, isFieldValue, isToken } from "../../../lib/http/header_fields.ts";
import { rawFields, rawLines } from "../../support/raw_fields.ts";

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

Deno.test("HeaderFields reads lines that came as bytes as any others", () => {
  const fields = rawFields(
    "Host: h",
    "X-A: 1",
    "COOKIE: a=1",
    "x-a:\t2 ",
    "Cookie: b=2",
    "Set-Cookie: c",
    "X-E:",
  );
  assertEquals([...fields], [
    ["host", "h"],
    ["x-a", "1"],
    ["cookie", "a=1"],
    ["x-a", "2"],
    ["cookie", "b=2"],
    ["set-cookie", "c"],
    ["x-e", ""],
  ]);
  assertEquals([fields.get("HOST"), fields.get("x-A"), fields.get("cookie")], ["h", "1, 2", "a=1; b=2"]);
  assertEquals([fields.get("x-e"), fields.get("x-f"), fields.get("x-")], ["", null, null]);
  assertEquals([fields.has("X-E"), fields.has("x-f"), fields.has("")], [true, false, false]);
  assertEquals([fields.getAll("X-A"), fields.getSetCookie()], [["1", "2"], ["c"]]);
  assertEquals(new Headers([...fields]).get("x-a"), "1, 2");
});

Deno.test("HeaderFields edits lines that came as bytes, and leaves the bytes alone", () => {
  const lines = rawLines("Host: h", "X-A: 1", "X-B: 2", "x-a: 3");
  const before = lines.bytes.slice();
  const fields = new HeaderFields();
  fields.begin(lines);
  fields.append("x-a", "4");
  assertEquals(fields.get("x-a"), "1, 3, 4");
  fields.set("X-A", "5");
  assertEquals([...fields], [["host", "h"], ["x-b", "2"], ["x-a", "5"]]);
  fields.set("x-a", "6");
  fields.delete("HOST");
  assertEquals([...fields], [["x-b", "2"], ["x-a", "6"]]);
  fields.delete("x-a");
  fields.delete("x-b");
  assertEquals([[...fields], fields.has("x-b"), fields.get("host")], [[], false, null]);
  assertEquals(fields.lines, lines);
  assertEquals([0, 1, 2, 3].map((line) => fields.isRemoved(line)), [true, true, true, true]);
  assertEquals(lines.bytes, before);
  fields.append("x-b", "7");
  assertEquals([...fields], [["x-b", "7"]]);
});

Deno.test("HeaderFields refuses bad names and values for lines as well, and changes nothing then", () => {
  const fields = rawFields("X-A: 1");
  for (const value of ["a\r\nb: c", "\0", "\u0100"]) assertThrows(() => fields.set("x-a", value), TypeError);
  assertThrows(() => fields.set("x a", "1"), TypeError);
  assertEquals([...fields], [["x-a", "1"]]);
});

Deno.test("HeaderFields.begin() forgets whatever was there", () => {
  const fields = rawFields("X-A: 1", "X-B: 2");
  fields.delete("x-b");
  fields.append("x-c", "3");
  const many = Array.from({ length: 300 }, (_, index) => `Y-${index}: ${index}`);
  fields.begin(rawLines(...many));
  assertEquals([...fields].length, 300);
  fields.delete("y-299");
  fields.begin(rawLines("X-A: 1", "X-B: 2"));
  assertEquals([...fields], [["x-a", "1"], ["x-b", "2"]]);
  fields.begin(rawLines());
  assertEquals([...fields], []);
});

Deno.test("HeaderFields.clone() shares nothing that can be changed", () => {
  const fields = rawFields("X-A: 1", "X-B: 2");
  fields.append("x-c", "3");
  fields.delete("x-b");
  const clone = fields.clone();
  clone.delete("x-a");
  clone.set("x-c", "4");
  fields.append("x-d", "5");
  assertEquals([...clone], [["x-c", "4"]]);
  assertEquals([...fields], [["x-a", "1"], ["x-c", "3"], ["x-d", "5"]]);
  const own = new HeaderFields({ a: "1" }).clone();
  own.set("a", "2");
  assertEquals([[...own], own.lines], [[["a", "2"]], null]);
});

Deno.test("HeaderFields.detach() keeps the fields when the bytes are used for something else", () => {
  const lines = rawLines("X-A: 1", "X-B: 2", "Cookie: c");
  const fields = new HeaderFields();
  fields.begin(lines);
  fields.delete("x-b");
  fields.append("x-d", "4");
  const clone = fields.clone();
  fields.detach();
  clone.detach();
  lines.bytes.fill(0x78);
  lines.begin(lines.bytes);
  const expected = [["x-a", "1"], ["cookie", "c"], ["x-d", "4"]];
  assertEquals([[...fields], [...clone]], [expected, expected]);
  fields.delete("x-a");
  assertEquals([fields.get("cookie"), fields.has("x-a"), clone.has("x-a")], ["c", false, true]);
  const none = new HeaderFields({ a: "1" });
  none.detach();
  assertEquals([...none], [["a", "1"]]);
});

Deno.test("HeaderFields agrees with a plain list, whatever is edited of lines that came as bytes (property)", () => {
  const name = fc.constantFrom("a", "Host", "x-c", "X-C", "Cookie");
  const value = fc.constantFrom("1", "two", "", "four, five");
  const step = fc.record({
    kind: fc.constantFrom("append", "set", "delete", "clone", "detach"),
    name,
    value,
  });
  interface Entry {
    name: string;
    value: string;
    came: boolean;
  }
  fc.assert(
    fc.property(
      fc.array(fc.tuple(name, value), { maxLength: 8 }),
      fc.array(step, { maxLength: 12 }),
      (lines, steps) => {
        let fields = rawFields(...lines.map(([name, value]) => `${name}: ${value}`));
        let model: Entry[] = lines.map(([name, value]) => ({ name: name.toLowerCase(), value, came: true }));
        for (const { kind, name, value } of steps) {
          const key = name.toLowerCase();
          const added = { name: key, value, came: false };
          if (kind === "append") {
            fields.append(name, value);
            model.push(added);
          } else if (kind === "set") {
            fields.set(name, value);
            const at = model.findIndex((entry) => entry.name === key && !entry.came);
            if (at < 0) model = [...model.filter((entry) => entry.name !== key), added];
            else {
              model[at] = added;
              model = model.filter((entry) => entry.name !== key || entry === added);
            }
          } else if (kind === "delete") {
            fields.delete(name);
            model = model.filter((entry) => entry.name !== key);
          } else if (kind === "clone") fields = fields.clone();
          else fields.detach();
        }
        assertEquals([...fields], model.map(({ name, value }) => [name, value] as [string, string]));
        for (const key of ["a", "host", "x-c", "cookie", "d"]) {
          const values = model.filter((entry) => entry.name === key).map(({ value }) => value);
          assertEquals(fields.getAll(key), values);
          assertEquals(
            fields.get(key),
            values.length === 0 ? null : values.join(key === "cookie" ? "; " : ", "),
          );
          assertEquals(fields.has(key), values.length > 0);
        }
      },
    ),
    { seed: 20260104, numRuns: 1000 },
  );
});
