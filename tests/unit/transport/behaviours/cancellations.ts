/** Exchanges that nobody waits for any more. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { Cancellation } from "../../../../lib/core/cancellation.ts";
import { ClientGoneError, type ProxyError } from "../../../../lib/core/errors.ts";
import { streamOf } from "../../../../lib/http/message.ts";
import { latin1Bytes } from "../../../support/raw_connection.ts";
import { rawUpstream } from "../../../support/raw_upstream.ts";
import { ManualBody } from "../../../support/request_body.ts";
import { type Behaviour, bodyStream, bodyText, peerOf } from "../behaviour.ts";

const CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/** An upstream that answers with something, says so, and waits until the other end closes. */
function waitingUpstream(answer: string) {
  const asked = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<void>();
  const upstream = rawUpstream(async (connection) => {
    await connection.readHead();
    await connection.write(answer);
    asked.resolve();
    await connection.untilClosed();
    closed.resolve();
  });
  return { upstream, asked: asked.promise, closed: closed.promise };
}

/** What {@linkcode SendOptions.onBodyEnd} was called with. */
function bodyEnds() {
  const calls: [number, ProxyError | null][] = [];
  return {
    calls,
    onBodyEnd: (bytes: number, failure: ProxyError | null) => void calls.push([bytes, failure]),
  };
}

export const CANCELLATIONS: readonly Behaviour[] = [
  {
    name: "before the beginning nothing is sent",
    async run(bench) {
      await using upstream = rawUpstream((connection) => connection.untilClosed());
      const cancellation = new Cancellation();
      cancellation.cancel(new ClientGoneError());
      await assertRejects(() => bench.send(peerOf(upstream.address), { cancellation }), ClientGoneError);
      for (const connection of upstream.connections) assertEquals(connection.received, 0);
    },
  },
  {
    name: "while the answer is waited for, the connection is closed",
    async run(bench) {
      const { upstream, asked, closed } = waitingUpstream("");
      await using _upstream = upstream;
      const cancellation = new Cancellation();
      const attempt = bench.send(peerOf(upstream.address), { cancellation });
      await asked;
      cancellation.cancel(new ClientGoneError());
      await assertRejects(() => attempt, ClientGoneError);
      await closed;
    },
  },
  {
    name: "while content is sent, it is not asked for any more and the connection is closed",
    async run(bench) {
      const { upstream, asked, closed } = waitingUpstream("");
      await using _upstream = upstream;
      const cancellation = new Cancellation();
      const body = new ManualBody();
      const attempt = bench.send(peerOf(upstream.address), { method: "POST", body, cancellation });
      body.send("part");
      await asked;
      cancellation.cancel(new ClientGoneError());
      await assertRejects(() => attempt, ClientGoneError);
      await closed;
      const { reads } = body;
      for (const piece of ["more", "and more"]) body.send(piece);
      body.end();
      // What the transport had waited for is there for whoever sends the content next, and it takes nothing of the rest.
      body.rewind();
      assertEquals(await new Response(streamOf(body)).text(), "partmoreand more");
      assertEquals(body.reads, reads + 4);
    },
  },
  {
    name: "within the content the reader gets an error and the connection is closed",
    async run(bench) {
      const { upstream, closed } = waitingUpstream(`${CHUNKED}3\r\nabc\r\n`);
      await using _upstream = upstream;
      const cancellation = new Cancellation();
      const { calls, onBodyEnd } = bodyEnds();
      const response = await bench.send(peerOf(upstream.address), { cancellation, onBodyEnd });
      const reader = bodyStream(response).getReader();
      await reader.read();
      const reading = reader.read();
      const reason = new ClientGoneError();
      cancellation.cancel(reason);
      const error = await assertRejects(() => reading, ClientGoneError);
      assertEquals(error, reason);
      await closed;
      assertEquals(calls, [[3, reason]]);
    },
  },
  {
    name: "within the content while nobody reads, the connection is closed all the same",
    async run(bench) {
      const { upstream, closed } = waitingUpstream(`${CHUNKED}3\r\nabc\r\n`);
      await using _upstream = upstream;
      const cancellation = new Cancellation();
      const { calls, onBodyEnd } = bodyEnds();
      const response = await bench.send(peerOf(upstream.address), { cancellation, onBodyEnd });
      const reason = new ClientGoneError();
      cancellation.cancel(reason);
      await closed;
      // Content is pulled: whoever reads it learns of it then, and gets nothing of what had come.
      assertEquals(await assertRejects(() => bodyText(response), ClientGoneError), reason);
      assertEquals(calls, [[0, reason]]);
    },
  },
  {
    name: "a reader who gives up closes the connection",
    async run(bench) {
      for (const answer of [`${CHUNKED}3\r\nabc\r\n`, "HTTP/1.1 200 OK\r\n\r\nabc"]) {
        const { upstream, closed } = waitingUpstream(answer);
        await using _upstream = upstream;
        const { calls, onBodyEnd } = bodyEnds();
        const response = await bench.send(peerOf(upstream.address), { onBodyEnd });
        const reader = bodyStream(response).getReader();
        await reader.read();
        await reader.cancel();
        await closed;
        assertEquals(calls.length, 1);
        assert(calls[0]![0] === 3 && calls[0]![1] instanceof ClientGoneError);
      }
    },
  },
  {
    name: "after the end it changes nothing",
    async run(bench) {
      await using upstream = rawUpstream(async (connection) => {
        while (await connection.readRequest() !== null) {
          await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
      });
      const peer = peerOf(upstream.address);
      for (let i = 0; i < 3; i++) {
        const cancellation = new Cancellation();
        const response = await bench.send(peer, { cancellation });
        assertEquals(await bodyText(response), "ok");
        cancellation.cancel(new ClientGoneError());
      }
      bench.usedOneConnection(upstream);
      assertEquals(upstream.open, upstream.opened);
    },
  },
  {
    name: "one exchange does not touch the others",
    async run(bench) {
      const go = Promise.withResolvers<void>();
      await using upstream = rawUpstream(async (connection) => {
        await connection.readRequest();
        await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
        await go.promise;
        await connection.write("cd").catch(() => {});
        await connection.untilClosed();
      });
      const peer = peerOf(upstream.address);
      const cancellation = new Cancellation();
      const [first, second] = await Promise.all([bench.send(peer, { cancellation }), bench.send(peer)]);
      cancellation.cancel(new ClientGoneError());
      await assertRejects(() => bodyText(first), ClientGoneError);
      go.resolve();
      assertEquals(await bodyText(second), "abcd");
    },
  },
  {
    name: "1,000 readers who give up leave no connection behind",
    async run(bench) {
      const begun = latin1Bytes(`${CHUNKED}10000\r\n${"x".repeat(65536)}\r\n`);
      await using upstream = rawUpstream(async (connection) => {
        while (await connection.readHead() !== null) {
          await connection.write(begun);
          await connection.untilClosed();
        }
      });
      const peer = peerOf(upstream.address);
      const giveUp = async (round: number): Promise<void> => {
        const cancellation = new Cancellation();
        const reader = bodyStream(await bench.send(peer, { cancellation })).getReader();
        await reader.read();
        if (round % 2 === 0) await reader.cancel();
        else cancellation.cancel(new ClientGoneError());
      };
      for (let round = 0; round < 50; round++) {
        await Promise.all(Array.from({ length: 20 }, (_, index) => giveUp(index)));
      }
      await upstream.untilOpen(0);
      assertEquals(upstream.opened, 1000);
    },
  },
];
