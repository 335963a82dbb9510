import { assertEquals, assertStrictEquals } from "@std/assert";
import { eachTransport } from "../support/each_transport.ts";
import { rawUpstream } from "../support/raw_upstream.ts";
import { readAnswer, startProxy } from "../support/start_proxy.ts";
import { startUpstream } from "../support/start_upstream.ts";
import { untilRefused } from "../support/until_refused.ts";

eachTransport("ProxyServer.shutdown() finishes what runs and takes nothing new", async (start) => {
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<Response>();
  await using upstream = startUpstream({
    handler: () => {
      asked.resolve();
      return answer.promise;
    },
  });
  await using proxy = await start({ upstreams: [upstream.address] });
  const { port } = proxy;
  const running = proxy.ask();
  await asked.promise;
  const down = proxy.server.shutdown("test");
  const events = proxy.seen.eventsOf("shutdown");
  assertEquals(events.map(({ reason, runningRequests }) => ({ reason, runningRequests })), [
    { reason: "test", runningRequests: 1 },
  ]);
  await untilRefused(port);
  answer.resolve(new Response("finished"));
  assertEquals((await running).text, "finished");
  await down;
  assertEquals(proxy.seen.eventsOf("stopped").map(({ abandonedRequests }) => abandonedRequests), [0]);
});

eachTransport("ProxyServer.shutdown() finishes a download that runs", async (start) => {
  const goOn = Promise.withResolvers<void>();
  await using upstream = rawUpstream(async (connection) => {
    await connection.readRequest();
    await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
    await goOn.promise;
    await connection.write("def");
    await connection.untilClosed();
  });
  await using proxy = await start({ upstreams: [upstream.address] });
  using client = await proxy.connect();
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await client.readHead();
  const down = proxy.server.shutdown();
  goOn.resolve();
  assertEquals(new TextDecoder().decode(await client.readExactly(6)), "abcdef");
  await down;
});

eachTransport("ProxyServer.shutdown() does not wait for idle connections, and closes them", async (start) => {
  await using upstream = startUpstream();
  await using proxy = await start({ upstreams: [upstream.address] });
  using used = await proxy.connect();
  await used.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  assertEquals((await used.readResponse()).status, 200);
  await proxy.server.shutdown();
  await used.untilClosed();
});

eachTransport(
  "ProxyServer.shutdown() does not wait for a connection that never asked anything",
  async (start) => {
    await using upstream = startUpstream();
    await using proxy = await start({ upstreams: [upstream.address], gracePeriod: "30s" });
    using silent = await proxy.connect();
    assertEquals((await proxy.ask()).status, 200);
    await proxy.server.shutdown();
    await silent.untilClosed();
  },
);

eachTransport("ProxyServer.shutdown() cuts what has not finished within the grace period", async (start) => {
  const asked = Promise.withResolvers<void>();
  await using upstream = rawUpstream(async (connection) => {
    await connection.readRequest();
    asked.resolve();
    await connection.untilClosed();
  });
  await using proxy = await start({ upstreams: [upstream.address], gracePeriod: "100ms" });
  using client = await proxy.connect();
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await asked.promise;
  await proxy.server.shutdown();
  assertEquals((await client.readResponse()).status, 503);
  await client.untilClosed();
  await upstream.untilOpen(0);
  assertEquals(proxy.seen.eventsOf("stopped").map(({ abandonedRequests }) => abandonedRequests), [1]);
  assertEquals(proxy.seen.entries.map(({ status }) => status), [503]);
});

for (const size of [1000, 300_000]) {
  eachTransport(`ProxyServer.shutdown() finishes an upload of ${size} bytes that runs`, async (start) => {
    await using upstream = startUpstream({ handler: async (request) => new Response(await request.text()) });
    await using proxy = await start({ upstreams: [upstream.address] });
    const { port } = proxy;
    using client = await proxy.connect();
    const [first, second] = ["a".repeat(size / 2), "b".repeat(size / 2)];
    await client.write(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ${size}\r\n\r\n${first}`);
    // Answered on another connection: by then the upload has arrived.
    await proxy.ask("GET /", ["Host: a/b"]);
    const down = proxy.server.shutdown();
    using late = await proxy.connect();
    await late.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    const refused = await readAnswer(late);
    assertEquals([refused.status, refused.field("connection")], [503, "close"]);
    await client.write(second);
    assertEquals((await readAnswer(client)).text, first + second);
    await down;
    await untilRefused(port);
  });
}

for (const length of [1000, 10_000_000]) {
  eachTransport(
    `ProxyServer.shutdown() cuts an upload of ${length} bytes that does not go on`,
    async (start) => {
      await using upstream = rawUpstream((connection) => connection.untilClosed());
      await using proxy = await start({ upstreams: [upstream.address], gracePeriod: "100ms" });
      using client = await proxy.connect();
      await client.write(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ${length}\r\n\r\nabc`);
      if (length > 65536) await upstream.untilOpened(1);
      else await proxy.ask("GET /", ["Host: a/b"]);
      await proxy.server.shutdown();
      await upstream.untilOpen(0);
      assertEquals((await client.readResponse()).status, 503);
      assertEquals(proxy.seen.entries.at(-1)!.status, 503);
    },
  );
}

eachTransport("ProxyServer.shutdown() does not wait for a filter that never returns", async (start) => {
  const asked = Promise.withResolvers<void>();
  const never = Promise.withResolvers<void>();
  await using upstream = startUpstream();
  await using proxy = await start({
    upstreams: [upstream.address],
    gracePeriod: "50ms",
    requestFilter: () => {
      asked.resolve();
      return never.promise;
    },
  });
  using client = await proxy.connect();
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await asked.promise;
  await proxy.server.shutdown();
  assertEquals(proxy.seen.eventsOf("stopped").map(({ abandonedRequests }) => abandonedRequests), [1]);
  // Only so that the test leaves nothing behind.
  never.resolve();
  assertEquals((await proxy.seen.untilEntries(1)).status, 503);
  await client.untilClosed();
});

eachTransport(
  "ProxyServer.shutdown() cuts a download that has not finished within the grace period",
  async (start) => {
    await using upstream = rawUpstream(async (connection) => {
      await connection.readRequest();
      await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
      await connection.untilClosed();
    });
    await using proxy = await start({ upstreams: [upstream.address], gracePeriod: "100ms" });
    using client = await proxy.connect();
    await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    await client.readHead();
    await proxy.server.shutdown();
    await client.untilClosed();
    await upstream.untilOpen(0);
    assertEquals(proxy.seen.entries.length, 1);
  },
);

eachTransport(
  "ProxyServer.shutdown() called while a new proxy takes the port leaves it alone",
  async (start) => {
    await using upstream = startUpstream();
    await using first = await start({ upstreams: [upstream.address] });
    const { port } = first;
    await first.server.shutdown();
    await using second = await start({ upstreams: [upstream.address], listen: `127.0.0.1:${port}` });
    assertEquals((await second.ask()).status, 200);
  },
);

Deno.test("ProxyServer.shutdown() may be called again, and gives the same promise", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address] });
  const first = proxy.server.shutdown();
  assertStrictEquals(proxy.server.shutdown(), first);
  await first;
  await proxy.server.finished;
  await proxy.server[Symbol.asyncDispose]();
  await proxy.server[Symbol.asyncDispose]();
  assertEquals(proxy.seen.eventsOf("stopped").length, 1);
});

Deno.test("ProxyServer.finished resolves when the proxy has stopped, and not before", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address] });
  let finished = false;
  const noted = proxy.server.finished.then(() => finished = true);
  assertEquals((await proxy.ask()).status, 200);
  assertEquals(finished, false);
  await proxy.server.shutdown();
  await noted;
});
