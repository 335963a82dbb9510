import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { escapeQuoted } from "../../../lib/observe/text_format.ts";
import { encodeText, LineBytes, plainBytes } from "../../../lib/observe/line_bytes.ts";

function written(write: (out: LineBytes) => void): string {
  const out = new LineBytes(1);
  write(out);
  return new TextDecoder().decode(out.written);
}

Deno.test("LineBytes.whole() writes what String() does", () => {
  for (const value of [0, 9, 10, 99, 100, 999_999_999, 1e9, 2 ** 53, -1, NaN]) {
    assertEquals(written((out) => out.whole(value)), String(value));
  }
  fc.assert(
    fc.property(
      fc.maxSafeNat(),
      (value) => assertEquals(written((out) => out.whole(value)), String(value)),
    ),
    { seed: 1, numRuns: 500 },
  );
});

Deno.test("LineBytes.milliseconds() writes three places behind the point at most", () => {
  const expected = (ms: number): string => String(Math.round(ms * 1000) / 1000);
  for (const ms of [0, 0.0004, 0.0005, 0.001, 0.01, 0.1, 1, 1.5, 999.9996, 999_999.999, 1e6, 1e9, -1.5]) {
    assertEquals(written((out) => out.milliseconds(ms)), expected(ms));
  }
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 1e7, noNaN: true }),
      (ms) => assertEquals(written((out) => out.milliseconds(ms)), expected(ms)),
    ),
    { seed: 2, numRuns: 2000 },
  );
});

Deno.test("LineBytes.quoted() writes what escapeQuoted() makes, in UTF-8", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
      assertEquals(written((out) => out.quoted(text)), escapeQuoted(text));
      assertEquals(written((out) => out.text(text)), text);
    }),
    { seed: 3, numRuns: 1000 },
  );
});

Deno.test("LineBytes.word() puts in quotes what has a space or had to be escaped", () => {
  const words = ["", "plain", "two words", 'a"b', "a\nb", "caf\u00e9"].map((text) =>
    written((out) => out.word(text))
  );
  assertEquals(words, ["-", "plain", '"two words"', '"a\\"b"', '"a\\nb"', "caf\u00e9"]);
});

Deno.test("LineBytes.plainBytes() writes all or nothing", () => {
  const out = new LineBytes(2);
  out.raw(encodeText("head "));
  assertEquals(out.plainBytes(encodeText("xx/path?key=1"), 2, 7, plainBytes("?")), true);
  assertEquals(out.plainBytes(encodeText("/path?key=1"), 0, 11, plainBytes("?")), false);
  assertEquals(out.plainBytes(Uint8Array.of(0x41, 0x0a), 0, 2, plainBytes()), false);
  assertEquals(out.plainBytes(Uint8Array.of(0x41, 0xc3), 0, 2, plainBytes()), false);
  assertEquals(new TextDecoder().decode(out.written), "head /path");
});
