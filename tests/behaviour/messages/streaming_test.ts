import { assertEquals, assertLess, assertRejects } from "@std/assert";
import { patternStream } from "../../support/checksum.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { latin1Text } from "../../support/raw_connection.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { untilStill } from "../../support/until_still.ts";

const MIB = 1024 * 1024;
const CHUNKED = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

eachTransport(
  "proxy gives the first event of a stream while the server still holds it open",
  async (start) => {
    const goOn = Promise.withResolvers<void>();
    await using upstream = rawUpstream(async (connection) => {
      await connection.readRequest();
      await connection.write(`${CHUNKED}5\r\none\n\n\r\n`);
      await goOn.promise;
      await connection.write("5\r\ntwo\n\n\r\n0\r\n\r\n");
    });
    await using proxy = await start({ upstreams: [upstream.address] });
    const response = await proxy.fetch("/");
    assertEquals(response.headers.get("content-type"), "text/event-stream");
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    assertEquals((await reader.read()).value, "one\n\n");
    assertEquals(proxy.servers[0]!.inFlight, 1);
    goOn.resolve();
    assertEquals((await reader.read()).value, "two\n\n");
    assertEquals((await reader.read()).done, true);
  },
);

eachTransport("proxy gives the head of an answer before there is any content", async (start) => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readRequest();
    await connection.write(CHUNKED);
    await connection.untilClosed();
  });
  await using proxy = await start({ upstreams: [upstream.address] });
  const response = await proxy.fetch("/");
  assertEquals(response.status, 200);
  await response.body!.cancel();
  await upstream.untilOpen(0);
});

eachTransport("proxy sends an upload on before the client has finished it", async (start) => {
  const first = Promise.withResolvers<string>();
  await using upstream = rawUpstream(async (connection) => {
    await connection.readHead();
    first.resolve(latin1Text((await connection.readChunk())!));
    while (await connection.readChunk() !== null);
    await connection.write("HTTP/1.1 204 No Content\r\n\r\n");
    await connection.untilClosed();
  });
  await using proxy = await start({ upstreams: [upstream.address] });
  using client = await proxy.connect();
  await client.write("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
  assertEquals(await first.promise, "one");
  await client.write("3\r\ntwo\r\n0\r\n\r\n");
  assertEquals((await client.readResponse()).status, 204);
});

eachTransport("proxy stops reading from the server while the client does not read", async (start) => {
  let sent = 0;
  await using upstream = startUpstream({
    handler: () => new Response(patternStream(256 * MIB, (bytes) => sent = bytes)),
  });
  await using proxy = await start({ upstreams: [upstream.address] });
  using client = await proxy.connect();
  const before = Deno.memoryUsage().rss;
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await client.readHead();
  await untilStill(() => sent);
  assertLess(sent, 32 * MIB);
  assertLess(Deno.memoryUsage().rss - before, 64 * MIB);
  client.close();
  assertEquals((await proxy.seen.untilEntries(1)).status, 499);
});

eachTransport("proxy stops reading from the client while the server does not read", async (start) => {
  await using upstream = rawUpstream(async (connection, index) => {
    await connection.readHead();
    if (index === 0) await released.promise;
  });
  const released = Promise.withResolvers<void>();
  await using proxy = await start({ upstreams: [upstream.address] });
  using client = await proxy.connect();
  await client.write(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ${256 * MIB}\r\n\r\n`);
  let sent = 0;
  const sending = client.conn.writable;
  const writing = patternStream(256 * MIB, (bytes) => sent = bytes).pipeTo(sending).catch(() => {});
  await untilStill(() => sent);
  assertLess(sent, 32 * MIB);
  released.resolve();
  await proxy.seen.untilEntries(1);
  client.close();
  await writing;
});

eachTransport(
  "proxy cancels the server's work when the client leaves in the middle of a download",
  async (start) => {
    await using upstream = rawUpstream(async (connection) => {
      await connection.readRequest();
      await connection.write(`${CHUNKED}3\r\nabc\r\n`);
      await connection.untilClosed();
    });
    await using proxy = await start({ upstreams: [upstream.address] });
    using client = await proxy.connect();
    await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    await client.readHead();
    client.close();
    await upstream.untilOpen(0);
    const { status, error } = await proxy.seen.untilEntries(1);
    assertEquals({ status, error }, { status: 499, error: "client_gone" });
    assertEquals(proxy.servers[0]!.inFlight, 0);
  },
);

eachTransport(
  "proxy cancels the server's work when the client leaves before the head of the answer",
  async (start) => {
    const asked = Promise.withResolvers<void>();
    await using upstream = rawUpstream(async (connection) => {
      await connection.readRequest();
      asked.resolve();
      await connection.untilClosed();
    });
    await using proxy = await start({ upstreams: [upstream.address] });
    using client = await proxy.connect();
    await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    await asked.promise;
    client.close();
    await upstream.untilOpen(0);
    const { status, error, attempts } = await proxy.seen.untilEntries(1);
    assertEquals({ status, error, attempts }, { status: 499, error: "client_gone", attempts: 1 });
    assertEquals(proxy.servers[0]!.inFlight, 0);
    assertEquals(proxy.servers[0]!.failures, 0);
  },
);

eachTransport(
  "proxy cancels the server's work when the client leaves before a POST is answered",
  async (start) => {
    const asked = Promise.withResolvers<void>();
    await using upstream = rawUpstream(async (connection) => {
      await connection.readRequest();
      asked.resolve();
      await connection.untilClosed();
    });
    await using proxy = await start({ upstreams: [upstream.address] });
    using client = await proxy.connect();
    await client.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    await asked.promise;
    client.close();
    await upstream.untilOpen(0);
    assertEquals((await proxy.seen.untilEntries(1)).status, 499);
  },
);

for (const length of [1000, 10 * MIB]) {
  eachTransport(
    `proxy gives up an upload of ${length} bytes whose client leaves in the middle`,
    async (start) => {
      const ends: unknown[] = [];
      await using upstream = rawUpstream(async (connection) => {
        ends.push(await connection.readRequest().catch(() => "cut"));
      });
      await using proxy = await start({ upstreams: [upstream.address] });
      using client = await proxy.connect();
      await client.write(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ${length}\r\n\r\nabc`);
      if (length > 65536) await upstream.untilOpened(1);
      client.close();
      const { status, error } = await proxy.seen.untilEntries(1);
      assertEquals({ status, error }, { status: 499, error: "client_gone" });
      await upstream.untilOpen(0);
      // Never a whole request: what the server has got is visibly incomplete.
      assertEquals(ends.filter((end) => end !== "cut" && end !== null), []);
      for (const server of proxy.servers) assertEquals([server.inFlight, server.failures], [0, 0]);
    },
  );
}

eachTransport("proxy gives up a chunked upload whose client leaves in the middle", async (start) => {
  const ends: unknown[] = [];
  await using upstream = rawUpstream(async (connection) => {
    ends.push(await connection.readRequest().catch(() => null));
  });
  await using proxy = await start({ upstreams: [upstream.address] });
  using client = await proxy.connect();
  await client.write("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  await upstream.untilOpened(1);
  client.close();
  assertEquals((await proxy.seen.untilEntries(1)).status, 499);
  await upstream.untilOpen(0);
  // Nothing at all, or not the whole of it.
  assertEquals(ends, [null]);
});

eachTransport("proxy gives an answer that comes before the upload has ended", async (start) => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readHead();
    await connection.write("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
    await connection.untilClosed();
  });
  await using proxy = await start({ upstreams: [upstream.address] });
  using client = await proxy.connect();
  await client.write(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ${10 * MIB}\r\n\r\nabc`);
  const { status, body } = await client.readResponse();
  assertEquals([status, latin1Text(body)], [413, "big"]);
  assertEquals((await proxy.seen.untilEntries(1)).status, 413);
});

for (const framing of [`Content-Length: ${10 * MIB}`, "Transfer-Encoding: chunked"]) {
  eachTransport(
    `proxy gives the early 413 of a server that ends an upload with ${framing}`,
    async (start) => {
      // As nginx does: the response, the end of its side, and the rest of the content dropped.
      await using upstream = rawUpstream(async (connection) => {
        await connection.readHead();
        await connection.write("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
        await connection.closeWrite();
        await connection.untilClosed();
      });
      await using proxy = await start({ upstreams: [upstream.address] });
      const begin = framing.endsWith("chunked") ? "186a0\r\n" : "";
      for (let round = 1; round <= 10; round++) {
        using client = await proxy.connect();
        await client.write(`POST / HTTP/1.1\r\nHost: h\r\n${framing}\r\n\r\n${begin}${"a".repeat(100_000)}`);
        const { status, body } = await client.readResponse();
        assertEquals([status, latin1Text(body)], [413, "big"]);
        assertEquals((await proxy.seen.untilEntries(round)).status, 413);
      }
    },
  );
}

for (const length of [1000, 10 * MIB]) {
  eachTransport(
    `proxy answers 408 when an upload of ${length} bytes comes to a standstill`,
    async (start) => {
      await using upstream = rawUpstream((connection) => connection.untilClosed());
      await using proxy = await start({
        upstreams: { servers: [upstream.address], timeouts: { idle: "100ms" } },
      });
      using client = await proxy.connect();
      await client.write(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ${length}\r\n\r\nabc`);
      assertEquals((await client.readResponse()).status, 408);
      const { status, error } = await proxy.seen.untilEntries(1);
      assertEquals({ status, error }, { status: 408, error: "http_request_error" });
      await upstream.untilOpen(0);
    },
  );
}

eachTransport("proxy cuts an answer off that comes to a standstill", async (start) => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readRequest();
    await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    await connection.untilClosed();
  });
  await using proxy = await start({
    upstreams: { servers: [upstream.address], timeouts: { idle: "100ms" } },
  });
  using client = await proxy.connect();
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await assertRejects(() => client.readResponse());
  assertEquals((await proxy.seen.untilEntries(1)).error, "http_response_timeout");
  await upstream.untilOpen(0);
});
