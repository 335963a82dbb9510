/** What makes a head malformed (RFC 9113 sections 8.2 and 8.3). */

import { assertEquals } from "@std/assert";
import { HeaderFields } from "../../../lib/http/header_fields.ts";
import { KIND, kindOf } from "../../../lib/http2/field_kind.ts";
import { ReceivedHead } from "../../../lib/http2/received_head.ts";

const BOUNDS = { maxHeadBytes: 10_000, maxFields: 50 };

function read(fields: readonly (readonly [string, string])[], bounds = BOUNDS): ReceivedHead {
  const head = new ReceivedHead();
  head.begin(bounds);
  for (const [name, value] of fields) {
    const bytes = Uint8Array.from(name + value, (c) => c.charCodeAt(0));
    head.field(bytes, 0, name.length, bytes.length, kindOf(bytes, 0, name.length, bytes.length));
  }
  head.end();
  return head;
}

const PSEUDO = [[":method", "GET"], [":scheme", "https"], [":path", "/"], [
  ":authority",
  "A.example",
]] as const;

Deno.test("ReceivedHead refuses what must not stand in a message", () => {
  const bad: (readonly [string, string])[][] = [
    [["X-Upper", "a"]],
    [["", "a"]],
    [["a b", "c"]],
    [["a:b", "c"]],
    [["a\u00ff", "c"]],
    [["x", "a\0b"]],
    [["x", "a\r\nb: c"]],
    [["x", " a"]],
    [["x", "a\t"]],
    [["connection", "close"]],
    [["keep-alive", "5"]],
    [["proxy-connection", "close"]],
    [["transfer-encoding", "chunked"]],
    [["upgrade", "websocket"]],
    [["te", "gzip"]],
    [["te", "trailers, gzip"]],
    [[":unknown", "a"]],
    [[":Path", "/"]],
    [[":path", "/again"]],
    [["x", "y"], [":protocol", "websocket"]],
    [["host", "b.example"]],
    [["host", "a.example"], ["host", "a.example"]],
    [["content-length", "1"], ["content-length", "1"]],
    [["content-length", "+1"]],
    [["content-length", ""]],
    [["content-length", "1234567890123456"]],
  ];
  for (const fields of bad) {
    assertEquals([fields, read([...PSEUDO, ...fields]).malformed === null], [fields, false]);
  }
  const good = [["te", "trailers"], ["host", "a.EXAMPLE"], ["content-length", "12"], ["x", "\u00ff \t!"], [
    "y",
    "",
  ]] as const;
  const head = read([...PSEUDO, ...good]);
  assertEquals(head.malformed, null);
  assertEquals(head.contentLength, 12);
});

Deno.test("ReceivedHead shows fields as lines of HTTP/1.1: the authority as Host, pieces of a cookie as one", () => {
  const head = read([...PSEUDO, ["cookie", "a=1"], ["b", "2"], ["cookie", "c=3"], ["b", "4"]]);
  assertEquals(
    new TextDecoder().decode(head.lines.bytes.subarray(head.lines.nameStart(0), head.lines.end)),
    [
      "host: A.example",
      "b: 2",
      "b: 4",
      "cookie: a=1; c=3",
      "",
    ].join("\r\n"),
  );
  const headers = new HeaderFields();
  headers.begin(head.lines);
  assertEquals(headers.get("cookie"), "a=1; c=3");
  assertEquals(head.text(KIND.PATH), "/");
  assertEquals(read([[":method", "GET"], ["host", "b"]]).lines.name(0), "host");
});

Deno.test("ReceivedHead counts each field with 32 bytes more, pieces of a cookie too, and keeps nothing beyond its bounds", () => {
  const crumbs = (count: number): (readonly [string, string])[] => Array(count).fill(["cookie", "a"]);
  assertEquals(read(crumbs(50)).excess, null);
  assertEquals(read(crumbs(51)).excess, "fields");
  assertEquals(read(crumbs(40), { maxHeadBytes: 39 * 40, maxFields: 50 }).excess, null);
  assertEquals(read(crumbs(41), { maxHeadBytes: 39 * 40, maxFields: 50 }).excess, "bytes");
  const head = new ReceivedHead();
  head.begin(BOUNDS);
  const bytes = new Uint8Array(4001).fill(0x78);
  for (let i = 0; i < 1000; i++) head.field(bytes, 0, 1, bytes.length, 0);
  head.end();
  assertEquals([head.excess, head.lines.bytes.length < 20_000], ["bytes", true]);
  head.begin(BOUNDS);
  head.end();
  assertEquals([head.excess, head.lines.count], [null, 0]);
});

Deno.test("ReceivedHead reads the status of a response, which is three digits", () => {
  assertEquals(
    ["200", "103", "099", "20", "2000", "abc", ""].map((text) => read([[":status", text]]).status),
    [
      200,
      103,
      -1,
      -1,
      -1,
      -1,
      -1,
    ],
  );
  assertEquals(read([]).status, -1);
});
