/** What arrives at the server, and what comes back. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { RequestError } from "../../../../lib/core/errors.ts";
import { fieldOf, type RawMessage } from "../../../support/raw_connection.ts";
import { answering, type RawUpstream, rawUpstream } from "../../../support/raw_upstream.ts";
import { bytesBody } from "../../../support/request_body.ts";
import { type Behaviour, bodyBytes, bodyText, peerOf } from "../behaviour.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** An upstream that answers everything and keeps what it got. */
function recorder(seen: RawMessage[], answer: string | Uint8Array = OK): RawUpstream {
  return rawUpstream(async (connection) => {
    for (
      let request = await connection.readRequest();
      request !== null;
      request = await connection.readRequest()
    ) {
      seen.push(request);
      await connection.write(answer);
    }
  });
}

const PLAIN_TARGETS = [
  "/",
  "/a%2Fb/%7e?q=%20+x&y",
  "//x//y",
  "/a;b=c,d",
  "/?",
  "/a??b",
  "/a%zz",
  "/...",
  "/a/..b",
  "/[x]|^",
  "/?a=%27",
];
const HARD_TARGETS = [
  "/a/../b",
  "/./a",
  "/a/%2e%2e/b",
  "/a\\b",
  "/?q='x'",
  '/?q={"x"}',
  "/{a}",
  "/a b".replace(" ", "`"),
  "*",
  "/a/..",
];
const METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "M-SEARCH", "QUERY"];

export const FORWARDING: readonly Behaviour[] = [
  {
    name: "method, target, fields and content arrive",
    async run(bench) {
      const seen: RawMessage[] = [];
      await using upstream = recorder(seen);
      const response = await bench.send(peerOf(upstream.address), {
        method: "POST",
        target: "/path?query",
        headers: [["host", "a.example"], ["x-one", "1"]],
        body: bytesBody("content"),
      });
      const reason = bench.can("reason phrase") || response.statusText !== "" ? "OK" : "";
      assertEquals([response.status, response.statusText, await bodyText(response)], [200, reason, "ok"]);
      const [request] = seen;
      assertEquals(request?.startLine, "POST /path?query HTTP/1.1");
      assertEquals([fieldOf(request!.fields, "host"), fieldOf(request!.fields, "x-one")], ["a.example", "1"]);
      assertEquals(new TextDecoder().decode(request!.body), "content");
    },
  },
  {
    name: "targets arrive as they are",
    async run(bench) {
      const seen: RawMessage[] = [];
      await using upstream = recorder(seen);
      for (const target of PLAIN_TARGETS) {
        await bodyText(await bench.send(peerOf(upstream.address), { target }));
      }
      assertEquals(
        seen.map(({ startLine }) => startLine),
        PLAIN_TARGETS.map((target) => `GET ${target} HTTP/1.1`),
      );
    },
  },
  {
    name: "targets that a URL parser would change arrive as they are, or not at all",
    async run(bench) {
      const seen: RawMessage[] = [];
      await using upstream = recorder(seen);
      const peer = peerOf(upstream.address);
      for (const target of HARD_TARGETS) {
        if (bench.can("every target")) await bodyText(await bench.send(peer, { target, method: "OPTIONS" }));
        else {await assertRejects(
            () => bench.send(peer, { target, method: "OPTIONS" }),
            RequestError,
            target[0]!,
          );}
      }
      const expected = bench.can("every target")
        ? HARD_TARGETS.map((target) => `OPTIONS ${target} HTTP/1.1`)
        : [];
      assertEquals(seen.map(({ startLine }) => startLine), expected);
    },
  },
  {
    name: "every method arrives",
    async run(bench) {
      const seen: RawMessage[] = [];
      await using upstream = recorder(seen);
      for (const method of METHODS) await bodyText(await bench.send(peerOf(upstream.address), { method }));
      assertEquals(seen.map(({ startLine }) => startLine.split(" ")[0]), METHODS);
    },
  },
  {
    name: "methods keep their letters, and every one may have content",
    needs: ["every method"],
    async run(bench) {
      const seen: RawMessage[] = [];
      await using upstream = recorder(seen);
      for (const method of ["get", "Post", "GET", "TRACE"]) {
        await bodyText(await bench.send(peerOf(upstream.address), { method, body: bytesBody("x") }));
      }
      assertEquals(seen.map(({ startLine, body }) => [startLine.split(" ")[0], body.length]), [
        ["get", 1],
        ["Post", 1],
        ["GET", 1],
        ["TRACE", 1],
      ]);
    },
  },
  {
    name: "exactly the fields given are sent, in their order",
    needs: ["exact request fields"],
    async run(bench) {
      const seen: RawMessage[] = [];
      await using upstream = recorder(seen);
      const headers: [string, string][] = [["x-b", "1"], ["host", "h"], ["x-a", "2"], ["x-b", "3"], [
        "x-empty",
        "",
      ]];
      await bodyText(await bench.send(peerOf(upstream.address), { headers }));
      const { fields } = seen[0]!;
      const asGiven = bench.can("field lines of HTTP/1.1");
      const expected = asGiven ? headers : [headers[1]!, ...headers.filter(([name]) => name !== "host")];
      assertEquals(fields.map(([name, value]) => [name.toLowerCase(), value]), expected);
    },
  },
  {
    name: "fields given arrive with all their repetitions, and none but the documented ones are added",
    async run(bench) {
      const seen: RawMessage[] = [];
      await using upstream = recorder(seen);
      const headers: [string, string][] = [
        ["x-b", "1"],
        ["host", "h"],
        ["x-a", "2"],
        ["x-b", "3, 4"],
        ["x-latin", "caf\xe9 \xff"],
        ["cookie", "a=1"],
        ["cookie", "b=2"],
      ];
      await bodyText(await bench.send(peerOf(upstream.address), { headers }));
      const added = new Set(["accept", "accept-language", "accept-encoding", "user-agent"]);
      const fields = seen[0]!.fields.filter(([name]) => !added.has(name.toLowerCase()));
      const sorted = (list: [string, string][]) => list.map((pair) => pair.join(": ").toLowerCase()).sort();
      const asGiven = bench.can("field lines of HTTP/1.1");
      const expected: [string, string][] = asGiven ? headers : [...headers.slice(0, -2), [
        "cookie",
        "a=1; b=2",
      ]];
      assertEquals(sorted(fields), sorted(expected));
      assertEquals(
        seen[0]!.fields.filter(([name]) => name.toLowerCase() === "user-agent").map(([, v]) => v).join(""),
        "",
      );
    },
  },
  {
    name: "status, reason and fields come back",
    async run(bench) {
      await using upstream = rawUpstream(answering(
        "HTTP/1.1 418 I'm  a teapot\r\nX-A: 1\r\nSet-Cookie: a=1, x\r\nx-latin:\tcaf\xe9 \r\nX-Empty:\r\nSet-Cookie: b=2\r\nx-a: 2\r\ncontent-length: 0\r\n\r\n",
      ));
      const response = await bench.send(peerOf(upstream.address));
      assertEquals(response.status, 418);
      if (bench.can("reason phrase")) assertEquals(response.statusText, "I'm  a teapot");
      assertEquals(response.headers.getSetCookie(), ["a=1, x", "b=2"]);
      assertEquals(response.headers.get("x-a"), "1, 2");
      assertEquals([response.headers.get("x-latin"), response.headers.get("x-empty")], ["caf\xe9", ""]);
      await bodyBytes(response);
    },
  },
  {
    name: "fields of the answer keep order and repetitions",
    needs: ["exact response fields"],
    async run(bench) {
      await using upstream = rawUpstream(
        answering("HTTP/1.1 200 OK\r\nX-B: 1\r\nX-A: 2\r\nX-B: 3\r\nContent-Length: 2\r\n\r\nok"),
      );
      const response = await bench.send(peerOf(upstream.address));
      await bodyBytes(response);
      assertEquals([...response.headers], [["x-b", "1"], ["x-a", "2"], ["x-b", "3"], [
        "content-length",
        "2",
      ]]);
    },
  },
  {
    name: "redirects are not followed",
    async run(bench) {
      await using upstream = rawUpstream(
        answering("HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n"),
      );
      const response = await bench.send(peerOf(upstream.address));
      await bodyBytes(response);
      assertEquals([response.status, response.headers.get("location"), upstream.opened], [302, "/b", 1]);
    },
  },
  {
    name: "compressed content passes as it is, whatever the client accepts",
    async run(bench) {
      const stream = new Blob(["text ".repeat(1000)]).stream().pipeThrough(new CompressionStream("gzip"));
      const gzip = new Uint8Array(await new Response(stream).arrayBuffer());
      const seen: RawMessage[] = [];
      await using upstream = rawUpstream(async (connection) => {
        for (let r = await connection.readRequest(); r !== null; r = await connection.readRequest()) {
          seen.push(r);
          await connection.write(
            `HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: ${gzip.length}\r\n\r\n`,
          );
          await connection.write(gzip);
        }
      });
      for (const accepted of [null, "gzip, br", "identity", "*", "", "gzip;q=0.5", "br"]) {
        const more: [string, string][] = accepted === null ? [] : [["accept-encoding", accepted]];
        const response = await bench.send(peerOf(upstream.address), { headers: [["host", "h"], ...more] });
        assertEquals(await bodyBytes(response), gzip, `accept-encoding: ${accepted}`);
        assertEquals(response.headers.get("content-encoding"), "gzip");
        assertEquals(response.headers.get("content-length"), String(gzip.length));
        const sent = seen.at(-1)!.fields.filter(([name]) => name.toLowerCase() === "accept-encoding");
        assert(accepted === null || sent.some(([, value]) => value === accepted));
      }
    },
  },
];
