import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { UpstreamError } from "../../../lib/core/errors.ts";
import { ChunkedReader } from "../../../lib/transport/http1/chunked_reader.ts";
import { latin1Bytes, latin1Text } from "../../support/raw_connection.ts";
import { readInPieces } from "../../support/read_in_pieces.ts";

const HEAD = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/** A chunk as servers write them: any content, its size padded and extended. */
const chunk = fc.record({
  content: fc.uint8Array({ minLength: 1, maxLength: 60 }).map(latin1Text),
  zeros: fc.constantFrom("", "0", "0000"),
  upper: fc.boolean(),
  after: fc.constantFrom("", " ", ";", ";a=b", ';a="b;c"', " \t;x"),
});
const trailers = fc.array(fc.constantFrom("X: y", "Content-Length: 5", "Empty:", "Latin: \xe9"), {
  maxLength: 3,
});
const cuts = fc.array(fc.nat(600), { maxLength: 30 });

function sizeLine(
  { content, zeros, upper, after }: { [K in "content" | "zeros" | "after"]: string } & { upper: boolean },
) {
  const size = content.length.toString(16);
  return `${zeros}${upper ? size.toUpperCase() : size}${after}\r\n`;
}

function within(bytes: Uint8Array, places: readonly number[]): number[] {
  return places.map((place) => Math.min(place, bytes.length)).sort((a, b) => a - b);
}

const SIZE_LINE = /^([0-9a-fA-F]{1,13})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n/;
const TRAILERS = /^(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n/;

/** The grammar of RFC 9112 section 7.1 on the whole text: the content, and how much came after; `null` if it does not fit. */
function naiveRead(text: string): { content: string; left: number } | null {
  let content = "";
  for (let rest = text;;) {
    const line = SIZE_LINE.exec(rest);
    if (line === null) return null;
    rest = rest.slice(line[0].length);
    const size = parseInt(line[1]!, 16);
    if (size === 0) {
      const end = TRAILERS.exec(rest);
      return end === null ? null : { content, left: rest.length - end[0].length };
    }
    if (rest.slice(size, size + 2) !== "\r\n") return null;
    content += rest.slice(0, size);
    rest = rest.slice(size + 2);
  }
}

Deno.test("ChunkedReader finds the content of any chunks, wherever the reads cut them", () => {
  fc.assert(
    fc.property(
      fc.array(chunk, { maxLength: 8 }),
      trailers,
      cuts,
      fc.nat(9),
      (chunks, fields, places, after) => {
        const body = chunks.map((each) => sizeLine(each) + each.content + "\r\n").join("") + "0\r\n" +
          fields.map((field) => `${field}\r\n`).join("") + "\r\n";
        const bytes = latin1Bytes(HEAD + body + "x".repeat(after));
        const { outcome, content, left } = readInPieces(bytes, within(bytes, places));
        assertEquals([outcome, content, left], [
          "complete",
          chunks.map(({ content }) => content).join(""),
          after,
        ]);
      },
    ),
    { seed: 3, numRuns: 500 },
  );
});

Deno.test("ChunkedReader is never done before the last byte of the body", () => {
  fc.assert(
    fc.property(fc.array(chunk, { maxLength: 4 }), trailers, fc.nat(400), (chunks, fields, place) => {
      const body = chunks.map((each) => sizeLine(each) + each.content + "\r\n").join("") + "0\r\n" +
        fields.map((field) => `${field}\r\n`).join("") + "\r\n";
      const bytes = latin1Bytes(HEAD + body);
      const cut = bytes.subarray(0, Math.max(HEAD.length, bytes.length - 1 - place));
      assertEquals(readInPieces(cut).outcome, "open");
    }),
    { seed: 3, numRuns: 300 },
  );
});

Deno.test("ChunkedReader throws nothing but the protocol error, and every split of any bytes gives the same", () => {
  const soup = fc.array(
    fc.constantFrom(
      ..."0123fF;: \t\r\nxX\0\xff",
      "\r\n",
      "0\r\n\r\n",
      "3\r\nabc\r\n",
      "3\r\nabc",
      "3\r\nabc\r",
      "A:b\r\n",
    ),
    {
      maxLength: 60,
    },
  ).map((parts) => latin1Bytes(HEAD + parts.join("")));
  const any = fc.uint8Array({ maxLength: 200 }).map((bytes) => latin1Bytes(HEAD + latin1Text(bytes)));
  fc.assert(
    fc.property(fc.oneof(soup, any), cuts, (bytes, places) => {
      assertEquals(readInPieces(bytes, within(bytes, places)), readInPieces(bytes));
      const { outcome, content, left } = readInPieces(bytes);
      const naive = naiveRead(latin1Text(bytes.subarray(HEAD.length)));
      assertEquals(outcome === "complete" ? { content, left } : null, naive);
      // Every byte by itself.
      assertEquals(readInPieces(bytes, Array.from(bytes.keys())), readInPieces(bytes));
    }),
    { seed: 3, numRuns: 1500 },
  );
});

Deno.test("ChunkedReader bounds sizes, extensions and trailers over the whole body, not each by itself", () => {
  const refused = (pieces: Iterable<string>, found: string) => {
    const reader = new ChunkedReader();
    const error = assertThrows(() => {
      for (const piece of pieces) reader.read(latin1Bytes(piece), 0, piece.length);
    }, UpstreamError);
    assertEquals([error.code, error.message.includes(found)], ["http_protocol_error", true], error.message);
  };
  refused(["00000000000001\r\n"], "too many digits");
  refused(Array(17).fill(`1;${"x".repeat(1023)}\r\na\r\n`), "extensions without end");
  refused(Array(17).fill(`1${" ".repeat(1024)}\r\na\r\n`), "extensions without end");
  refused(["0\r\n", ...Array(70).fill(`X: ${"y".repeat(1000)}\r\n`)], "64 KiB");
});

Deno.test("ChunkedReader takes a chunk of more than 4 GiB for what it is", () => {
  const reader = new ChunkedReader();
  const bytes = latin1Bytes("1000000002\r\nab");
  reader.read(bytes, 0, bytes.length);
  assertEquals([reader.contentEnd - reader.contentStart, reader.done], [2, false]);
});
