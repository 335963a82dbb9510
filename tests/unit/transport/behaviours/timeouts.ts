/** Deadlines; none of these tests asks how long something took. */

import { assertEquals, assertRejects } from "@std/assert";
import { systemClock } from "../../../../lib/core/clock.ts";
import { type ProxyError, RequestError, UpstreamError } from "../../../../lib/core/errors.ts";
import { blackHole } from "../../../support/black_hole.ts";
import { patternStream } from "../../../support/checksum.ts";
import { rawUpstream } from "../../../support/raw_upstream.ts";
import { ManualBody, streamBody } from "../../../support/request_body.ts";
import { type Behaviour, bodyStream, bodyText, nowhere, peerOf } from "../behaviour.ts";

const SHORT_MS = 60;
const FOREVER = {
  connectMs: Infinity,
  tlsMs: Infinity,
  responseMs: Infinity,
  idleMs: Infinity,
  totalMs: Infinity,
};

/** An upstream that answers with something and then says nothing until the other end closes. */
function hangingUpstream(answer = "") {
  return rawUpstream(async (connection) => {
    await connection.readHead();
    await connection.write(answer);
    await connection.untilClosed();
  });
}

export const TIMEOUTS: readonly Behaviour[] = [
  {
    name: "a connection that does not come about",
    async run(bench) {
      using hole = await blackHole();
      // Nothing to test where the kernel accepts without end.
      if (hole === null) return;
      const timeouts = bench.can("connect timeout")
        ? { connectMs: SHORT_MS }
        : { connectMs: 0, responseMs: SHORT_MS };
      const attempt = bench.send(nowhere(hole.address), timeouts);
      const error = await bench.fails(attempt, "connection_timeout", "unsent");
      assertEquals(error.status, 504);
    },
  },
  {
    name: "a handshake that does not come about",
    async run(bench) {
      await using upstream = rawUpstream((connection) => connection.untilClosed());
      const timeouts = bench.can("connect timeout")
        ? { tlsMs: SHORT_MS }
        : { connectMs: 0, responseMs: SHORT_MS };
      const attempt = bench.send(peerOf(upstream.address, {}), timeouts);
      const code = bench.can("connect timeout") ? "tls_handshake_timeout" : "connection_timeout";
      const error = await bench.fails(attempt, code, "unsent");
      assertEquals(error.status, 504);
      if (bench.can("abandon a handshake")) await upstream.untilOpen(0);
    },
  },
  {
    name: "an answer that does not come",
    async run(bench) {
      for (const answer of ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n"]) {
        await using upstream = hangingUpstream(answer);
        const attempt = bench.send(peerOf(upstream.address), {
          connectMs: 0 + SHORT_MS,
          responseMs: SHORT_MS,
        });
        const error = await bench.fails(attempt, "http_response_timeout", ["sent", "answered"]);
        assertEquals(error.status, 504);
        await upstream.untilOpen(0);
      }
    },
  },
  {
    name: "an answer that does not come after the content was sent",
    async run(bench) {
      await using upstream = hangingUpstream();
      const body = streamBody(["some", "thing"]);
      const timeouts = { connectMs: SHORT_MS, responseMs: SHORT_MS };
      const attempt = bench.send(peerOf(upstream.address), { method: "POST", body, ...timeouts });
      await bench.fails(attempt, "http_response_timeout", "sent");
      await upstream.untilOpen(0);
    },
  },
  {
    name: "content that does not go on",
    async run(bench) {
      for (
        const framing of [
          "Content-Length: 10\r\n\r\nabc",
          "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
          "\r\nabc",
        ]
      ) {
        await using upstream = hangingUpstream(`HTTP/1.1 200 OK\r\n${framing}`);
        const ends: (ProxyError | null)[] = [];
        const onBodyEnd = (_bytes: number, failure: ProxyError | null) => void ends.push(failure);
        const response = await bench.send(peerOf(upstream.address), { idleMs: SHORT_MS, onBodyEnd });
        const reader = bodyStream(response).getReader();
        assertEquals((await reader.read()).value?.length, 3);
        const error = await assertRejects(() => reader.read(), UpstreamError);
        assertEquals([error.code, error.phase], ["http_response_timeout", "answered"]);
        assertEquals(ends, [error]);
        await upstream.untilOpen(0);
      }
    },
  },
  {
    name: "a server that stops reading the content",
    async run(bench) {
      await using upstream = rawUpstream(async (connection) => {
        await connection.readHead();
        await stopped.promise;
        await connection.untilClosed();
      });
      const stopped = Promise.withResolvers<void>();
      const body = streamBody(patternStream(64 * 1024 * 1024));
      const attempt = bench.send(peerOf(upstream.address), {
        method: "POST",
        body,
        idleMs: SHORT_MS,
        connectMs: 20_000,
      });
      const error = await assertRejects(() => attempt, UpstreamError);
      assertEquals([error.status, error.phase], [504, "sent"]);
      stopped.resolve();
      await upstream.untilOpen(0);
    },
  },
  {
    name: "an exchange that takes too long although it goes on",
    async run(bench) {
      await using upstream = rawUpstream(async (connection) => {
        await connection.readHead();
        await connection.write("HTTP/1.1 200 OK\r\n\r\n");
        // Ends when the write fails.
        for (;;) await connection.write(new Uint8Array(1000));
      });
      // Long enough for the head to arrive on a machine that is busy.
      const response = await bench.send(peerOf(upstream.address), { totalMs: 16 * SHORT_MS });
      const error = await assertRejects(() => bodyText(response), UpstreamError);
      assertEquals([error.status, error.phase], [504, "answered"]);
      await upstream.untilOpen(0);
    },
  },
  {
    name: "an exchange that takes too long before the answer",
    async run(bench) {
      await using upstream = hangingUpstream();
      const attempt = bench.send(peerOf(upstream.address), { ...FOREVER, totalMs: SHORT_MS });
      const error = await assertRejects(() => attempt, UpstreamError);
      assertEquals(error.status, 504);
      await upstream.untilOpen(0);
    },
  },
  {
    name: "an exchange that began long before it is sent",
    async run(bench) {
      await using upstream = hangingUpstream();
      const startedAt = systemClock.now() - 100_000;
      const attempt = bench.send(peerOf(upstream.address), {
        ...FOREVER,
        totalMs: 100_000 + SHORT_MS,
        startedAt,
      });
      const error = await assertRejects(() => attempt, UpstreamError);
      assertEquals(error.status, 504);
      await upstream.untilOpen(0);
    },
  },
  {
    name: "no deadline at all",
    async run(bench) {
      await using upstream = rawUpstream(async (connection) => {
        await connection.readRequest();
        await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        await connection.untilClosed();
      });
      const response = await bench.send(peerOf(upstream.address), FOREVER);
      assertEquals(await bodyText(response), "ok");
    },
  },
  {
    name: "a reader who takes its time is not the server's fault",
    async run(bench) {
      const piece = new Uint8Array(100_000);
      await using upstream = rawUpstream(async (connection) => {
        await connection.readRequest();
        await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${100 * piece.length}\r\n\r\n`);
        for (let i = 0; i < 100; i++) await connection.write(piece);
        await connection.untilClosed();
      });
      await using hanging = hangingUpstream("HTTP/1.1 200 OK\r\n\r\n");
      const idleMs = 4 * SHORT_MS;
      const reader = bodyStream(await bench.send(peerOf(upstream.address), { idleMs })).getReader();
      let bytes = (await reader.read()).value!.length;
      // By the time that the other one is late this one would be as well.
      const other = bench.send(peerOf(hanging.address), { idleMs }).then(bodyText);
      await assertRejects(() => other, UpstreamError);
      for (;;) {
        const { value } = await reader.read();
        if (value === undefined) break;
        bytes += value.length;
      }
      assertEquals(bytes, 100 * piece.length);
    },
  },
  {
    name: "server-sent events pause for as long as nothing happens, unless that is bounded",
    async run(bench) {
      const late = Promise.withResolvers<void>();
      await using upstream = rawUpstream(async (connection) => {
        await connection.readRequest();
        await connection.write(
          "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\ndata: 1\n\n",
        );
        await late.promise;
        await connection.write("data: 2\n\n");
      });
      await using hanging = hangingUpstream("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
      const idleMs = 4 * SHORT_MS;
      // It has to be read, or else nobody waits for the next event.
      const events = bodyText(await bench.send(peerOf(upstream.address), { idleMs }));
      const bounded = bench.send(peerOf(hanging.address), { idleMs, eventStreamIdleMs: idleMs }).then(
        bodyText,
      );
      await assertRejects(() => bounded, UpstreamError);
      late.resolve();
      assertEquals(await events, "data: 1\n\ndata: 2\n\n");
    },
  },
  {
    name: "a client who stops sending is not the server's fault",
    async run(bench) {
      await using upstream = rawUpstream((connection) => connection.untilClosed());
      for (const timeouts of [{ idleMs: 4 * SHORT_MS }, { totalMs: 4 * SHORT_MS }]) {
        for (const length of [null, 10]) {
          const body = new ManualBody(length);
          const attempt = bench.send(peerOf(upstream.address), { method: "POST", body, ...timeouts });
          body.send("part");
          const error = await assertRejects(() => attempt, RequestError);
          assertEquals(error.status, 408);
          await upstream.untilOpen(0);
        }
      }
    },
  },
];
