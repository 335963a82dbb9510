/** Connections that are used again, and those that must not be. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { ProxyError } from "../../../../lib/core/errors.ts";
import { answering, rawUpstream } from "../../../support/raw_upstream.ts";
import { bytesBody, streamBody } from "../../../support/request_body.ts";
import { type Behaviour, bodyText, peerOf } from "../behaviour.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const ROUNDS = 200;

/**
 * An upstream whose every connection answers once and breaks when it is used again: the request is read and nothing
 * is said to it, as by a server whose idle timeout ends at that moment.
 */
function staleUpstream() {
  const methods: string[] = [];
  const upstream = rawUpstream(async (connection) => {
    const first = await connection.readRequest();
    if (first === null) return;
    methods.push(first.startLine.split(" ")[0]!);
    await connection.write(OK);
    const second = await connection.readHead();
    if (second !== null) methods.push(second.split(" ")[0]!);
  });
  return { upstream, methods };
}

export const KEEP_ALIVE: readonly Behaviour[] = [
  {
    name: "requests one after another share a connection",
    async run(bench) {
      await using upstream = rawUpstream(answering(OK));
      const peer = peerOf(upstream.address);
      for (let i = 0; i < 20; i++) {
        const body = i % 2 === 0 ? null : bytesBody("x");
        const response = await bench.send(peer, { method: body === null ? "GET" : "POST", body });
        assertEquals(await bodyText(response), "ok");
      }
      if (bench.can("reuse at once")) assertEquals(upstream.opened, 1);
      else assert(upstream.opened < 20);
    },
  },
  {
    name: "requests at the same time have connections of their own, which are kept",
    async run(bench) {
      await using upstream = rawUpstream(answering(OK));
      const peer = peerOf(upstream.address);
      for (let round = 0; round < 5; round++) {
        const responses = await Promise.all(Array.from({ length: 8 }, () => bench.send(peer).then(bodyText)));
        assertEquals(responses, new Array(8).fill("ok"));
      }
      assert(upstream.opened <= (bench.can("reuse at once") ? 8 : 39), `${upstream.opened} connections`);
    },
  },
  {
    name: "64 clients with 50 requests each open no more than 64 connections",
    needs: ["reuse at once"],
    async run(bench) {
      await using upstream = rawUpstream(answering(OK));
      const peer = peerOf(upstream.address);
      await Promise.all(Array.from({ length: 64 }, async () => {
        for (let i = 0; i < 50; i++) assertEquals(await bodyText(await bench.send(peer)), "ok");
      }));
      assert(upstream.opened <= 64, `${upstream.opened} connections`);
      assertEquals(upstream.open, upstream.opened);
    },
  },
  {
    name: "peers do not share connections, even to one address",
    async run(bench) {
      await using upstream = rawUpstream(answering(OK));
      await bodyText(await bench.send(peerOf(upstream.address)));
      await bodyText(await bench.send(peerOf(upstream.address)));
      assertEquals(upstream.opened, 2);
    },
  },
  {
    name: "a connection that the server wants closed is not used again",
    async run(bench) {
      for (
        const head of [
          "HTTP/1.1 200 OK\r\nConnection: close",
          "HTTP/1.0 200 OK",
          "HTTP/1.1 200 OK\r\nConnection: x, Close",
        ]
      ) {
        await using upstream = rawUpstream(answering(`${head}\r\nContent-Length: 2\r\n\r\nok`));
        const peer = peerOf(upstream.address);
        for (let i = 0; i < 3; i++) assertEquals(await bodyText(await bench.send(peer)), "ok");
        assertEquals(upstream.opened, 3);
      }
    },
  },
  {
    name: "a connection that closed while idle costs no request",
    async run(bench) {
      await using upstream = rawUpstream(async (connection) => {
        await connection.readRequest();
        await connection.write(OK);
      });
      const peer = peerOf(upstream.address);
      for (let i = 0; i < ROUNDS; i++) {
        assertEquals(await bodyText(await bench.send(peer)), "ok");
        // Every second time the close has been seen before the next request.
        if (i % 2 === 0) await upstream.untilOpen(0);
      }
      assertEquals(upstream.opened, ROUNDS);
    },
  },
  {
    name: "a connection that closes just as it is used again costs no GET",
    async run(bench) {
      const { upstream, methods } = staleUpstream();
      await using _upstream = upstream;
      const peer = peerOf(upstream.address);
      for (let i = 0; i < ROUNDS; i++) assertEquals(await bodyText(await bench.send(peer)), "ok");
      assert(methods.length >= ROUNDS);
    },
  },
  {
    name: "a connection that closes just as it is used again never brings a POST twice",
    async run(bench) {
      const { upstream, methods } = staleUpstream();
      await using _upstream = upstream;
      const peer = peerOf(upstream.address);
      let failed = 0;
      for (let i = 0; i < ROUNDS; i++) {
        assertEquals(await bodyText(await bench.send(peer)), "ok");
        const body = [null, bytesBody("x"), streamBody(["x"]), streamBody(["x"], 1)][i % 4]!;
        const before = methods.filter((method) => method === "POST").length;
        const outcome = await bench.send(peer, { method: "POST", body }).then(bodyText, (error) => error);
        const seen = methods.filter((method) => method === "POST").length - before;
        assert(seen <= 1, `a POST was seen ${seen} times`);
        if (outcome === "ok") continue;
        failed++;
        assert(outcome instanceof ProxyError);
        assertEquals([outcome.status, "phase" in outcome && outcome.phase], [502, "sent"]);
      }
      assert(failed > 0, "no connection was used again, so nothing was shown");
    },
  },
  {
    name: "a server that never answers is not asked for ever",
    async run(bench) {
      await using upstream = rawUpstream(async (connection) => void await connection.readHead());
      await assertRejects(() => bench.send(peerOf(upstream.address)), ProxyError);
      assert(upstream.opened <= 2);
    },
  },
  {
    name: "forgetting a peer closes what is idle",
    async run(bench) {
      await using upstream = rawUpstream(answering(OK));
      const peer = peerOf(upstream.address);
      await bodyText(await bench.send(peer));
      bench.transport.forget(bench.reach(peer));
      await upstream.untilOpen(0);
      assertEquals(await bodyText(await bench.send(peer)), "ok");
      assertEquals(upstream.opened, 2);
    },
  },
  {
    name: "forgetting a peer lets exchanges end that run",
    async run(bench) {
      const go = Promise.withResolvers<void>();
      await using upstream = rawUpstream(async (connection) => {
        await connection.readRequest();
        await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
        await go.promise;
        await connection.write("cd");
        await connection.untilClosed();
      });
      const peer = peerOf(upstream.address);
      const response = await bench.send(peer);
      bench.transport.forget(bench.reach(peer));
      go.resolve();
      assertEquals(await bodyText(response), "abcd");
      await upstream.untilOpen(0);
    },
  },
  {
    name: "disposing twice does nothing, and closes what is idle",
    async run(bench) {
      await using upstream = rawUpstream(answering(OK));
      await bodyText(await bench.send(peerOf(upstream.address)));
      bench.transport[Symbol.dispose]();
      bench.transport[Symbol.dispose]();
      await upstream.untilOpen(0);
    },
  },
];
