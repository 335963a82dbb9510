/** Bytes that a hostile or broken client might send: requests one behind the other, most of them nearly right. */

import type { Random } from "../../lib/core/random.ts";
import { latin1Bytes } from "../support/raw_connection.ts";

const METHODS = words(
  "GET GET GET GET POST POST PUT HEAD OPTIONS DELETE PATCH QUERY CONNECT TRACE get M-SEARCH",
);
const TARGETS = [
  ...words(
    "/ / / /a /a?b=c /%2e%2e/x //a /a/../b * http://h/ HTTP://H/a?b https://h:8080/x http://h http://h?x",
  ),
  ...words(
    "http:// http://u@h/ http://h,i/ h:80 /a#b http://[::1]/ ftp://h/ a /{}| http://h:99999/ ?a http:/a",
  ),
  ...["/\xe9\xff", "/a\tb", "/a b", "", '/"<>^`', "**", "http://h\\@i/", "/\x7f"],
];
const VERSIONS = [
  ...words(
    "HTTP/1.1 HTTP/1.1 HTTP/1.1 HTTP/1.1 HTTP/1.1 HTTP/1.0 HTTP/1.0 HTTP/1.2 HTTP/2.0 HTTP/0.9 http/1.1",
  ),
  ...words("HTTP/1.10 HTTP/11.1 HTTP/1 HTTP/1. HTTP/1,1 HTTPS/1.1 HTTP/x.1"),
  ...["HTTP/1.1 ", " HTTP/1.1", "", "HTTP/1.1\x00"],
];
const HOSTS = [
  ...words("h h h H h:8080 h: [::1] [::1]:80 [::ffff:1.2.3.4] 127.0.0.1:65535 a.example xn--a a_b a%20b"),
  ...words(
    "h:65536 h:8o u@h h/ h,i [1.2.3.4] [::1 ::1 [::g] [aa] [] [:::] [1::2::3] a%2 a%zz h:80:80 h#a h?a",
  ),
  ...[
    "",
    "h i",
    "a\\b",
    "\xe9",
    '"h"',
    "[::1%25eth0]",
    "[v1.a]",
    "[1:2:3:4:5:6:7:8]",
    "[1:2:3:4:5:6:7::]",
    "[1:2:3:4:5:6:1.2.3.256]",
  ],
];
const LENGTHS = words(
  "0 0 3 3 5 03 0000000000000003 +3 -3 3,3 0x3 3. 3e0 999999999999999 18446744073709551619 \xb2",
);
const CODINGS = [
  ...words(
    "chunked chunked chunked Chunked CHUNKED identity gzip chunked,chunked gzip,chunked chunked,gzip xchunked",
  ),
  ...[
    "chunked;q=1",
    ", chunked",
    "chunked,",
    "",
    '"chunked"',
    "chunked \x0b",
    "gzip, deflate , chunked",
    "\xa0chunked",
  ],
];
const CONNECTIONS = words(
  "close close keep-alive Keep-Alive upgrade x-a,close te,keep-alive ,, CLOSE closed x-t Upgrade,,x-a",
);
const NAMES = words(
  "X-A x-a Accept User-Agent Cookie X_A TE Trailer Upgrade x-forwarded-for Content-Type Connection Keep-Alive",
);
const VALUES = [
  "a",
  "b c",
  "",
  "\t a \t",
  "\xe9\x80\xff",
  "a\x01",
  "a\x7f",
  "a,b",
  ":",
  '"q"',
  "a\rb",
  "a\nb",
  "a\x00b",
  "x".repeat(90),
];
const TRAILERS = words(
  "X-T x-t Content-Length Host Set-Cookie X_Forwarded_For grpc-status Authorization Etag sec-x close",
);
const ENDS = ["\r\n", "\n", "\r", "\r\r\n", "\n\r", "\r\n ", "\r\n\t", "", "\x0b\r\n"];
const COLONS = [": ", ":", ":\t", " :", "\t:", "", "::", ":  "];
const SIZES = ["", "0", "00", "x", "0x", "+", "-", " ", "\t", "0000000000000", "_"];
const EXTENSIONS = [
  ";",
  ";a",
  ";a=b",
  ';a="b;c"',
  " ;a",
  ";a\x01",
  "; \t",
  ";\xe9",
  ";a\n",
  `;${"e".repeat(500)}`,
  ...[
    ";a;b",
    ";;a",
    ";=b",
    ";a=",
    ";a=;b",
    '; a = "b" ; c',
    ";a ",
    ';a="b',
    ';a="b\\"c"',
    ';a="b\\',
    ';a="b"c',
    ";a b",
  ],
  ...[';a="\\\x01"', ';a="\xe9\t"', ";a=b=c", ";,", ';"a"'],
];
/** Pieces that mean something to a parser, put where they do not belong. */
const PIECES = [
  ..."\r\n|\r|\n|\r\n\r\n|:| |\t|\0|,|;|0\r\n\r\n|HTTP/1.1\r\n|GET / HTTP/1.1\r\n|Host: h\r\n| HTTP/1.1|\x7f|\xff|#|/|0|1|a"
    .split("|"),
  ..."Content-Length: 3\r\n|Transfer-Encoding: chunked\r\n|Connection: close\r\n|chunked|Expect: 100-continue\r\n|5\r\nhello\r\n"
    .split("|"),
];

function words(text: string): string[] {
  return text.split(" ");
}

/** Makes what one client sends over one connection. */
export function makeRequests(random: Random): Uint8Array<ArrayBuffer> {
  const way = random();
  if (way < 0.02) return Uint8Array.from({ length: below(random, 200) }, () => below(random, 256));
  if (way < 0.04) return latin1Bytes(fromPieces(random));
  if (way < 0.042) return latin1Bytes(nearBound(random));
  let text = "";
  // What is wrong with one request hides those behind it, so most are right.
  for (let count = 1 + below(random, 3); count > 0; count--) {
    text += makeRequest(random, random() < 0.6 ? 0 : 0.07);
  }
  if (random() < 0.5) return latin1Bytes(text);
  for (let edits = 1 + below(random, 2); edits > 0; edits--) text = edit(random, text);
  return latin1Bytes(text);
}

/** One request; each part of it is odd with this chance. */
function makeRequest(random: Random, odd: number): string {
  const some = (right: readonly string[], any: readonly string[]) =>
    pick(random, random() < odd ? any : right);
  const end = () => some(["\r\n"], ENDS);
  const colon = () => some([": "], COLONS);
  const absolute = random() < 0.1;
  const lines = [`Host${colon()}${some(["h"], HOSTS)}`];
  for (let count = below(random, 4); count > 0; count--) {
    lines.push(`${pick(random, NAMES)}${colon()}${some(["a", "b c", "\t d "], VALUES)}`);
  }
  if (random() < 0.15) lines.push(`Connection${colon()}${pick(random, CONNECTIONS)}`);
  if (random() < 0.05) {
    lines.push(`Expect${colon()}${some(["100-continue", "100-Continue"], ["100-continue", "x", ""])}`);
  }
  const framing = random();
  let content = "";
  if (framing < 0.3) {
    lines.push(`Content-Length${colon()}${some(["3"], LENGTHS)}`);
    content = some(["abc", "\r\n\r", "GET"], ["ab", "abcd", "", "\r\n\r\n"]);
  } else if (framing < 0.6) {
    lines.push(`Transfer-Encoding${colon()}${some(["chunked", "Chunked"], CODINGS)}`);
    content = makeChunks(random, odd);
  }
  if (random() < odd) lines.push(pick(random, lines));
  if (random() < odd) lines.splice(below(random, lines.length), 1);
  if (random() < odd) {
    lines.push(pick(random, ["Content-Length: 3", "Transfer-Encoding: chunked", "Host: h", "Upgrade: x"]));
  }
  for (let i = lines.length - 1; i > 0; i--) {
    const j = below(random, i + 1);
    [lines[i], lines[j]] = [lines[j]!, lines[i]!];
  }
  const before = some(["", "", "", "\r\n"], ["\r\n\r\n", "\n", "\r", " "]);
  const method = some(["GET", "POST", "PUT", "OPTIONS"], METHODS);
  const target = some(absolute ? ["http://h/", "http://H", "HTTP://h?a"] : ["/", "/a?b=c", "/\xe9"], TARGETS);
  const version = some(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"], VERSIONS);
  const space = () => some([" "], [" ", "  ", "\t", ""]);
  const head = `${before}${method}${space()}${target}${space()}${version}${end()}`;
  return `${head}${lines.map((line) => line + end()).join("")}${end()}${content}`;
}

function makeChunks(random: Random, odd: number): string {
  const some = (right: readonly string[], any: readonly string[]) =>
    pick(random, random() < odd ? any : right);
  const end = () => some(["\r\n"], ENDS);
  let text = "";
  for (let count = below(random, 4); count > 0; count--) {
    const content = pick(random, ["a", "hello", "\r\n", "0\r\n\r\n", "GET / HTTP/1.1\r\n", "x".repeat(40)]);
    const size = content.length.toString(16);
    const written = random() < 0.2 ? size.toUpperCase() : size;
    text += `${some(["", "", "0"], SIZES)}${written}${
      some(["", "", ";a=b", ';a="\\";"'], EXTENSIONS)
    }${end()}${content}${end()}`;
  }
  text += `${some(["0"], ["0", "00", "0;a", "", "0 "])}${end()}`;
  for (let count = below(random, 3); random() < 0.3 && count > 0; count--) {
    text += `${pick(random, TRAILERS)}${some([": "], COLONS)}${
      some(["a", " b ", "\xa0c\xa0"], VALUES)
    }${end()}`;
  }
  return text + end();
}

/** Something that is about as long, or as often there, as it may be. */
function nearBound(random: Random): string {
  const about = (bound: number) => bound - 3 + below(random, 7);
  const head = (target: string, lines: string) => `GET ${target} HTTP/1.1\r\nHost: h\r\n${lines}\r\n`;
  const next = head("/", "");
  switch (below(random, 6)) {
    case 0:
      return head(`/${"t".repeat(about(16_383))}`, "") + next;
    case 1:
      return head("/", `X: ${"v".repeat(about(32_768 - 34))}\r\n`) + next;
    case 2:
      return head("/", "X: y\r\n".repeat(about(199))) + next;
    case 3:
      return "M".repeat(about(32)) + next.slice(3);
    case 4:
      return head("/", "Transfer-Encoding: chunked\r\n") + `0\r\nX: ${"v".repeat(about(8192 - 7))}\r\n\r\n` +
        next;
    default:
      return head("/", "Transfer-Encoding: chunked\r\n") + `1;${"e".repeat(about(4095))}\r\na\r\n0\r\n\r\n` +
        next;
  }
}

function edit(random: Random, text: string): string {
  const at = below(random, text.length + 1);
  const to = Math.min(text.length, at + 1 + below(random, 8));
  const way = random();
  if (way < 0.25) return text.slice(0, at) + String.fromCharCode(below(random, 256)) + text.slice(at + 1);
  if (way < 0.55) return text.slice(0, at) + pick(random, PIECES) + text.slice(at);
  if (way < 0.75) return text.slice(0, at) + text.slice(to);
  if (way < 0.9) return text.slice(0, to) + text.slice(at);
  return text.slice(0, at);
}

function fromPieces(random: Random): string {
  let text = random() < 0.8 ? "GET / HTTP/1.1\r\n" : "";
  for (let count = below(random, 12); count > 0; count--) text += pick(random, PIECES);
  return text;
}

function below(random: Random, limit: number): number {
  return Math.floor(random() * limit);
}

function pick<T>(random: Random, items: readonly T[]): T {
  return items[below(random, items.length)]!;
}
