/** Content as it streams: large, slow, both ways at once. */

import { assert, assertEquals, assertLess } from "@std/assert";
import { ProxyError } from "../../../../lib/core/errors.ts";
import { checksum, MOST_UNDER_WAY, patternStream, UnderWay } from "../../../support/checksum.ts";
import { rawUpstream } from "../../../support/raw_upstream.ts";
import { ManualBody, streamBody } from "../../../support/request_body.ts";
import { startUpstream } from "../../../support/start_upstream.ts";
import { untilStill } from "../../../support/until_still.ts";
import { type Behaviour, bodyStream, bodyText, peerOf } from "../behaviour.ts";

const MIB = 1024 * 1024;
const LARGE = 64 * MIB;
/** What the kernel and both ends may hold of a body between them. */
const IN_FLIGHT = 24 * MIB;
const EXPECTED = checksum(patternStream(LARGE));

export const BODIES: readonly Behaviour[] = [
  {
    name: "64 MiB down keep their checksum, kept by nobody",
    async run(bench) {
      const underWay = new UnderWay();
      await using upstream = startUpstream({
        handler: () => new Response(patternStream(LARGE, underWay.sent)),
      });
      const ends: [number, unknown][] = [];
      const onBodyEnd = (bytes: number, failure: unknown) => void ends.push([bytes, failure]);
      const response = await bench.send(peerOf(upstream.address), { onBodyEnd });
      assertEquals(await checksum(bodyStream(response), underWay.received), await EXPECTED);
      assertEquals(ends, [[LARGE, null]]);
      assertLess(underWay.most, MOST_UNDER_WAY);
    },
  },
  {
    name: "64 MiB up keep their checksum, kept by nobody",
    async run(bench) {
      let underWay = new UnderWay();
      await using upstream = startUpstream({
        handler: async (request) =>
          Response.json(await checksum(request.body, (bytes) => underWay.received(bytes))),
      });
      for (const length of [LARGE, null]) {
        underWay = new UnderWay();
        const body = streamBody(patternStream(LARGE, underWay.sent), length);
        const response = await bench.send(peerOf(upstream.address), { method: "POST", body });
        assertEquals(JSON.parse(await bodyText(response)), await EXPECTED);
        assertLess(underWay.most, MOST_UNDER_WAY);
      }
    },
  },
  {
    name: "a reader that stops makes the server stop",
    async run(bench) {
      let written = 0;
      const done = Promise.withResolvers<void>();
      await using upstream = rawUpstream(async (connection) => {
        await connection.readRequest();
        await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${LARGE}\r\n\r\n`);
        for await (const piece of patternStream(LARGE)) {
          await connection.write(piece);
          written += piece.length;
        }
        done.resolve();
      });
      const response = await bench.send(peerOf(upstream.address));
      const reader = bodyStream(response).getReader();
      await reader.read();
      assert(await untilStill(() => written) < IN_FLIGHT);
      let read = 0;
      reader.releaseLock();
      for await (const piece of bodyStream(response)) read += piece.length;
      await done.promise;
      assert(read > 0 && read <= LARGE);
    },
  },
  {
    name: "a server that stops reading makes the sender stop",
    async run(bench) {
      let pulled = 0;
      const goOn = Promise.withResolvers<void>();
      await using upstream = rawUpstream(async (connection) => {
        const head = await connection.readHead();
        assert(head !== null);
        await goOn.promise;
        await connection.readExactly(LARGE);
        await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        await connection.untilClosed();
      });
      const body = streamBody(patternStream(LARGE, (sent) => pulled = sent), LARGE);
      const sending = bench.send(peerOf(upstream.address), { method: "PUT", body });
      assert(await untilStill(() => pulled) < IN_FLIGHT);
      goOn.resolve();
      assertEquals((await sending).status, 200);
      assertEquals(pulled, LARGE);
    },
  },
  {
    name: "the first event of a server arrives while it goes on",
    async run(bench) {
      const next = Promise.withResolvers<void>();
      await using upstream = rawUpstream(async (connection) => {
        await connection.readRequest();
        await connection.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
        await next.promise;
        await connection.write("data: 2\n\n");
      });
      const response = await bench.send(peerOf(upstream.address));
      const reader = bodyStream(response).pipeThrough(new TextDecoderStream()).getReader();
      assertEquals(await reader.read(), { done: false, value: "data: 1\n\n" });
      next.resolve();
      assertEquals(await reader.read(), { done: false, value: "data: 2\n\n" });
      assertEquals((await reader.read()).done, true);
    },
  },
  {
    name: "the head arrives before any content",
    async run(bench) {
      const next = Promise.withResolvers<void>();
      await using upstream = rawUpstream(async (connection) => {
        await connection.readRequest();
        await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
        await next.promise;
        await connection.write("abc");
        await connection.untilClosed();
      });
      const response = await bench.send(peerOf(upstream.address));
      assertEquals(response.status, 200);
      next.resolve();
      assertEquals(await bodyText(response), "abc");
    },
  },
  {
    name: "content goes both ways at once",
    async run(bench) {
      await using upstream = rawUpstream(async (connection) => {
        await connection.readHead();
        await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (let piece = await connection.readChunk(); piece !== null; piece = await connection.readChunk()) {
          await connection.write(`${piece.length.toString(16)}\r\n`);
          await connection.write(piece);
          await connection.write("\r\n");
        }
        await connection.write("0\r\n\r\n");
        await connection.untilClosed();
      });
      const body = new ManualBody();
      const sending = bench.send(peerOf(upstream.address), { method: "POST", body });
      body.send("one");
      const reader = bodyStream(await sending).pipeThrough(new TextDecoderStream()).getReader();
      assertEquals((await reader.read()).value, "one");
      body.send("two");
      assertEquals((await reader.read()).value, "two");
      body.end();
      assertEquals((await reader.read()).done, true);
    },
  },
  {
    name: "an answer that comes before the content was sent ends the sending",
    async run(bench) {
      await using upstream = rawUpstream(async (connection) => {
        await connection.readHead();
        await connection.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
        await connection.untilClosed();
      });
      for (const length of [LARGE, null]) {
        const body = new ManualBody(length);
        const response = await bench.send(peerOf(upstream.address), { method: "POST", body });
        assertEquals([response.status, await bodyText(response)], [413, "no"]);
        await body.cancelled;
      }
    },
  },
  {
    name: "content that breaks off at the client never looks whole to the server",
    async run(bench) {
      const seen: Promise<string>[] = [];
      await using upstream = rawUpstream((connection) => {
        const received = connection.readToEnd().then((bytes) => new TextDecoder().decode(bytes));
        // A reset is as good an end as any.
        seen.push(received.catch(() => ""));
        return connection.untilClosed();
      });
      for (const length of [null, 100]) {
        const body = new ManualBody(length);
        const sending = bench.send(peerOf(upstream.address), { method: "POST", body });
        const failed = sending.then(() => false, () => true);
        body.send("part");
        await upstream.untilOpened(seen.length + 1);
        body.fail(new Error("gone"));
        assert(await failed);
        assert(!(await seen.at(-1)!).includes("\r\n0\r\n"));
      }
    },
  },
  {
    name: "content that is not as long as declared is an error",
    async run(bench) {
      const seen: Promise<Uint8Array>[] = [];
      await using upstream = rawUpstream(async (connection) => {
        const head = await connection.readHead();
        if (head === null) return;
        seen.push(connection.readToEnd().catch(() => new Uint8Array(0)));
        await seen.at(-1);
      });
      for (const length of [3, 50]) {
        const body = streamBody(["four", "five"], length);
        const failed = await bench.send(peerOf(upstream.address), { method: "POST", body }).catch((e) => e);
        // The client's fault, told at once; not the timeout of a server that waits for the rest.
        assert(failed instanceof ProxyError && failed.code === "http_request_error", `${failed}`);
      }
    },
  },
];
