/** Answers that are malformed, or meant to be read in two ways. */

/** What has to become of an answer: an error, or exactly this content. */
export interface HostileResponse {
  name: string;
  /** The bytes, one a character; the connection is closed after them. */
  bytes: string;
  /** Content that may be passed on; without it the answer has to be refused. */
  content?: string;
  /** What a lenient parser may make of it without harm; without it even a lenient one has to refuse. */
  lenient?: string;
}

const LINE = "HTTP/1.1 200 OK\r\n";
const CHUNKED = `${LINE}Transfer-Encoding: chunked\r\n\r\n`;
const END = "0\r\n\r\n";

function statusLine(line: string, lenient?: string): HostileResponse {
  const bytes = `${line}\r\nContent-Length: 2\r\n\r\nok`;
  return {
    name: `status line ${JSON.stringify(line)}`,
    bytes,
    ...(lenient === undefined ? {} : { lenient }),
  };
}

function field(text: string, lenient?: string): HostileResponse {
  const bytes = `${LINE}${text}\r\nContent-Length: 2\r\n\r\nok`;
  return {
    name: `field ${JSON.stringify(text.slice(0, 40))}`,
    bytes,
    ...(lenient === undefined ? {} : { lenient }),
  };
}

function framing(
  fields: string,
  body: string = "ok",
  lenient: string | undefined = undefined,
): HostileResponse {
  const bytes = `${LINE}${fields}\r\n\r\n${body}`;
  const name = `framing ${JSON.stringify(fields)}`;
  return { name, bytes, ...(lenient === undefined ? {} : { lenient }) };
}

function chunks(body: string, lenient?: string): HostileResponse {
  const name = `chunks ${JSON.stringify(body.slice(0, 60))}`;
  return { name, bytes: CHUNKED + body, ...(lenient === undefined ? {} : { lenient }) };
}

function odd(name: string, bytes: string, content: string): HostileResponse {
  return { name: `harmless: ${name}`, bytes, content };
}

/** Every answer, with what has to become of it. */
export const HOSTILE_RESPONSES: readonly HostileResponse[] = [
  statusLine("HTTP/1.1"),
  statusLine("HTTP/1.1 "),
  statusLine("HTTP/1.1 20"),
  statusLine("HTTP/1.1 2000 OK"),
  statusLine("HTTP/1.1 20x OK"),
  statusLine("HTTP/1.1 -20 OK"),
  statusLine("HTTP/1.1 099 Low"),
  statusLine("HTTP/1.1 999 High", "ok"),
  statusLine("HTTP/1.1\t200 OK"),
  statusLine("HTTP/1.1  200 OK"),
  statusLine("HTTP/2.0 200 OK"),
  statusLine("HTTP/11 200 OK"),
  statusLine("http/1.1 200 OK"),
  statusLine("HTTPS/1.1 200 OK"),
  statusLine(" HTTP/1.1 200 OK"),
  statusLine("ICY 200 OK"),
  statusLine("200 OK"),
  statusLine("HTTP/1.1 200 O\x00K"),
  statusLine("HTTP/1.1 200 O\rK"),
  statusLine("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade"),
  statusLine("GET / HTTP/1.1"),
  { name: "nothing but line ends", bytes: "\r\n".repeat(50) },
  { name: "a megabyte without a line end", bytes: "H".repeat(1_000_000) },
  { name: "interim answers without end", bytes: "HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000) },
  { name: "binary", bytes: "\x16\x03\x01\x00\xff\x01\r\n\r\n" },
  field("No colon here"),
  field(": no name"),
  field("Space : before the colon"),
  field("Spa ce: in the name"),
  field("N\x00ul: in the name"),
  field("N\xe4me: not ASCII"),
  field('Quote": in the name'),
  field("X: n\x00ul"),
  field("X: bare\rcarriage return"),
  field("X: y\rContent-Length: 5"),
  field("X: bell\x07"),
  field("X: delete\x7f"),
  field("X: folded\r\n value"),
  field("X: folded\r\n\tvalue"),
  field(" X: begins with a space"),
  field(`X: ${"y".repeat(1_000_000)}`),
  field(new Array(5000).fill("X: y").join("\r\n")),
  framing("Content-Length: -2"),
  framing("Content-Length: +2"),
  framing("Content-Length: 2.0"),
  framing("Content-Length: 0x2"),
  framing("Content-Length: 2 2"),
  framing("Content-Length: 2, 3"),
  framing("Content-Length: 2;"),
  framing("Content-Length: two"),
  framing("Content-Length:"),
  framing("Content-Length: 99999999999999999999"),
  framing("Content-Length: 18446744073709551618"),
  framing("Content-Length: 2\r\nContent-Length: 3"),
  framing("Content-Length: 3\r\nContent-Length: 2"),
  framing("Content-Length: 2, 2\r\nContent-Length: 3"),
  framing("Content-Length: 2,"),
  framing("Content-Length: ,2"),
  framing("Content-Length: 2\r\nContent-Length: 2\r\nTransfer-Encoding: chunked", `2\r\nok\r\n${END}`),
  { name: "a bare CR as line end", bytes: "HTTP/1.1 200 OK\rContent-Length: 2\r\rok" },
  {
    name: "a folded field behind a bare LF",
    bytes: "HTTP/1.1 200 OK\nX: folded\n value\nContent-Length: 2\n\nok",
  },
  framing("Content-Length: 2\r\nTransfer-Encoding: chunked", `2\r\nok\r\n${END}`),
  framing("Transfer-Encoding: chunked\r\nContent-Length: 2", `2\r\nok\r\n${END}`),
  framing("Transfer-Encoding: gzip", "ok", "ok"),
  framing("Transfer-Encoding: gzip, chunked", `2\r\nok\r\n${END}`, "ok"),
  framing("Transfer-Encoding: chunked, gzip", `2\r\nok\r\n${END}`, `2\r\nok\r\n${END}`),
  framing("Transfer-Encoding: chunked, chunked", `2\r\nok\r\n${END}`, "ok"),
  framing("Transfer-Encoding: identity", "ok", "ok"),
  framing("Transfer-Encoding: xchunked", `2\r\nok\r\n${END}`, `2\r\nok\r\n${END}`),
  framing('Transfer-Encoding: "chunked"', `2\r\nok\r\n${END}`, `2\r\nok\r\n${END}`),
  framing("Transfer-Encoding:", "ok", "ok"),
  chunks(`x\r\nok\r\n${END}`),
  chunks(`-2\r\nok\r\n${END}`),
  chunks(`+2\r\nok\r\n${END}`),
  chunks(`0x2\r\nok\r\n${END}`),
  chunks(` 2\r\nok\r\n${END}`),
  chunks(`2 2\r\nok\r\n${END}`),
  chunks(`\r\nok\r\n${END}`),
  chunks(`2\nok\r\n${END}`),
  chunks(`2\r\nokay\r\n${END}`),
  chunks(`2\r\nok${END}`),
  chunks(`2\r\nok\n${END}`),
  chunks(`2\r\nok\rX${END}`),
  chunks(`ffffffffffffffffff\r\nok\r\n${END}`),
  chunks(`10000000000000002\r\nok\r\n${END}`),
  chunks(`2${";x".repeat(100_000)}\r\nok\r\n${END}`),
  chunks(`2;a\x00b\r\nok\r\n${END}`, "ok"),
  chunks(`2;a\nb\r\nok\r\n${END}`),
  chunks("2\r\nok\r\n0\r\nNo colon\r\n\r\n", "ok"),
  chunks(`2\r\nok\r\n0\r\n${"X: y\r\n".repeat(50_000)}\r\n`),
  chunks(`2\r\nok\r\n0\r\nX: ${"y".repeat(1_000_000)}\r\n\r\n`),
  chunks("2\r\nok\r\n0\r\n\rX", "ok"),
  odd("no reason phrase", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "ok"),
  odd("an empty reason phrase", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", "ok"),
  odd("a reason phrase in latin-1", "HTTP/1.1 200 D'accord \xe9\r\nContent-Length: 2\r\n\r\nok", "ok"),
  odd("an unknown status", "HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok", "ok"),
  odd("lower-case names", `${LINE}content-length: 2\r\n\r\nok`, "ok"),
  odd("spaces around values", `${LINE}Content-Length:  \t 2 \t\r\n\r\nok`, "ok"),
  odd("no space after the colon", `${LINE}Content-Length:2\r\n\r\nok`, "ok"),
  odd("leading zeros in a length", `${LINE}Content-Length: 0002\r\n\r\nok`, "ok"),
  odd("a length twice", `${LINE}Content-Length: 2\r\nX: y\r\nContent-Length: 2\r\n\r\nok`, "ok"),
  odd("a list of the same length", `${LINE}Content-Length: 2 ,\t2\r\n\r\nok`, "ok"),
  odd("bare LF as line end", "HTTP/1.1 200 OK\nX: y\nContent-Length: 2\n\nok", "ok"),
  odd("line ends of both kinds", "HTTP/1.1 200 OK\nX: y\r\nContent-Length: 2\r\n\nok", "ok"),
  odd(
    "bare LF in an interim answer",
    "HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "ok",
  ),
  odd("bytes above ASCII in a value", `${LINE}X: \xff\xe9\r\nContent-Length: 2\r\n\r\nok`, "ok"),
  odd(
    "every character of a token in a name",
    `${LINE}!#$%&'*+-.^_\`|~09aZ: x\r\nContent-Length: 2\r\n\r\nok`,
    "ok",
  ),
  odd("an answer in HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
  odd("the coding in capitals", `${LINE}Transfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n${END}`, "ok"),
  odd("capitals and zeros in chunk sizes", `${CHUNKED}000A\r\n0123456789\r\n00${END}`, "0123456789"),
  odd("chunk extensions", `${CHUNKED}2;a=b;c="d"\r\nok\r\n0;x\r\n\r\n`, "ok"),
  odd("trailers", `${CHUNKED}2\r\nok\r\n0\r\nX: y\r\nContent-Length: 9\r\n\r\n`, "ok"),
  odd("100 fields", `${LINE}${"X: y\r\n".repeat(98)}Content-Length: 2\r\n\r\nok`, "ok"),
  odd("a field of 8 KiB", `${LINE}X: ${"y".repeat(8192)}\r\nContent-Length: 2\r\n\r\nok`, "ok"),
  odd("more than was announced", `${LINE}Content-Length: 2\r\n\r\nok and more`, "ok"),
];
