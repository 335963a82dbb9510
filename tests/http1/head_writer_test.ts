import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { UpstreamError } from "../../../lib/core/errors.ts";
import { HeaderFields } from "../../../lib/http/header_fields.ts";
import { HeadWriter } from "../../../lib/transport/http1/head_writer.ts";
import type { OutgoingRequest } from "../../../lib/transport/transport.ts";
import { latin1Text, parseHead, utf8Bytes } from "../../support/raw_connection.ts";
import { bytesBody, streamBody } from "../../support/request_body.ts";

/** A request whose fields nobody has checked: what a mistake elsewhere may bring. */
function unchecked(list: string[], request: Partial<OutgoingRequest> = {}): OutgoingRequest {
  return { method: "GET", target: "/", headers: HeaderFields.adopt(list), body: null, ...request };
}

function written(request: OutgoingRequest, writer = new HeadWriter()): string {
  writer.write(request);
  return latin1Text(writer.bytes.subarray(0, writer.length));
}

/** What becomes of a text in a target, one character a byte. */
function inUtf8(text: string): string {
  return latin1Text(utf8Bytes(text));
}

function refuses(request: OutgoingRequest): void {
  const error = assertThrows(() => written(request), UpstreamError);
  assertEquals([error.code, error.phase], ["http_request_error", "unsent"]);
}

Deno.test("HeadWriter writes the target and the fields as they are given, and the framing", () => {
  const list = ["host", "h", "x-b", "1", "x-a", "\xe9\t,", "x-b", "2", "empty", ""];
  assertEquals(
    written(unchecked(list, { target: "/%2f//a?b=%zz&[]" })),
    "GET /%2f//a?b=%zz&[] HTTP/1.1\r\nhost: h\r\nx-b: 1\r\nx-a: \xe9\t,\r\nx-b: 2\r\nempty: \r\n\r\n",
  );
  const framings = [
    [bytesBody("abc"), "content-length: 3"],
    [streamBody([], 7), "content-length: 7"],
    [streamBody([]), "transfer-encoding: chunked"],
    [null, "content-length: 0"],
  ] as const;
  for (const [body, line] of framings) {
    const head = written(unchecked(["host", "h"], { method: "POST", body }));
    assertEquals(head, `POST / HTTP/1.1\r\nhost: h\r\n${line}\r\n\r\n`);
  }
});

Deno.test("HeadWriter has room for a long target that is not ASCII", () => {
  const target = `/${"日".repeat(3000)}`;
  assertEquals(
    written(unchecked(["host", "h"], { method: "POST", target })),
    `POST ${inUtf8(target)} HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n`,
  );
  refuses(unchecked(["host", "h"], { target: `${target} ` }));
});

Deno.test("HeadWriter refuses every character that would end a field, a name or the target", () => {
  for (let code = 0; code < 0x180; code++) {
    const character = String.fromCharCode(code);
    const control = (code < 32 && code !== 9) || code === 127;
    const value = unchecked(["host", "h", "x", `a${character}b`]);
    if (control || code > 255) refuses(value);
    else assert(written(value).includes(`x: a${character}b\r\n`));
    const target = unchecked(["host", "h"], { target: `/a${character}b` });
    if (code <= 32 || code === 127) refuses(target);
    else assert(written(target).startsWith(`GET /a${inUtf8(character)}b HTTP/1.1\r\n`));
    if (/[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(character)) continue;
    refuses(unchecked(["host", "h", `x${character}y`, "v"]));
    refuses(unchecked(["host", "h"], { method: `G${character}T` }));
  }
});

Deno.test("HeadWriter refuses a request with no host, with two, and one that asks for a tunnel", () => {
  refuses(unchecked(["x", "y"]));
  refuses(unchecked(["host", "a", "host", "b"]));
  refuses(unchecked(["host", "a", "", "b"]));
  refuses(unchecked(["host", "a"], { method: "CONNECT", target: "a:80" }));
});

Deno.test("HeadWriter believes the content in memory about its length, not what was declared", () => {
  const body = { ...bytesBody("GET /evil HTTP/1.1\r\n\r\n"), length: 3 };
  assert(written(unchecked(["host", "h"], { method: "POST", body })).includes("content-length: 22\r\n"));
});

Deno.test("HeadWriter writes one request or none, whatever it is given", () => {
  const part = fc.oneof(
    fc.array(fc.constantFrom(..."aZ9-:/ \t\r\n\0\x7f\xe9\u0100", "content-length", "GET"), { maxLength: 6 })
      .map((parts) => parts.join("")),
    fc.constantFrom("host", "content-length", "transfer-encoding", "expect", "chunked", "5", "h"),
  );
  const writer = new HeadWriter();
  fc.assert(
    fc.property(part, part, fc.array(fc.tuple(part, part), { maxLength: 4 }), (method, target, fields) => {
      const request = unchecked(["host", "h", ...fields.flat()], { method, target });
      let head: string;
      try {
        head = written(request, writer);
      } catch (error) {
        assert(error instanceof UpstreamError && error.code === "http_request_error", String(error));
        return;
      }
      assertEquals(head.indexOf("\r\n\r\n"), head.length - 4);
      const parsed = parseHead(head);
      assertEquals(parsed.startLine, `${method} ${inUtf8(target)} HTTP/1.1`);
      const sent = fields.filter(([name]) =>
        !["content-length", "transfer-encoding", "expect"].includes(name)
      );
      assertEquals(parsed.fields.length, 1 + sent.length);
    }),
    { seed: 3, numRuns: 3000 },
  );
});
