import { assert, assertEquals } from "@std/assert";
import {
  ChunkedReader,
  CloseReader,
  LengthReader,
  requestBodyReader,
  responseBodyReader,
} from "../../../lib/http1/body_reader.ts";
import { RequestHeadParser } from "../../../lib/http1/request_head.ts";
import { ResponseHeadParser } from "../../../lib/http1/head_parser.ts";
import { latin1Bytes } from "../../support/raw_connection.ts";

type Kind = typeof CloseReader | typeof LengthReader | typeof ChunkedReader | null;

Deno.test("responseBodyReader() knows which responses have content, and how it is framed", () => {
  const chunked = "Transfer-Encoding: chunked";
  const cases: [method: string, status: number, field: string, kind: Kind][] = [
    ["GET", 200, "X: y", CloseReader],
    ["GET", 200, "Content-Length: 3", LengthReader],
    ["GET", 200, "Content-Length: 0", null],
    ["GET", 200, chunked, ChunkedReader],
    ["POST", 404, chunked, ChunkedReader],
    ["HEAD", 200, "Content-Length: 3", null],
    ["HEAD", 200, chunked, null],
    ["HEAD", 200, "X: y", null],
    ["GET", 204, "Content-Length: 3", null],
    ["GET", 204, chunked, null],
    ["GET", 304, "Content-Length: 3", null],
    ["GET", 304, "X: y", null],
    ["GET", 100, "X: y", null],
    ["GET", 103, "Content-Length: 3", null],
    ["GET", 101, chunked, null],
    ["GET", 205, "Content-Length: 3", LengthReader],
  ];
  for (const [method, status, field, kind] of cases) {
    const head = new ResponseHeadParser();
    const bytes = latin1Bytes(`HTTP/1.1 ${status} x\r\n${field}\r\n\r\n`);
    head.begin(0);
    assert(head.parse(bytes, bytes.length));
    const reader = responseBodyReader(head, method);
    assertEquals(reader?.constructor, kind ?? undefined, `${method} ${status} ${field}`);
  }
});

Deno.test("RequestHeadParser.hasContent and requestBodyReader(): never until the end of the connection", () => {
  const cases: [field: string, kind: Kind][] = [
    ["X: y", null],
    ["Content-Length: 0", null],
    ["Content-Length: 3", LengthReader],
    ["Transfer-Encoding: chunked", ChunkedReader],
  ];
  for (const [field, kind] of cases) {
    for (const method of ["GET", "HEAD", "POST"]) {
      const head = new RequestHeadParser();
      const bytes = latin1Bytes(`${method} / HTTP/1.1\r\nHost: h\r\n${field}\r\n\r\n`);
      head.begin(0);
      assert(head.parse(bytes, bytes.length));
      assertEquals(head.hasContent, kind !== null, `${method} ${field}`);
      if (kind !== null) assertEquals(requestBodyReader(head).constructor, kind, `${method} ${field}`);
    }
  }
});

Deno.test("LengthReader takes its bytes and leaves those behind them alone", () => {
  const reader = new LengthReader(5);
  const bytes = latin1Bytes("xxabc");
  reader.read(bytes, 2, 5);
  assertEquals([reader.contentStart, reader.contentEnd, reader.next, reader.left], [2, 5, 5, 2]);
  assertEquals([reader.done, reader.endsWithConnection], [false, false]);
  reader.read(bytes, 0, 5);
  assertEquals([reader.contentStart, reader.contentEnd, reader.next, reader.done], [0, 2, 2, true]);
  reader.read(bytes, 2, 5);
  assertEquals([reader.contentStart, reader.contentEnd, reader.next], [2, 2, 2]);
});

Deno.test("CloseReader takes whatever comes, and is done when the connection is", () => {
  const reader = new CloseReader();
  reader.read(latin1Bytes("abc"), 1, 3);
  assertEquals([reader.contentStart, reader.contentEnd, reader.next, reader.left], [1, 3, 3, Infinity]);
  assertEquals([reader.done, reader.endsWithConnection], [false, true]);
});
