import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ProxyError } from "../../../lib/core/errors.ts";
import { type BodyReader, requestBodyReader, responseBodyReader } from "../../../lib/http1/body_reader.ts";
import { RequestHeadParser } from "../../../lib/http1/request_head.ts";
import { ResponseHeadParser } from "../../../lib/http1/head_parser.ts";
import { latin1Bytes, latin1Text } from "../../support/raw_connection.ts";
import { readInPieces } from "../../support/read_in_pieces.ts";
import { readRequests } from "../../support/read_requests.ts";

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

/** The reader that stands behind a head with these lines. */
function readerOf(kind: "request" | "response", lines = ""): BodyReader {
  const start = kind === "request" ? "POST / HTTP/1.1\r\nHost: h" : "HTTP/1.1 200 OK";
  const bytes = latin1Bytes(`${start}\r\n${lines}Transfer-Encoding: chunked\r\n\r\n`);
  const parser = kind === "request" ? new RequestHeadParser() : new ResponseHeadParser();
  parser.begin(0);
  parser.parse(bytes, bytes.length);
  return parser instanceof RequestHeadParser ? requestBodyReader(parser) : responseBodyReader(parser, "GET")!;
}

/** The error for pieces that come one after the other. */
function refusal(kind: "request" | "response", pieces: Iterable<string>): ProxyError {
  const reader = readerOf(kind);
  return assertThrows(() => {
    for (const piece of pieces) reader.read(latin1Bytes(piece), 0, piece.length);
  }, ProxyError);
}

Deno.test("ChunkedReader bounds sizes, extensions and trailers over the whole body, not each by itself", () => {
  const refused = (kind: "request" | "response", pieces: Iterable<string>, found: string, status: number) => {
    const error = refusal(kind, pieces);
    assertEquals([error.status, error.message.includes(found)], [status, true], error.message);
  };
  const trailers = ["0\r\n", ...Array(70).fill(`X: ${"y".repeat(1000)}\r\n`)];
  refused("response", ["00000000000001\r\n"], "too many digits", 502);
  refused("response", Array(17).fill(`1;${"x".repeat(1023)}\r\na\r\n`), "extensions without end", 502);
  refused("response", Array(17).fill(`1${" ".repeat(1024)}\r\na\r\n`), "extensions without end", 502);
  refused("response", trailers, "trailer section", 502);
  refused("request", ["00000000000001\r\n"], "too many digits", 400);
  refused("request", Array(5).fill(`1;${"x".repeat(1023)}\r\na\r\n`), "extensions without end", 400);
  refused("request", trailers.slice(0, 10), "trailer section", 431);
});

Deno.test("ChunkedReader takes a chunk of more than 4 GiB for what it is", () => {
  const reader = readerOf("response");
  const bytes = latin1Bytes("1000000002\r\nab");
  reader.read(bytes, 0, bytes.length);
  assertEquals([reader.contentEnd - reader.contentStart, reader.done], [2, false]);
});

const CHUNKED_REQUEST = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

Deno.test("ChunkedReader refuses of clients whatever another parser could read differently", () => {
  const bodies = [
    ..."\r\n|;a\r\n|x\r\n|0x3\r\nabc\r\n|+3\r\nabc\r\n|-3\r\n|3 \r\nabc\r\n| 3\r\nabc\r\n|3\t\r\n|3 ;a\r\n|3_0\r\n|3.\r\n"
      .split("|"),
    ..."3\nabc\r\n|3\rabc\r\n|3\r\nabc\n|3\r\nabc\r|3\r\nabcd\r\n|3\r\nabc0\r\n|3\r\nabc\r\n\r\n".split("|"),
    ...'3;a\nabc\r\n|3;\0\r\n|3;\x7f\r\n|3;a\r\r\n|3;"\n"\r\n|3\r\r\nabc\r\n|3\0\r\n|3\r\nabc\r\r\n'.split(
      "|",
    ),
    ..."0\n|0\r\n\n|0\r\nX\r\n|0\r\nX : y\r\n|0\r\n: y\r\n|0\r\n X: y\r\n|0\r\nX: y\n|0\r\nX: y\r\n z\r\n"
      .split("|"),
    ..."0\r\nX: \0|0\r\nX: a\rb|0\r\n\r\r|0\r\nX\xe9: y|0\r\nGET / HTTP/1.1\r\n|0 \r\n|00000000000000\r\n"
      .split("|"),
  ];
  for (const body of bodies) {
    const padded = `${body}aaaaaa`;
    for (const cuts of [[], Array.from(CHUNKED_REQUEST + padded, (_, index) => index)]) {
      const { requests, end } = readRequests(latin1Bytes(CHUNKED_REQUEST + padded), cuts);
      assertEquals([requests.length, end], [0, 400], JSON.stringify(body));
    }
  }
});

Deno.test("ChunkedReader refuses extensions of clients that are malformed, and leaves the good ones out", () => {
  const good = [
    ...[
      ";a",
      ";a;b",
      ";a=b",
      ';a="b;c\\r"',
      ';a="\\""',
      ';a=""',
      '; a\t=\t"b" ; c = d',
      ";!#=~",
      ';a="\xe9\t"',
    ],
  ];
  const bad = [
    ...[
      ";",
      ";;a",
      ";a;",
      ";=b",
      ";a=",
      ";a=;b",
      ";a ",
      ";a=b ",
      ';a="b',
      ';a="b"c',
      ";a b",
      ";a=b c",
      ";a=b=c",
    ],
    ...[";,", ';"a"', ";\xe9", ";a=\xe9", ';a="\0"', ';a="\\\x01"', ';a="\\\xff', "; \t"],
  ];
  const end = (extension: string) => {
    const body = `1${extension}\r\nx\r\n0${extension}\r\n\r\n`;
    const { requests, end } = readRequests(latin1Bytes(CHUNKED_REQUEST + body));
    return end === "open" ? requests[0]?.content : end;
  };
  for (const extension of good) assertEquals(end(extension), "x", extension);
  for (const extension of bad) assertEquals(end(extension), 400, extension);
});

Deno.test("ChunkedReader takes of clients what RFC 9112 lets them send", () => {
  const cases: [body: string, content: string][] = [
    ["0\r\n\r\n", ""],
    ["000\r\n\r\n", ""],
    ["0;a=b\r\n\r\n", ""],
    ["3\r\nabc\r\n0\r\n\r\n", "abc"],
    ["00003\r\nabc\r\n0\r\n\r\n", "abc"],
    [`A\r\n${"x".repeat(10)}\r\na\r\n${"y".repeat(10)}\r\n0\r\n\r\n`, "x".repeat(10) + "y".repeat(10)],
    ['3;a;b="c;d" ; e\r\nabc\r\n0\r\n\r\n', "abc"],
    ["7\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n\r\n"],
  ];
  for (const [body, content] of cases) {
    const { requests, end } = readRequests(latin1Bytes(CHUNKED_REQUEST + body));
    assertEquals(
      [requests.map((request) => request.content), end],
      [[content], "open"],
      JSON.stringify(body),
    );
  }
});

Deno.test("ChunkedReader keeps of the trailers those that may be passed on", () => {
  const section = [
    ..."Content-Length: 3|TRANSFER-ENCODING: chunked|Host: h|Content-Type: a|Content-Encoding: gzip|Trailer: x"
      .split("|"),
    ..."Set-Cookie: a|Cookie: a|Authorization: a|Proxy-Authorization: a|Connection: close|Keep-Alive: a"
      .split("|"),
    ..."X-Forwarded-For: 1.2.3.4|x_forwarded_for: 1.2.3.4|Forwarded: for=1.2.3.4|Via: a|Cache-Control: a"
      .split("|"),
    ..."content_length: 3|If-Match: a|Range: a|TE: a|Upgrade: a|Expect: a|Location: a|X-Named: a|X-Kept: b"
      .split("|"),
  ].join("\r\n");
  const body = `0\r\n${section}\r\nGrpc-Status:\t0 \r\nEtag: \xa0"a" \xa0\r\nX:\r\n\r\n`;
  for (const kind of ["request", "response"] as const) {
    const reader = readerOf(kind, "Connection: close, x-NAMED\r\nConnection: x-other\r\n");
    for (const character of body) reader.read(latin1Bytes(character), 0, 1);
    assertEquals([reader.done, reader.trailers], [
      true,
      ["x-kept", "b", "grpc-status", "0", "etag", '\xa0"a" \xa0', "x", ""],
    ]);
  }
});
