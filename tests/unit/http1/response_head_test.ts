import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { UpstreamError } from "../../../lib/core/errors.ts";
import { ResponseHeadParser } from "../../../lib/http1/head_parser.ts";
import { latin1Bytes, latin1Text } from "../../support/raw_connection.ts";
import { readInPieces } from "../../support/read_in_pieces.ts";

const MAX_BYTES = 64 * 1024;
const MAX_FIELDS = 200;

const TOKEN = [..."!#$%&'*+-.^_`|~0123456789abcxyzABCXYZ"];
const VALUE = [...' \t!"#,:;=@[]{}~azAZ09\x80\xa0\xff'];

const name = fc.array(fc.constantFrom(...TOKEN), { minLength: 1, maxLength: 12 }).map((chars) =>
  `x${chars.join("")}`
);
const value = fc.array(fc.constantFrom(...VALUE), { maxLength: 30 }).map((chars) => chars.join(""));
const blank = fc.constantFrom("", " ", "\t", "  \t ");
const cuts = fc.array(fc.nat(800), { maxLength: 20 });

function within(bytes: Uint8Array, places: readonly number[]): number[] {
  return places.map((place) => Math.min(place, bytes.length)).sort((a, b) => a - b);
}

/** A value without the blanks around it, which are no part of it. */
function trimBlanks(text: string): string {
  return text.replace(/^[ \t]+|[ \t]+$/g, "");
}

Deno.test("ResponseHeadParser gives back any status, reason and fields, wherever the reads cut them", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 200, max: 599 }),
      fc.option(value, { nil: null }),
      fc.array(fc.tuple(name, blank, value, blank), { maxLength: 20 }),
      cuts,
      (status, reason, fields, places) => {
        const lines = fields.map(([key, before, text, after]) => `${key}:${before}${text}${after}\r\n`).join(
          "",
        );
        const line = `HTTP/1.1 ${status}${reason === null ? "" : ` ${reason}`}\r\n`;
        const bytes = latin1Bytes(`${line}${lines}\r\n`);
        const reading = readInPieces(bytes, within(bytes, places), "HEAD");
        assertEquals(reading.outcome, "complete", reading.message);
        assertEquals([reading.status, reading.statusText], [status, reason ?? ""]);
        assertEquals(
          reading.fields,
          fields.flatMap(([key, , text]) => [key.toLowerCase(), trimBlanks(text)]),
        );
      },
    ),
    { seed: 3, numRuns: 500 },
  );
});

Deno.test("ResponseHeadParser throws nothing but the protocol error, and every split of any bytes gives the same", () => {
  const parts = [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 ",
    "\r\n",
    "\n",
    "\r",
    ":",
    " ",
    "\0",
    "Content-Length: 2",
    "Connection: close",
  ];
  const soup = fc.array(
    fc.constantFrom(...parts, "Transfer-Encoding: chunked", "a", "9", "\xff", "HTTP/1.1 100 \r\n\r\n"),
    {
      maxLength: 30,
    },
  ).map((pieces) => latin1Bytes(pieces.join("")));
  const begun = soup.map((bytes) => latin1Bytes(`HTTP/1.1 200 OK\r\n${latin1Text(bytes)}`));
  fc.assert(
    fc.property(fc.oneof(soup, begun, fc.uint8Array({ maxLength: 200 })), cuts, (bytes, places) => {
      assertEquals(readInPieces(bytes, within(bytes, places)), readInPieces(bytes));
      assertEquals(readInPieces(bytes, Array.from(bytes.keys())), readInPieces(bytes));
    }),
    { seed: 3, numRuns: 1500 },
  );
});

Deno.test("ResponseHeadParser refuses every control character but tab and LF, wherever in a head it stands", () => {
  const head = "HTTP/1.1 200 Fine\r\nName: value\r\nContent-Length: 0\r\n\r\n";
  for (let code = 0; code < 256; code++) {
    const control = (code < 32 && code !== 9 && code !== 10) || code === 127;
    for (let at = 0; at <= head.indexOf("\r\n\r\n"); at++) {
      const bytes = latin1Bytes(head.slice(0, at) + String.fromCharCode(code) + head.slice(at));
      const { outcome, fields } = readInPieces(bytes);
      if (control && outcome === "complete") {
        throw new Error(`${code} at ${at} gave ${fields}`);
      }
    }
  }
});

Deno.test("ResponseHeadParser takes a head of 64 KiB and 200 fields, and refuses one byte or field more", () => {
  const empty = "HTTP/1.1 200 OK\r\nX: \r\n\r\n";
  const long = (length: number) => empty.replace("X: ", `X: ${"y".repeat(length - empty.length)}`);
  const many = (count: number) => `HTTP/1.1 200 OK\r\n${"X: y\r\n".repeat(count)}\r\n`;
  const outcome = (text: string) => readInPieces(latin1Bytes(text), [], "HEAD").outcome;
  assertEquals([outcome(long(MAX_BYTES)), outcome(long(MAX_BYTES + 1))], [
    "complete",
    "refused",
  ]);
  assertEquals([outcome(many(MAX_FIELDS)), outcome(many(MAX_FIELDS + 1))], [
    "complete",
    "refused",
  ]);
});

Deno.test("ResponseHeadParser finds the same with bare LF as line end", () => {
  const head = "HTTP/1.1 200 Fine\r\nName: value\r\nX:\r\nContent-Length: 0\r\n\r\n";
  const strict = readInPieces(latin1Bytes(head));
  assertEquals(strict.outcome, "complete");
  assertEquals(readInPieces(latin1Bytes(head.replaceAll("\r", ""))), strict);
  for (let at = head.indexOf("\r"); at !== -1; at = head.indexOf("\r", at + 1)) {
    const bytes = latin1Bytes(head.slice(0, at) + head.slice(at + 1));
    assertEquals(readInPieces(bytes, Array.from(bytes.keys())), strict);
  }
});

Deno.test("ResponseHeadParser takes one of many equal lengths, and refuses what only some readers take for the same", () => {
  const read = (...lines: string[]) =>
    readInPieces(latin1Bytes(`HTTP/1.1 200 OK\r\n${lines.join("\r\n")}\r\n\r\nab`));
  const many = "2, ".repeat(20_000);
  const same = [["Content-Length: 2", "content-length: 2"], ["Content-Length: 2 ,\t2,2"], [
    `Content-Length: ${many}2`,
  ]];
  for (const lines of same) {
    const { outcome, content } = read(...lines);
    assertEquals([outcome, content], ["complete", "ab"]);
  }
  const different = [
    "2, 3",
    "2,",
    ",2",
    "2,,2",
    "2;2",
    "2 2",
    "2, 2x",
    "2, -2",
    "2, 0x2",
    '2, "2"',
    "2, 99999999999999999",
  ];
  for (const value of different) assertEquals(read(`Content-Length: ${value}`).outcome, "refused", value);
  for (const value of different) {
    assertEquals(read("Content-Length: 2", `Content-Length: ${value}`).outcome, "refused", value);
  }
});

Deno.test("ResponseHeadParser gives up on a line without end as soon as it is too long", () => {
  const head = new ResponseHeadParser();
  const bytes = latin1Bytes("HTTP/1.1 200 OK\r\nX: ".padEnd(MAX_BYTES + 1, "y"));
  head.begin(0);
  assert(!head.parse(bytes, MAX_BYTES - 1));
  assertThrows(() => head.parse(bytes, MAX_BYTES + 1), UpstreamError, "64 KiB");
});

Deno.test("ResponseHeadParser tells from the first wrong byte that something is not HTTP", () => {
  for (const text of ["S", "HTTP/2", "HTTP/1,", "h", "\r"]) {
    const head = new ResponseHeadParser();
    head.begin(0);
    assertThrows(() => head.parse(latin1Bytes(text), text.length), UpstreamError);
  }
});

Deno.test("ResponseHeadParser.persistent follows the version and every value of Connection", () => {
  const cases: [string, boolean][] = [
    ["HTTP/1.1 200 OK", true],
    ["HTTP/1.1 200 OK\r\nConnection: keep-alive", true],
    ["HTTP/1.1 200 OK\r\nConnection: close", false],
    ["HTTP/1.1 200 OK\r\nConnection: , x ,\tCLOSE ,", false],
    ["HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nConnection: close", false],
    ["HTTP/1.1 200 OK\r\nConnection: closed", true],
    ["HTTP/1.0 200 OK", false],
    ["HTTP/1.0 200 OK\r\nConnection: Keep-Alive", true],
    ["HTTP/1.0 200 OK\r\nConnection: keep-alive, close", false],
  ];
  for (const [head, persistent] of cases) {
    assertEquals(readInPieces(latin1Bytes(`${head}\r\n\r\n`), [], "HEAD").persistent, persistent, head);
  }
});

Deno.test("ResponseHeadParser refuses framing that another parser could read differently", () => {
  const read = (lines: string, version = "1.1") =>
    readInPieces(latin1Bytes(`HTTP/${version} 200 OK\r\n${lines}\r\n\r\n0\r\n\r\n`)).outcome;
  assertEquals(read("Transfer-Encoding:\tChunked "), "complete");
  const refused = [
    "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ...["gzip", "identity", "gzip, chunked", "chunked, chunked", "chunked,", "", '"chunked"', "\xa0chunked"]
      .map(
        (value) => `Transfer-Encoding: ${value}`,
      ),
    "X : y",
    "X: y\r\n folded",
    " X: y",
    ": y",
    "X",
    "X\xe9: y",
    "X: a\0b",
    "X: a\rb",
  ];
  for (const lines of refused) assertEquals(read(lines), "refused", lines);
  assertEquals(read("Transfer-Encoding: chunked", "1.0"), "refused");
});

Deno.test("ResponseHeadParser refuses status lines that are none", () => {
  const outcome = (line: string) => readInPieces(latin1Bytes(`${line}\r\n\r\n`), [], "HEAD").outcome;
  const good = ["HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.0 599 a b\t\xe9", "HTTP/1.1 200  OK"];
  for (const line of good) assertEquals(outcome(line), "complete", line);
  const bad = [
    ...[
      "HTTP/1.1",
      "HTTP/1.1 ",
      "HTTP/1.1 20",
      "HTTP/1.1 2000",
      "HTTP/1.1  200",
      "HTTP/1.1\t200",
      "HTTP/1.1 099",
    ],
    ...[
      "HTTP/1.1 600",
      "HTTP/1.2 200",
      "HTTP/2 200",
      "HTTP/1 200",
      "http/1.1 200",
      "ICY 200",
      "HTTP/1.1 2x0",
    ],
    ...[" HTTP/1.1 200", "\r\nHTTP/1.1 200", "HTTP/1.1 200 a\0", "HTTP/1.1 200 a\rb", "HTTP/1.1 200OK"],
  ];
  for (const line of bad) assertEquals(outcome(line), "refused", line);
});

Deno.test("ResponseHeadParser refuses with the protocol error, and shows nothing of the head before", () => {
  const head = new ResponseHeadParser();
  const first = latin1Bytes("HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nConnection: x\r\n\r\n");
  head.begin(0);
  assert(head.parse(first, first.length));
  assert(head.namesFields);
  head.begin(0);
  const error = assertThrows(() => head.parse(latin1Bytes("HTTP/2"), 6), UpstreamError);
  assertEquals([error.code, error.phase], ["http_protocol_error", "answered"]);
  assertEquals([head.lines.count, head.namesFields], [0, false]);
});
