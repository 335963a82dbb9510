/** What holds for any bytes at all, cut anyhow. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { seededRandom } from "../../../lib/core/random.ts";
import { ProxyError, RequestError } from "../../../lib/core/errors.ts";
import { HeaderFields } from "../../../lib/http/header_fields.ts";
import { responseBodyReader } from "../../../lib/http1/body_reader.ts";
import { HeadWriter, writeChunk, writeLastChunk } from "../../../lib/http1/head_writer.ts";
import { RequestHeadParser } from "../../../lib/http1/request_head.ts";
import { ResponseHeadParser } from "../../../lib/http1/head_parser.ts";
import { makeRequests } from "../../fuzz/make_request.ts";
import { makeCuts, makeResponse } from "../../fuzz/make_response.ts";
import { latin1Bytes, latin1Text } from "../../support/raw_connection.ts";
import { readRequests } from "../../support/read_requests.ts";

const cuts = fc.array(fc.nat(600), { maxLength: 20 });

function within(bytes: Uint8Array, places: readonly number[]): number[] {
  return places.map((place) => Math.min(place, bytes.length)).sort((a, b) => a - b);
}

const PARTS = [
  "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
  "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
  "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
  "OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
  ...[
    "GET ",
    "/",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "Host: h\r\n",
    "\r\n",
    "\r",
    "\n",
    ":",
    " ",
    "\t",
    "\0",
    "a",
    "#",
  ],
  ...[
    "Content-Length: 2\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "1\r\na\r\n",
    "0\r\n\r\n",
  ],
  ...["http://h", "Expect: x\r\n", "\xff"],
];
const soup = fc.array(fc.constantFrom(...PARTS), { maxLength: 20 }).map((parts) =>
  latin1Bytes(parts.join(""))
);

Deno.test("requests on one connection are found and refused alike, wherever the reads cut them", () => {
  fc.assert(
    fc.property(fc.oneof(soup, fc.uint8Array({ maxLength: 100 })), cuts, (bytes, places) => {
      const whole = readRequests(bytes);
      assertEquals(readRequests(bytes, within(bytes, places)), whole);
      assertEquals(readRequests(bytes, Array.from(bytes.keys())), whole);
    }),
    { seed: 9, numRuns: 1500 },
  );
});

/** Bytes that must not be looked at from an end on. */
function guarded(buffer: Uint8Array, end: number): Uint8Array {
  return new Proxy(buffer, {
    get(target, key) {
      if (typeof key === "string" && /^\d+$/.test(key)) {
        if (Number(key) >= end) throw new Error(`read byte ${key} of ${end}`);
        return target[Number(key)];
      }
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== "function") return value;
      return (...given: number[]) => {
        for (const at of given) if (at > end) throw new Error(`${String(key)}(${given}) of ${end}`);
        return value.apply(target, given);
      };
    },
  });
}

Deno.test("requests are read no further than they have come, and fail with the client's error only", () => {
  for (let seed = 1; seed <= 2000; seed++) {
    const random = seededRandom(seed);
    const bytes = makeRequests(random);
    if (bytes.length > 3000) continue;
    const places = makeCuts(random, bytes.length);
    assertEquals(readRequests(bytes, places, guarded), readRequests(bytes), `seed ${seed}`);
  }
});

Deno.test("responses are read no further than they have come, and fail with a ProxyError only", () => {
  for (let seed = 1; seed <= 2000; seed++) {
    const random = seededRandom(seed);
    const bytes = makeResponse(random);
    if (bytes.length > 3000) continue;
    const parser = new ResponseHeadParser();
    parser.begin(0);
    try {
      const ends = [...makeCuts(random, bytes.length), bytes.length];
      const end = ends.find((end) => parser.parse(guarded(bytes, end), end));
      if (end === undefined) continue;
      const reader = responseBodyReader(parser, "GET");
      reader?.read(guarded(bytes, end), parser.bodyStart, end);
      if (reader !== null) assert(reader.contentEnd <= end && reader.next <= end);
    } catch (error) {
      if (!(error instanceof ProxyError)) throw new Error(`seed ${seed}`, { cause: error });
    }
  }
});

Deno.test("a parser that has refused a head reads the next one as a new one does", () => {
  const kept = new RequestHeadParser();
  const parse = (parser: RequestHeadParser, bytes: Uint8Array) => {
    parser.begin(0);
    try {
      if (!parser.parse(bytes, bytes.length)) return "open";
    } catch (error) {
      assert(error instanceof RequestError);
      return error.message;
    }
    const { method, target, host, minor, contentLength, chunked, persistent, expectsContinue } = parser;
    const { upgrade, namesFields, emptyPath, lines: { count, bareLf, underscore, emptyValue } } = parser;
    return [
      ...[method, target, host, minor, contentLength, chunked, persistent, expectsContinue],
      ...[upgrade, namesFields, emptyPath, count, bareLf, underscore, emptyValue],
    ];
  };
  for (let seed = 1; seed <= 3000; seed++) {
    const bytes = makeRequests(seededRandom(seed));
    assertEquals(parse(kept, bytes), parse(new RequestHeadParser(), bytes), `seed ${seed}`);
  }
});

const token = fc.array(fc.constantFrom(..."!#$%&'*+-.^_`|~09azAZ"), { minLength: 1, maxLength: 10 })
  .map((letters) => `x${letters.join("")}`);
const value = fc.array(fc.constantFrom(...' \t!"#,:;=@[]{}~azAZ09\x80\xa0\xff'), { maxLength: 30 })
  .map((letters) => letters.join("").replace(/^[ \t]+/, "").replace(/[ \t]+$/, ""));
const target = fc.array(fc.constantFrom(...'/?&=%2f.~"<>|a\xe9\x80'), { maxLength: 30 })
  .map((letters) => `/${letters.join("")}`);
const message = fc.record({
  method: token.filter((method) => method.length <= 32),
  target,
  fields: fc.array(fc.tuple(token, value), { maxLength: 12 }),
  pieces: fc.array(fc.uint8Array({ minLength: 1, maxLength: 50 }), { maxLength: 4 }),
  chunked: fc.boolean(),
});

Deno.test("requests that are written one behind the other are read as they were, and so are those read once more", () => {
  fc.assert(
    fc.property(fc.array(message, { minLength: 1, maxLength: 4 }), cuts, (messages, places) => {
      const writer = new HeadWriter(new Uint8Array(0));
      for (const { method, target, fields, pieces, chunked } of messages) {
        writer.requestLine(method, target);
        writer.fields(new HeaderFields([["host", "h"], ...fields]));
        if (chunked) writer.text("transfer-encoding: chunked\r\n");
        else writer.contentLength(pieces.reduce((sum, piece) => sum + piece.length, 0));
        writer.end();
        for (const piece of pieces) {
          if (chunked) writeChunk(writer, piece);
          else writer.copy(piece, 0, piece.length);
        }
        if (chunked) writeLastChunk(writer, []);
      }
      const bytes = writer.bytes.slice(0, writer.length);
      const { requests, end } = readRequests(bytes, within(bytes, places));
      assertEquals([end, requests.at(-1)?.next], ["open", bytes.length]);
      const read = requests.map(({ method, target, fields, content }) => ({
        method,
        target,
        fields,
        content,
      }));
      assertEquals(
        read,
        messages.map(({ method, target, fields, pieces, chunked }) => {
          const content = pieces.map(latin1Text).join("");
          const framing = chunked
            ? ["transfer-encoding", "chunked"]
            : ["content-length", `${content.length}`];
          const lines = fields.flatMap(([name, value]) => [name.toLowerCase(), value]);
          // A text is written in UTF-8, and read as everybody sees targets.
          const seen = target.replace(/[^!-~]/gu, encodeURIComponent);
          return { method, target: seen, fields: ["host", "h", ...lines, ...framing], content };
        }),
      );
    }),
    { seed: 9, numRuns: 500 },
  );
});

Deno.test("a head that was read is written with the same target and lines, whatever it was", () => {
  const framing = ["content-length", "transfer-encoding", "expect"];
  let complete = 0;
  for (let seed = 1; seed <= 3000; seed++) {
    const bytes = makeRequests(seededRandom(seed));
    const parser = new RequestHeadParser();
    parser.begin(0);
    try {
      if (!parser.parse(bytes, bytes.length)) continue;
    } catch {
      continue;
    }
    complete++;
    const fields = new HeaderFields();
    fields.begin(parser.lines);
    if (!fields.has("host")) fields.append("host", "h");
    const writer = new HeadWriter(new Uint8Array(64));
    if (parser.emptyPath) writer.requestLine(parser.method, parser.target);
    else writer.requestLineOf(parser.method, bytes, parser.targetStart, parser.targetEnd);
    writer.fields(fields);
    writer.end();
    const { requests } = readRequests(writer.bytes.subarray(0, writer.length));
    const [again] = requests;
    const lines = [...fields].filter(([name]) => !framing.includes(name)).flat();
    const read = again?.fields.map((text, i) => i % 2 === 0 ? text.toLowerCase() : text);
    assertEquals(
      [again?.method, again?.target, read, requests.length],
      [parser.method, parser.target, lines, 1],
      `seed ${seed}`,
    );
  }
  assert(complete > 500, `${complete} heads were complete`);
});
