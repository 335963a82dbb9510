import { assert, assertEquals, assertNotStrictEquals } from "@std/assert";
import {
  decodeLatin1,
  equalsToken,
  fieldId,
  type FieldLines,
  OTHER_FIELD,
} from "../../../lib/http/field_lines.ts";
import { latin1Bytes } from "../../support/raw_connection.ts";
import { rawLines } from "../../support/raw_fields.ts";

Deno.test("FieldLines gives names and values of lines, and where they stand", () => {
  const lines = rawLines("Host: h", "X-Own:\t a b ", "COOKIE:", "x: \xe9\xff");
  assertEquals(lines.count, 4);
  const seen = [0, 1, 2, 3].map((line) => [lines.name(line), lines.nameAsWritten(line), lines.value(line)]);
  assertEquals(seen, [
    ["host", "Host", "h"],
    ["x-own", "X-Own", "a b"],
    ["cookie", "COOKIE", ""],
    ["x", "x", "\xe9\xff"],
  ]);
  assertEquals([lines.id(0), lines.id(1), lines.id(2)], [fieldId("host"), OTHER_FIELD, fieldId("cookie")]);
  const text = (from: number, to: number) => decodeLatin1(lines.bytes, from, to);
  assertEquals(text(lines.nameStart(1), lines.lineEnd(1)), "X-Own:\t a b \r\n");
  assertEquals(text(lines.nameStart(3), lines.lineEnd(3)), "x: \xe9\xff\r\n");
  assertEquals(text(lines.valueStart(1), lines.valueEnd(1)), "a b");
});

Deno.test("FieldLines.isNamed() compares without case, in the table and outside of it", () => {
  const lines = rawLines("HOST: h", "X-oWn: 1", "x-own-2: 2");
  const named = (name: string) => [0, 1, 2].filter((line) => lines.isNamed(line, name, fieldId(name)));
  assertEquals([named("host"), named("x-own"), named("x-own-2")], [[0], [1], [2]]);
  assertEquals([named("x-ow"), named(""), named("via"), named("x-own\u0100")], [[], [], [], []]);
});

Deno.test("FieldLines.joined() puts the values of all lines together", () => {
  const lines = rawLines("X: 1", "Connection: a", "x:", "connection:b", "X: 2");
  assertEquals([lines.joined("x"), lines.joined("connection"), lines.joined("y")], ["1, , 2", "a, b", null]);
});

Deno.test("FieldLines has room for any number of lines", () => {
  const lines = rawLines(...Array.from({ length: 500 }, (_, index) => `X-${index}: ${index}`));
  assertEquals(lines.count, 500);
  for (const line of [0, 31, 32, 63, 64, 499]) {
    assertEquals([lines.name(line), lines.value(line)], [`x-${line}`, `${line}`]);
  }
});

Deno.test("FieldLines tells of underscores and empty values, until it begins anew", () => {
  const flags = ({ underscore, emptyValue }: FieldLines) => [underscore, emptyValue];
  assertEquals(flags(rawLines("Host: a_b", "X-A: _")), [false, false]);
  assertEquals(flags(rawLines("X_A: 1")), [true, false]);
  assertEquals(flags(rawLines("X-A: ")), [false, true]);
  const lines = rawLines("_: ");
  assertEquals(flags(lines), [true, true]);
  lines.bareLf = true;
  lines.begin(lines.bytes);
  assertEquals([...flags(lines), lines.bareLf, lines.count, lines.end], [false, false, false, 0, 0]);
});

Deno.test("FieldLines.copy() keeps everything, whatever becomes of the bytes", () => {
  const lines = rawLines("Host: h", "X_Own: 1", "Empty:");
  lines.bareLf = true;
  const copy = lines.copy();
  assertNotStrictEquals(copy.bytes.buffer, lines.bytes.buffer);
  lines.bytes.fill(0);
  lines.begin(latin1Bytes("a: b"));
  lines.add(0, 1, 3, 4);
  assertEquals([0, 1, 2].map((line) => `${copy.nameAsWritten(line)}=${copy.value(line)}`), [
    ...["Host=h", "X_Own=1", "Empty="],
  ]);
  assertEquals(decodeLatin1(copy.bytes, 0, copy.end), "Host: h\r\nX_Own: 1\r\nEmpty:\r\n");
  assertEquals([copy.id(0), copy.lineEnd(2)], [fieldId("host"), copy.end]);
  // What is screened later must still be.
  assertEquals([copy.bareLf, copy.underscore, copy.emptyValue], [true, true, true]);
  const none = rawLines().copy();
  assertEquals([none.count, none.end], [0, 0]);
  none.bytes = latin1Bytes("a: b");
  none.add(0, 1, 3, 4);
  none.add(0, 1, 3, 4);
  assertEquals([none.count, none.value(1)], [2, "b"]);
});

Deno.test("decodeLatin1() gives a character for every byte, however many there are", () => {
  const every = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)).join("");
  for (
    const text of [
      "",
      "a",
      every,
      "a".repeat(25),
      `${"a".repeat(30)}\x80`,
      every.repeat(100),
      "\xef\xbb\xbfa".repeat(9),
    ]
  ) {
    assert(decodeLatin1(latin1Bytes(`x${text}x`), 1, 1 + text.length) === text, text.slice(0, 20));
  }
});

Deno.test("equalsToken() ignores the case, and wants all of it", () => {
  const bytes = latin1Bytes("xChunkedx");
  const chunked = latin1Bytes("chunked");
  assertEquals([equalsToken(bytes, 1, 8, chunked), equalsToken(bytes, 1, 7, chunked)], [true, false]);
  assertEquals([equalsToken(bytes, 0, 7, chunked), equalsToken(bytes, 1, 9, chunked)], [false, false]);
});
