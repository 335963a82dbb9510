import { assert, assertEquals, assertThrows } from "@std/assert";
import { STATUS_TEXT } from "@std/http/status";
import fc from "fast-check";
import { HeaderFields } from "../../../lib/http/header_fields.ts";
import { HeadWriter, UnwritableHeadError } from "../../../lib/http1/head_writer.ts";
import { RequestHeadParser } from "../../../lib/http1/request_head.ts";
import { ResponseHeadParser } from "../../../lib/http1/head_parser.ts";
import { latin1Bytes, latin1Text } from "../../support/raw_connection.ts";

/** What is written into a buffer that is too small at first. */
function written(write: (writer: HeadWriter) => void): string {
  const writer = new HeadWriter(new Uint8Array(0));
  write(writer);
  return latin1Text(writer.bytes.subarray(0, writer.length));
}

function refuses(write: (writer: HeadWriter) => void): void {
  assertThrows(() => written(write), UnwritableHeadError);
}

/** Fields as they were read from a response, or from a request when there is a `Host` among them. */
function read(lines: string): HeaderFields {
  const request = lines.includes("Host:");
  const parser = request ? new RequestHeadParser() : new ResponseHeadParser();
  const bytes = latin1Bytes(`${request ? "GET / HTTP/1.1" : "HTTP/1.1 200 OK"}\r\n${lines}\r\n`);
  parser.begin(0);
  assert(parser.parse(bytes, bytes.length), "no complete head");
  const fields = new HeaderFields();
  fields.begin(parser.lines);
  return fields;
}

/** The bytes of a text in UTF-8, one character a byte. */
function asUtf8(text: string): string {
  return latin1Text(new TextEncoder().encode(text));
}

Deno.test("HeadWriter writes a head as it is given", () => {
  const fields = HeaderFields.adopt(["host", "h", "x-b", "1", "x-a", "\xe9\t,", "x-b", "2", "empty", ""]);
  const text = written((writer) => {
    writer.requestLine("M-SEARCH", "/%2f//a?b=%zz&[]\xe9");
    writer.fields(fields);
    writer.contentLength(3);
    writer.end();
  });
  assertEquals(
    text,
    "M-SEARCH /%2f//a?b=%zz&[]\xc3\xa9 HTTP/1.1\r\n" +
      "host: h\r\nx-b: 1\r\nx-a: \xe9\t,\r\nx-b: 2\r\nempty: \r\ncontent-length: 3\r\n\r\n",
  );
});

Deno.test("HeadWriter writes status lines with the reason that came", () => {
  const usual = Object.entries(STATUS_TEXT).map(([status, reason]) => [Number(status), reason] as const);
  const own = [[200, ""], [200, "Fine"], [599, "\xe9 \t"], [201, "OK"]] as const;
  for (const [status, reason] of [...usual, ...own]) {
    assertEquals(written((writer) => writer.statusLine(status, reason)), `HTTP/1.1 ${status} ${reason}\r\n`);
  }
  refuses((writer) => writer.statusLine(200, "a\r\nb"));
});

Deno.test("HeadWriter copies a target and a method that were read", () => {
  const text = written((writer) => writer.requestLineOf("GET", latin1Bytes("GET /\xe9?a HTTP/1.1"), 4, 8));
  assertEquals(text, "GET /\xe9?a HTTP/1.1\r\n");
});

Deno.test("HeadWriter copies lines that were not edited as they came, and none of framing", () => {
  const fields = read(
    "Host:h\r\nX-A:\t 1 \r\nContent-Length: 3\r\nx-A: 2\r\nExpect: 100-continue\r\nX-Gone: 1\r\nX-B:\r\n",
  );
  fields.delete("x-gone");
  fields.append("X-New", "n");
  assertEquals(
    written((writer) => writer.fields(fields)),
    "Host:h\r\nX-A:\t 1 \r\nx-A: 2\r\nX-B:\r\nx-new: n\r\n",
  );
  fields.set("x-a", "3");
  assertEquals(written((writer) => writer.fields(fields)), "Host:h\r\nX-B:\r\nx-new: n\r\nx-a: 3\r\n");
  fields.delete("host");
  fields.delete("x-b");
  assertEquals(written((writer) => writer.fields(fields)), "x-new: n\r\nx-a: 3\r\n");
  assertEquals(
    written((writer) => writer.fields(read("Transfer-Encoding: chunked\r\nX: y\r\n"))),
    "X: y\r\n",
  );
});

Deno.test("HeadWriter ends lines with CRLF that came with LF", () => {
  const fields = read("X-A:1\nContent-Length: 3\nx-b: 2\r\nX-C:\n");
  fields.delete("x-b");
  assertEquals(written((writer) => writer.fields(fields)), "X-A: 1\r\nX-C: \r\n");
});

Deno.test("HeadWriter writes the length of what is not sent once, however it came", () => {
  const lengths = [
    "Content-Length: 5\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: 5\r\ncontent-length: 5\r\n",
  ];
  for (const lines of lengths) {
    const text = written((writer) => writer.fields(read(`${lines}X: y\r\n`), true));
    assertEquals(text, "X: y\r\ncontent-length: 5\r\n", lines);
  }
  const edited = read("Content-Length: 5\r\n");
  edited.set("content-length", "7");
  assertEquals(written((writer) => writer.fields(edited, true)), "content-length: 7\r\n");
  edited.set("content-length", "7\t8");
  assertEquals(written((writer) => writer.fields(edited, true)), "");
  assertEquals(written((writer) => writer.fields(read("Transfer-Encoding: chunked\r\n"), true)), "");
});

Deno.test("HeadWriter drops framing from fields that came as text", () => {
  const fields = new HeaderFields([["Content-Length", "3"], ["Transfer-Encoding", "chunked"], [
    "Expect",
    "x",
  ]]);
  assertEquals(written((writer) => writer.fields(fields)), "");
});

Deno.test("HeadWriter writes numbers", () => {
  for (const number of [0, 7, 10, 99, 100, 65536, 0x7fff_ffff, 0x8000_0000, Number.MAX_SAFE_INTEGER]) {
    assertEquals(written((writer) => writer.decimal(number)), String(number));
    assertEquals(written((writer) => writer.contentLength(number)), `content-length: ${number}\r\n`);
  }
});

Deno.test("HeadWriter has room for whatever is written, and keeps what was", () => {
  const long = "v".repeat(100_000);
  const text = written((writer) => {
    writer.requestLine("GET", `/${long}`);
    writer.line("x", long);
    writer.copy(latin1Bytes(long), 0, 100_000);
    writer.copy(latin1Bytes(long), 10, 20);
    writer.end();
  });
  assertEquals(text, `GET /${long} HTTP/1.1\r\nx: ${long}\r\n${long}${"v".repeat(10)}\r\n`);
});

Deno.test("HeadWriter refuses every character that would end a field, a name or the target", () => {
  for (let code = 0; code < 0x180; code++) {
    const character = String.fromCharCode(code);
    const value = (writer: HeadWriter) => writer.fields(HeaderFields.adopt(["x", `a${character}b`]));
    if ((code < 32 && code !== 9) || code === 127 || code > 255) refuses(value);
    else assertEquals(written(value), `x: a${character}b\r\n`);
    const target = (writer: HeadWriter) => writer.requestLine("GET", `/a${character}b`);
    if (code <= 32 || code === 127) refuses(target);
    else assertEquals(written(target), `GET /a${asUtf8(character)}b HTTP/1.1\r\n`);
    const reason = (writer: HeadWriter) => writer.statusLine(200, `a${character}b`);
    if ((code < 32 && code !== 9) || code === 127 || code > 255) refuses(reason);
    if (/[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(character)) continue;
    refuses((writer) => writer.line(`x${character}y`, "v"));
    refuses((writer) => writer.requestLine(`G${character}T`, "/"));
  }
  refuses((writer) => writer.line("", "v"));
  refuses((writer) => writer.requestLine("", "/"));
  refuses((writer) => writer.requestLine("GET", ""));
});

Deno.test("HeadWriter refuses a request with no host, and with two", () => {
  const request = (fields: HeaderFields) => (writer: HeadWriter) => {
    writer.requestLine("GET", "/");
    writer.fields(fields);
    writer.end();
  };
  refuses(request(new HeaderFields({ x: "y" })));
  refuses(request(new HeaderFields([["host", "a"], ["host", "b"]])));
  const both = read("Host: h\r\n");
  assertEquals(written(request(both)), "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  both.append("host", "i");
  refuses(request(both));
  both.set("host", "i");
  assertEquals(written(request(both)), "GET / HTTP/1.1\r\nhost: i\r\n\r\n");
  both.delete("host");
  refuses(request(both));
  const copied = (writer: HeadWriter) => {
    writer.requestLineOf("GET", latin1Bytes("/"), 0, 1);
    writer.fields(new HeaderFields());
  };
  refuses(copied);
  const writer = new HeadWriter(new Uint8Array(100));
  writer.requestLine("GET", "/");
  writer.begin(writer.bytes);
  writer.statusLine(200, "OK");
  writer.fields(new HeaderFields());
});

Deno.test("HeadWriter writes one head or none, whatever it is given", () => {
  const part = fc.oneof(
    fc.array(fc.constantFrom(..."aZ9-:/ \t\r\n\0\x7f\xe9\u0100", "content-length", "GET"), { maxLength: 6 })
      .map((parts) => parts.join("")),
    fc.constantFrom("host", "content-length", "transfer-encoding", "expect", "chunked", "5", "h"),
  );
  fc.assert(
    fc.property(part, part, fc.array(fc.tuple(part, part), { maxLength: 4 }), (method, target, fields) => {
      let head: string;
      try {
        head = written((writer) => {
          writer.requestLine(method, target);
          writer.line("host", "h");
          writer.fields(HeaderFields.adopt(fields.flat()));
          writer.end();
        });
      } catch (error) {
        assert(error instanceof UnwritableHeadError, String(error));
        return;
      }
      const framing = ["content-length", "transfer-encoding", "expect"];
      const sent = fields.filter(([name]) => !framing.includes(name));
      const lines = sent.map(([name, value]) => `${name}: ${value}\r\n`);
      assertEquals(head, `${method} ${asUtf8(target)} HTTP/1.1\r\nhost: h\r\n${lines.join("")}\r\n`);
    }),
    { seed: 3, numRuns: 3000 },
  );
});
