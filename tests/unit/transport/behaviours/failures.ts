/** Servers that cannot be reached, and connections that break. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { Cancellation } from "../../../../lib/core/cancellation.ts";
import { type ProxyError, UpstreamError } from "../../../../lib/core/errors.ts";
import { HeaderFields } from "../../../../lib/http/header_fields.ts";
import { deadPort } from "../../../support/dead_port.ts";
import { rawUpstream } from "../../../support/raw_upstream.ts";
import { bytesBody } from "../../../support/request_body.ts";
import { resettingUpstream } from "../../../support/resetting_upstream.ts";
import { type Behaviour, bodyStream, bodyText, nowhere, peerOf } from "../behaviour.ts";

/** An upstream that sends something in answer to a request and closes. */
function closingUpstream(answer: string) {
  return rawUpstream(async (connection) => {
    await connection.readRequest();
    await connection.write(answer);
  });
}

const CLOSED_EARLY = ["connection_terminated", "http_response_incomplete"] as const;

/** Answers that stop before their end. */
const CUT_SHORT: readonly (readonly [what: string, answer: string])[] = [
  ["no content at all", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"],
  ["part of a length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"],
  ["no chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
  ["part of a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"],
  ["part of a chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1"],
  ["no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
  ["part of the last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"],
  ["part of the trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n"],
];

export const FAILURES: readonly Behaviour[] = [
  {
    name: "a port on which nobody listens",
    async run(bench) {
      const peer = nowhere(`127.0.0.1:${deadPort()}`);
      for (const method of ["GET", "POST"]) {
        const attempt = bench.send(peer, { method, body: method === "POST" ? bytesBody("x") : null });
        const error = await bench.fails(attempt, "connection_refused", "unsent");
        assertEquals([error.status, error.source, error.reused], [502, "upstream", false]);
      }
    },
  },
  {
    name: "a name that does not exist",
    async run(bench) {
      const error = await bench.fails(bench.send(nowhere("nothing.invalid:80")), "dns_error", "unsent");
      assertEquals(error.status, 502);
    },
  },
  {
    name: "a reset before the answer, and within its head",
    async run(bench) {
      for (const sent of ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"]) {
        await using upstream = await resettingUpstream(sent);
        const body = bytesBody("content");
        const attempt = bench.send(peerOf(upstream.address), { method: "POST", body });
        await bench.fails(attempt, CLOSED_EARLY, ["sent", "answered"]);
        assertEquals(upstream.requests, 1);
      }
    },
  },
  {
    name: "a close before the answer, and within its head",
    async run(bench) {
      for (
        const sent of [
          "",
          "HTTP/1.1 200 OK\r\n",
          "HTTP/1.1 100 Continue\r\n\r\n",
          "HTTP/1.1 103 Early Hints\r\n",
        ]
      ) {
        await using upstream = closingUpstream(sent);
        const attempt = bench.send(peerOf(upstream.address));
        const error = await bench.fails(
          attempt,
          ["connection_terminated", "http_response_incomplete"],
          "sent",
        );
        assertEquals(error.status, 502);
      }
    },
  },
  ...CUT_SHORT.map(([what, answer]): Behaviour => ({
    name: `a close within the content is an error, never an end: ${what}`,
    async run(bench) {
      await using upstream = closingUpstream(answer);
      const ends: [number, ProxyError | null][] = [];
      const onBodyEnd = (bytes: number, failure: ProxyError | null) => void ends.push([bytes, failure]);
      const attempt = bench.send(peerOf(upstream.address), { onBodyEnd });
      const response = await attempt.catch((error: unknown) => error);
      // One that reads ahead may find out before it has given anything away.
      if (response instanceof UpstreamError) return assertEquals(response.phase, "answered");
      const error = await assertRejects(() => bodyText(response as Awaited<typeof attempt>), UpstreamError);
      assertEquals([error.phase, error.status], ["answered", 502]);
      assertEquals(ends.length, 1);
      assert(ends[0]![1] === error && ends[0]![0] <= 3);
    },
  })),
  {
    name: "a reset within the content is an error, never an end",
    async run(bench) {
      for (const framing of ["Content-Length: 10", "Transfer-Encoding: chunked", "X: until the close"]) {
        const go = Promise.withResolvers<void>();
        const body = framing.includes("chunked") ? "3\r\nabc\r\n" : "abc";
        await using upstream = await resettingUpstream(
          `HTTP/1.1 200 OK\r\n${framing}\r\n\r\n${body}`,
          go.promise,
        );
        const response = await bench.send(peerOf(upstream.address));
        const reader = bodyStream(response).getReader();
        assertEquals(new TextDecoder().decode((await reader.read()).value), "abc");
        go.resolve();
        const error = await assertRejects(() => reader.read(), UpstreamError);
        assertEquals(error.phase, "answered");
      }
    },
  },
  {
    name: "something else than HTTP",
    async run(bench) {
      await using upstream = closingUpstream("SSH-2.0-OpenSSH_9.2\r\n\r\n");
      const error = await bench.fails(bench.send(peerOf(upstream.address)), "http_protocol_error", [
        "sent",
        "answered",
      ]);
      assertEquals(error.status, 502);
    },
  },
  {
    name: "whoever throws when told of a response loses that, and nothing else",
    async run(bench) {
      await using upstream = rawUpstream(async (connection) => {
        await connection.readRequest();
        await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
        await connection.untilClosed();
      });
      const told: number[] = [];
      const request = { method: "GET", target: "/", headers: new HeaderFields([["host", "h"]]), body: null };
      bench.transport.send(request, bench.reach(peerOf(upstream.address)), {
        timeouts: { connectMs: 20_000, tlsMs: 20_000, responseMs: 20_000, idleMs: 20_000, totalMs: 60_000 },
        cancellation: new Cancellation(),
        responded({ status }) {
          told.push(status);
          throw new Error("mine");
        },
        failed: () => void told.push(0),
      });
      await upstream.untilOpened(1);
      await upstream.untilOpen(0);
      assertEquals(told, [200]);
    },
  },
  {
    name: "a failure leaves the way to the server open",
    async run(bench) {
      await using upstream = rawUpstream(async (connection, index) => {
        await connection.readRequest();
        await connection.write(
          index === 0 ? "nonsense\r\n\r\n" : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        );
      });
      const peer = peerOf(upstream.address);
      await assertRejects(() => bench.send(peer), UpstreamError);
      assertEquals(await bodyText(await bench.send(peer)), "ok");
    },
  },
];
