import { assert, assertEquals, assertThrows } from "@std/assert";
import { RequestError } from "../../../lib/core/errors.ts";
import { RequestHeadParser } from "../../../lib/http1/request_head.ts";
import { latin1Bytes } from "../../support/raw_connection.ts";
import { readRequests } from "../../support/read_requests.ts";

const H = "Host: h\r\n";

/** A request line before a host and the end of the head. */
function line(text: string): string {
  return `${text}\r\n${H}\r\n`;
}

/** Field lines behind a request line. */
function fields(text: string): string {
  return `GET / HTTP/1.1\r\n${text}\r\n\r\n`;
}

/** Field lines behind a request line and a host. */
function more(text: string): string {
  return `POST / HTTP/1.1\r\n${H}${text}\r\n\r\n`;
}

function host(text: string): string {
  return fields(`Host: ${text}`);
}

/** What is refused, with its status: rule by rule. */
const REFUSED: Readonly<Record<string, readonly (readonly [bytes: string, status: number])[]>> = {
  "a method that is no token": [
    [line(" GET / HTTP/1.1"), 400],
    [line("G(T / HTTP/1.1"), 400],
    [line("G\xc9T / HTTP/1.1"), 400],
    [line("G\0T / HTTP/1.1"), 400],
    [line("/ HTTP/1.1"), 400],
    ["\x16\x03\x01\x02\0\x01", 400],
  ],
  "a method that is too long": [[line(`${"M".repeat(33)} / HTTP/1.1`), 501], ["M".repeat(33), 501]],
  "methods that are not forwarded": [
    [line("CONNECT h:80 HTTP/1.1"), 501],
    [line("CONNECT / HTTP/1.1"), 501],
    [line("TRACE / HTTP/1.1"), 405],
  ],
  "white space in the request line other than two spaces": [
    [line("GET  / HTTP/1.1"), 400],
    [line("GET /  HTTP/1.1"), 400],
    [line("GET\t/ HTTP/1.1"), 400],
    [line("GET /\tHTTP/1.1"), 400],
    [line("GET / HTTP/1.1 "), 400],
    [line("GET /a b HTTP/1.1"), 400],
  ],
  "a target that is none": [
    [line("GET a HTTP/1.1"), 400],
    [line("GET ?a HTTP/1.1"), 400],
    [line("GET h:80 HTTP/1.1"), 400],
    [line("GET * HTTP/1.1"), 400],
    [line("OPTIONS ** HTTP/1.1"), 400],
    [line("GET /#a HTTP/1.1"), 400],
    [line("GET /\0 HTTP/1.1"), 400],
    [line("GET /\x7f HTTP/1.1"), 400],
    [line("GET /\x0b HTTP/1.1"), 400],
    [line("GET ftp://h/ HTTP/1.1"), 400],
    [line("GET http:/h HTTP/1.1"), 400],
    [line("GET http:h HTTP/1.1"), 400],
    [line("GET http:// HTTP/1.1"), 400],
    [line("GET http:///a HTTP/1.1"), 400],
    [line("GET http://?a HTTP/1.1"), 400],
    [line("GET http://u@h/ HTTP/1.1"), 400],
    [line("GET http://u:p@h/ HTTP/1.1"), 400],
    [line("GET http://h\\@i/ HTTP/1.1"), 400],
    [line("GET http://h,i/ HTTP/1.1"), 400],
  ],
  "a target that is too long": [
    [line(`GET /${"t".repeat(16_384)} HTTP/1.1`), 414],
    [`GET /${"t".repeat(16_384)}`, 414],
  ],
  "other versions": [
    ["GET /\r\n", 400],
    ["GET / \r\n", 400],
    [line("GET / HTTP/0.9"), 505],
    [line("GET / HTTP/1.2"), 505],
    [line("GET / HTTP/2.0"), 505],
    ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505],
    [line("GET / HTTP/3.0"), 505],
    [line("GET / HTTP/1.10"), 400],
    [line("GET / HTTP/01.1"), 400],
    [line("GET / HTTP/1"), 400],
    [line("GET / HTTP/1."), 400],
    [line("GET / HTTP/x.1"), 400],
    [line("GET / HTTP/1,1"), 400],
    [line("GET / http/1.1"), 400],
    [line("GET / HTTPS/1.1"), 400],
    [line("GET / HTTP/+1.1"), 400],
  ],
  "more than one empty line before": [
    [`\r\n\r\n${line("GET / HTTP/1.1")}`, 400],
    [`\n${line("GET / HTTP/1.1")}`, 400],
    [`\r${line("GET / HTTP/1.1")}`, 400],
    [` \r\n${line("GET / HTTP/1.1")}`, 400],
  ],
  "bare CR, bare LF": [
    [`GET / HTTP/1.1\n${H}\r\n`, 400],
    [`GET / HTTP/1.1\r${H}\r\n`, 400],
    [`GET / HTTP/1.1\r\r\n${H}\r\n`, 400],
    ["GET / HTTP/1.1\r\nHost: h\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", 400],
    [`GET / HTTP/1.1\r\n${H}\n`, 400],
    [`GET / HTTP/1.1\r\n${H}\r\r\n`, 400],
    [more("X: a\nb"), 400],
    [more("X: a\rb"), 400],
  ],
  "NUL and other control characters": [
    [more("X: a\0b"), 400],
    [more("X: a\x01"), 400],
    [more("X: a\x0bb"), 400],
    [more("X: a\x7f"), 400],
    [more("X\0: a"), 400],
    [more("X\x7f: a"), 400],
  ],
  "white space before a colon": [
    [more("X : a"), 400],
    [more("X\t: a"), 400],
    [more("Content-Length : 3"), 400],
    [more("Transfer-Encoding\x0b: chunked"), 400],
  ],
  "folded lines": [
    [more("X: a\r\n b"), 400],
    [more("X: a\r\n\tb"), 400],
    [`GET / HTTP/1.1\r\n ${H}\r\n`, 400],
    [`GET / HTTP/1.1\r\n${H} \r\n\r\n`, 400],
  ],
  "a field name that is no token": [
    [more(": a"), 400],
    [more("X"), 400],
    [more("X Y: a"), 400],
    [more("X\xe9: a"), 400],
    [more('"X": a'), 400],
    [more("X(: a"), 400],
    [more("GET / HTTP/1.1"), 400],
  ],
  "not exactly one Host": [
    [fields("X: y"), 400],
    [fields("Host: h\r\nHost: h"), 400],
    [fields("Host: h\r\nHost: i"), 400],
    [fields("Host: h\r\nHOST: h"), 400],
    ["GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", 400],
    ["GET http://h/ HTTP/1.1\r\n\r\n", 400],
  ],
  "a Host that is no host": [
    [host(""), 400],
    [host(":80"), 400],
    [host("h,i"), 400],
    [host("h i"), 400],
    [host("h/"), 400],
    [host("h/a"), 400],
    [host("u@h"), 400],
    [host("u:p@h"), 400],
    [host("h?a"), 400],
    [host("h#a"), 400],
    [host("h\\a"), 400],
    [host('"h"'), 400],
    [host("http://h"), 400],
    [host("h\xe9"), 400],
    [host("h%"), 400],
    [host("h%4"), 400],
    [host("h%zz"), 400],
    [host("h:80:80"), 400],
    [host("h:8o"), 400],
    [host("h:-1"), 400],
    [host("h:65536"), 400],
    [host("h: 80"), 400],
    [host("::1"), 400],
    [host("[::1"), 400],
    [host("::1]"), 400],
    [host("[]"), 400],
    [host("[h]"), 400],
    [host("[aa]"), 400],
    [host("[1.2.3.4]"), 400],
    [host("[:::]"), 400],
    [host("[1::2::3]"), 400],
    [host("[::12345]"), 400],
    [host("[1:2:3:4:5:6:7]"), 400],
    [host("[1:2:3:4:5:6:7:8:9]"), 400],
    [host("[::1%25eth0]"), 400],
    [host("[v1.a]"), 400],
    [host("[::1]h"), 400],
    [host("h".repeat(256)), 400],
    ["GET / HTTP/1.0\r\nHost: h,i\r\n\r\n", 400],
  ],
  "an absolute target with another host": [
    [line("GET http://i/ HTTP/1.1"), 400],
    [line("GET http://h:80/ HTTP/1.1"), 400],
    [line("GET http://hh/ HTTP/1.1"), 400],
    ["GET http://i/ HTTP/1.0\r\nHost: h\r\n\r\n", 400],
  ],
  "a Content-Length that is not one number of digits": [
    [more("Content-Length: 3\r\nContent-Length: 3"), 400],
    [more("Content-Length: 3\r\nContent-Length: 4"), 400],
    [more("Content-Length: 3\r\ncontent-length:3"), 400],
    [more("Content-Length: 3,3"), 400],
    [more("Content-Length: 3, 4"), 400],
    [more("Content-Length:"), 400],
    [more("Content-Length: +3"), 400],
    [more("Content-Length: -3"), 400],
    [more("Content-Length: 0x3"), 400],
    [more("Content-Length: 3.0"), 400],
    [more("Content-Length: 3e1"), 400],
    [more("Content-Length: 3 3"), 400],
    [more("Content-Length: 3;"), 400],
    [more('Content-Length: "3"'), 400],
    [more("Content-Length: 3\xa0"), 400],
    [more("Content-Length: \xb3"), 400],
    [more("Content-Length: 9999999999999999"), 400],
    [more("Content-Length: 18446744073709551619"), 400],
  ],
  "a Transfer-Encoding beside a Content-Length": [
    [more("Transfer-Encoding: chunked\r\nContent-Length: 3"), 400],
    [more("Content-Length: 3\r\nTransfer-Encoding: chunked"), 400],
    [more("Content-Length: 0\r\nTransfer-Encoding: chunked"), 400],
  ],
  "a Transfer-Encoding that is not chunked, once, at the end": [
    [more("Transfer-Encoding: gzip"), 400],
    [more("Transfer-Encoding: identity"), 400],
    [more("Transfer-Encoding: xchunked"), 400],
    [more("Transfer-Encoding: chunked, gzip"), 400],
    [more("Transfer-Encoding: chunked, identity"), 400],
    [more("Transfer-Encoding: chunked, chunked"), 400],
    [more("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400],
    [more("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"), 400],
    [more("Transfer-Encoding:"), 400],
    [more("Transfer-Encoding: ,"), 400],
    [more("Transfer-Encoding: chunked,"), 400],
    [more("Transfer-Encoding: , chunked"), 400],
    [more("Transfer-Encoding: chunked;q=1"), 400],
    [more('Transfer-Encoding: "chunked"'), 400],
    [more("Transfer-Encoding: \xa0chunked"), 400],
    [more("Transfer-Encoding: chun\tked"), 400],
    [more("Transfer-Encoding: gzip, chunked"), 501],
    [more("Transfer-Encoding: identity,\tChunked"), 501],
  ],
  "a Transfer-Encoding in HTTP/1.0": [
    [`POST / HTTP/1.0\r\n${H}Transfer-Encoding: chunked\r\n\r\n`, 400],
    [`POST / HTTP/1.0\r\n${H}Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n`, 400],
  ],
  "an expectation other than 100-continue": [[more("Expect: 200-ok"), 417], [more("Expect:"), 417], [
    more("Expect: 100-continue, x"),
    417,
  ]],
  "a head of too many bytes or fields": [
    [more(`X: ${"v".repeat(32_768)}`), 431],
    [more("X: y\r\n".repeat(200) + "X: y"), 431],
    [`${line("GET / HTTP/1.1").slice(0, -2)}X: ${"v".repeat(32_768)}`, 431],
  ],
};

for (const [rule, cases] of Object.entries(REFUSED)) {
  Deno.test(`RequestHeadParser refuses ${rule}`, () => {
    for (const [bytes, status] of cases) {
      const expected = { requests: [], end: status };
      const shown = JSON.stringify(bytes.slice(0, 100));
      const { requests, end } = readRequests(latin1Bytes(bytes));
      assertEquals({ requests, end }, expected, shown);
      if (bytes.length > 1000) continue;
      const apart = readRequests(latin1Bytes(bytes), Array.from(bytes, (_, index) => index));
      assertEquals({ requests: apart.requests, end: apart.end }, expected, `${shown}, byte by byte`);
    }
  });
}

/** One request line, with what is read from it. */
const LINES: readonly (readonly [line: string, method: string, target: string, host?: string])[] = [
  ["GET / HTTP/1.1", "GET", "/"],
  ["get / HTTP/1.1", "get", "/"],
  ["M-SEARCH /a?b=c&d HTTP/1.1", "M-SEARCH", "/a?b=c&d"],
  ["!#$%&'*+-.^_`|~09azAZ / HTTP/1.1", "!#$%&'*+-.^_`|~09azAZ", "/"],
  [`${"M".repeat(32)} / HTTP/1.1`, "M".repeat(32), "/"],
  ["GET //a HTTP/1.1", "GET", "//a"],
  ["GET /%2f/../%zz HTTP/1.1", "GET", "/%2f/../%zz"],
  ['GET /{}|\\^`"<>[] HTTP/1.1', "GET", '/{}|\\^`"<>[]'],
  ["GET /\xe9\x80\xff HTTP/1.1", "GET", "/%E9%80%FF"],
  [`GET /${"t".repeat(16_383)} HTTP/1.1`, "GET", `/${"t".repeat(16_383)}`],
  ["OPTIONS * HTTP/1.1", "OPTIONS", "*"],
  ["OPTIONS * HTTP/1.0", "OPTIONS", "*"],
  ["OPTIONS / HTTP/1.1", "OPTIONS", "/"],
  ["GET http://h/a?b HTTP/1.1", "GET", "/a?b"],
  ["GET HTTPS://H/ HTTP/1.1", "GET", "/", "H"],
  ["GET http://h HTTP/1.1", "GET", "/"],
  ["GET http://h?b HTTP/1.1", "GET", "/?b"],
  ["GET http://h//i HTTP/1.1", "GET", "//i"],
  ["OPTIONS http://h HTTP/1.1", "OPTIONS", "*"],
  ["OPTIONS http://h/ HTTP/1.1", "OPTIONS", "/"],
  ["OPTIONS http://h?b HTTP/1.1", "OPTIONS", "/?b"],
];

Deno.test("RequestHeadParser reads methods and targets as they are written", () => {
  for (const [text, method, target, host = "h"] of LINES) {
    const { requests, end } = readRequests(latin1Bytes(line(text)));
    const [request] = requests;
    assertEquals(end, text.endsWith("1.0") ? "closed" : "open", text.slice(0, 60));
    assertEquals(
      [request?.method, request?.target, request?.host],
      [method, target, host],
      text.slice(0, 60),
    );
  }
});

Deno.test("RequestHeadParser takes every host that is one", () => {
  const hosts = [
    ..."h H a.example a_b a~b a%20b h. h: h:0 h:80 h:65535 h:00080 127.0.0.1 1.2.3 xn--a !$&'()*+;= -".split(
      " ",
    ),
    ..."[::] [::1] [::1]: [::1]:80 [1:2:3:4:5:6:7:8] [1:2:3:4:5:6:7::] [::ffff:1.2.3.4] [2001:DB8::a]".split(
      " ",
    ),
    "h".repeat(255),
  ];
  for (const text of hosts) assertEquals(readRequests(latin1Bytes(host(text))).requests[0]?.host, text);
});

Deno.test("RequestHeadParser wants no Host in HTTP/1.0, and takes that of an absolute target", () => {
  const hostOf = (text: string) => readRequests(latin1Bytes(text)).requests[0]?.host;
  assertEquals(hostOf("GET / HTTP/1.0\r\n\r\n"), "");
  assertEquals(hostOf("GET / HTTP/1.0\r\nHost: i\r\n\r\n"), "i");
  assertEquals(hostOf("GET http://h:8080/ HTTP/1.0\r\n\r\n"), "h:8080");
  assertEquals(hostOf("GET http://H:8080/ HTTP/1.1\r\nHost: h:8080\r\n\r\n"), "H:8080");
});

Deno.test("RequestHeadParser leaves out one empty line before a request", () => {
  const text = `\r\n${line("GET /a HTTP/1.1")}\r\n${line("GET /b HTTP/1.1")}`;
  assertEquals(readRequests(latin1Bytes(text)).requests.map(({ target }) => target), ["/a", "/b"]);
  const parser = new RequestHeadParser();
  parser.begin(0);
  assertEquals([parser.parse(latin1Bytes("\r\n"), 2), parser.begun], [false, false]);
  assertEquals([parser.parse(latin1Bytes("\r\nG"), 3), parser.begun], [false, true]);
});

Deno.test("RequestHeadParser keeps the letters of names, and values without the blanks around them", () => {
  const text = more('X-Name:\t a \t b \t\r\nx_NAME:\r\nX:\xe9,\x80\xff:;"');
  assertEquals(readRequests(latin1Bytes(text)).requests[0]?.fields, [
    ...["Host", "h", "X-Name", "a \t b", "x_NAME", "", "X", '\xe9,\x80\xff:;"'],
  ]);
});

Deno.test("RequestHeadParser finds the content of any method", () => {
  const cases: [fields: string, content: string, read: string][] = [
    ["Content-Length: 3", "abcd", "abc"],
    ["Content-Length:\t003 ", "abcd", "abc"],
    ["Content-Length: 0", "abcd", ""],
    ["X: y", "abcd", ""],
    ["Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\nd", "abc"],
    ["TRANSFER-ENCODING:\tChunKed ", "0\r\n\r\nd", ""],
  ];
  for (const [lines, content, read] of cases) {
    for (const method of ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "X"]) {
      const { requests } = readRequests(latin1Bytes(`${method}${more(lines).slice(4)}${content}`));
      assertEquals(requests.map(({ content }) => content), [read], `${method} ${lines}`);
    }
  }
});

Deno.test("RequestHeadParser.persistent follows the version and every option of Connection", () => {
  const cases: [minor: number, connection: string, persistent: boolean][] = [
    [1, "x", true],
    [1, "keep-alive", true],
    [1, "close", false],
    [1, "Close", false],
    [1, "closed", true],
    [1, ", x ,\tCLOSE ,", false],
    [1, "keep-alive, close", false],
    [1, "keep-alive\r\nConnection: close", false],
    [0, "x", false],
    [0, "Keep-Alive", true],
    [0, "x,keep-alive", true],
    [0, "close, keep-alive", false],
  ];
  for (const [minor, connection, persistent] of cases) {
    const text = `GET / HTTP/1.${minor}\r\n${H}Connection: ${connection}\r\n\r\n`;
    assertEquals(readRequests(latin1Bytes(text)).requests[0]?.persistent, persistent, text);
  }
  for (const [minor, persistent] of [[1, true], [0, false]]) {
    const text = line(`GET / HTTP/1.${minor}`);
    assertEquals(readRequests(latin1Bytes(text)).requests[0]?.persistent, persistent, text);
  }
});

Deno.test("RequestHeadParser knows an offer to switch protocols, and a client that waits for 100", () => {
  const read = (text: string) => {
    const request = readRequests(latin1Bytes(text)).requests[0]!;
    return [request.upgrade, request.expectsContinue];
  };
  assertEquals(read(more("Connection: Upgrade\r\nUpgrade: websocket")), [true, false]);
  assertEquals(read(more("Upgrade: h2c\r\nConnection: keep-alive, upgrade")), [true, false]);
  assertEquals(read(more("Upgrade: websocket")), [false, false]);
  assertEquals(read(more("Connection: upgrade")), [false, false]);
  assertEquals(read(more("Expect: 100-Continue")), [false, true]);
  const old = more("Connection: upgrade\r\nUpgrade: x\r\nExpect: 100-continue").replace("1.1", "1.0");
  assertEquals(read(old), [false, false]);
});

Deno.test("RequestHeadParser.namesFields tells when Connection has other options than the usual ones", () => {
  for (const [options, names] of [["close, Keep-Alive,upgrade,", false], ["close, te", true]] as const) {
    const parser = new RequestHeadParser();
    const bytes = latin1Bytes(more(`Connection: ${options}`));
    parser.begin(0);
    assert(parser.parse(bytes, bytes.length));
    assertEquals(parser.namesFields, names, options);
    parser.begin(0);
    assertEquals(parser.namesFields, false);
  }
});

Deno.test("RequestHeadParser takes heads up to its bounds, which can be set", () => {
  const parse = (text: string, parser = new RequestHeadParser()) => {
    parser.begin(0);
    return parser.parse(latin1Bytes(text), text.length);
  };
  const padded = (bytes: number) => {
    const empty = more("X: ");
    return empty.replace("X: ", `X: ${"v".repeat(bytes - empty.length)}`);
  };
  const many = (count: number) => `GET / HTTP/1.1\r\n${H}${"X: y\r\n".repeat(count - 1)}\r\n`;
  assert(parse(padded(32_768)) && parse(many(200)));
  const small = () => new RequestHeadParser({ maxBytes: 100, maxFields: 3, maxTargetBytes: 5 });
  assert(
    parse(padded(100), small()) && parse(many(3), small()) && parse(line("GET /1234 HTTP/1.1"), small()),
  );
  for (
    const [text, status] of [[padded(101), 431], [many(4), 431], [line("GET /12345 HTTP/1.1"), 414]] as const
  ) {
    assertEquals(assertThrows(() => parse(text, small()), RequestError).status, status);
  }
});

Deno.test("RequestHeadParser gives up on a head without end at its bound, not after it", () => {
  const bytes = latin1Bytes(more("X: ").trimEnd().padEnd(40_000, "v"));
  const parser = new RequestHeadParser();
  parser.begin(0);
  assert(!parser.parse(bytes, 32_767));
  assertEquals(assertThrows(() => parser.parse(bytes, 32_768), RequestError).status, 431);
});

Deno.test("RequestHeadParser shows of a head that it refuses what it has read, and nothing of the one before", () => {
  const parser = new RequestHeadParser();
  const first = latin1Bytes(`GET /secret HTTP/1.1\r\nHost: first\r\nCookie: a\r\nConnection: x\r\n\r\n`);
  const shown = (text: string) => {
    parser.begin(0);
    assert(parser.parse(first, first.length));
    const bytes = latin1Bytes(text);
    parser.begin(0);
    assertThrows(() => parser.parse(bytes, bytes.length), RequestError);
    const { method, target, host, lines, namesFields } = parser;
    const copy = lines.copy();
    const names = Array.from(
      { length: lines.count },
      (_, index) => copy.name(index) + "=" + copy.value(index),
    );
    return [method, target, host, namesFields, ...names];
  };
  assertEquals(shown("\0"), ["", "", "", false]);
  assertEquals(shown("POST \0"), ["POST", "", "", false]);
  assertEquals(shown("POST /a HTTP/2.0\r\n"), ["POST", "/a", "", false]);
  assertEquals(shown("CONNECT h:80 HTTP/1.1\r\n"), ["CONNECT", "h:80", "", false]);
  assertEquals(shown("PUT /a HTTP/1.1\r\nHost: h,i\r\n"), ["PUT", "/a", "", false, "host=h,i"]);
  assertEquals(shown("PUT /a HTTP/1.1\r\nHost: h\r\nX : y"), ["PUT", "/a", "h", false, "host=h"]);
});

Deno.test("RequestHeadParser tells what is allowed when it refuses a method", () => {
  const parser = new RequestHeadParser();
  parser.begin(0);
  const bytes = latin1Bytes(line("TRACE / HTTP/1.1"));
  const error = assertThrows(() => parser.parse(bytes, bytes.length), RequestError);
  assertEquals(error.headers, { allow: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" });
});
