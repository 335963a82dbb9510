import { assertEquals, AssertionError, assertRejects, assertStrictEquals } from "@std/assert";
import { eachTransport } from "../../support/each_transport.ts";
import { ENGINE } from "../../support/engine.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { askAt, readAnswer, startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { testCa } from "../../support/test_ca.ts";
import { trustingClient } from "../../support/tls_client.ts";
import { untilRefused } from "../../support/until_refused.ts";
import { untilTrue } from "../../support/until_still.ts";

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
  using client = await proxy.connect();
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await asked.promise;
  await untilTrue("the request is counted", () => proxy.server.running === 1);
  const down = proxy.server.shutdown("test");
  const events = proxy.seen.eventsOf("shutdown");
  assertEquals(events.map(({ reason, runningRequests }) => ({ reason, runningRequests })), [
    { reason: "test", runningRequests: 1 },
  ]);
  await untilRefused(port);
  answer.resolve(new Response("finished"));
  const { text, field } = await readAnswer(client);
  assertEquals([text, field("connection")], ["finished", "close"]);
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

Deno.test("ProxyServer.shutdown() takes requests for its delay, while it says that it is not ready", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], shutdownDelay: "300ms" });
  assertEquals(proxy.server.stopping, false);
  const { port } = proxy;
  const down = proxy.server.shutdown();
  assertEquals(proxy.server.stopping, true);
  assertEquals((await proxy.ask()).status, 200);
  assertEquals(proxy.seen.eventsOf("shutdown").map(({ delayMs }) => delayMs), [300]);
  await untilRefused(port);
  assertEquals(await down, 0);
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
    using client = await proxy.connect();
    const [first, second] = ["a".repeat(size / 2), "b".repeat(size / 2)];
    await client.write(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ${size}\r\n\r\n${first}`);
    // Answered on another connection: by then the upload has arrived.
    await proxy.ask("GET /", ["Host: a/b"]);
    const down = proxy.server.shutdown();
    await refusedOrServed(proxy.port);
    await client.write(second);
    assertEquals((await readAnswer(client)).text, first + second);
    await down;
    await using successor = await start({ upstreams: [upstream.address], listen: proxy.address });
    assertEquals((await successor.ask()).status, 200);
  });
}

/** While an upload runs the runtime cannot close the listener; whoever still gets in is not to suffer from it. */
async function refusedOrServed(port: number): Promise<void> {
  try {
    assertEquals((await askAt(port)).status, 200);
  } catch (error) {
    if (error instanceof AssertionError) throw error;
  }
}

Deno.test("ProxyServer.shutdown() closes the listener while an upload of HTTP/2 runs, and finishes it", async () => {
  const arrived = Promise.withResolvers<void>();
  await using upstream = startUpstream({
    handler: async (request) => {
      arrived.resolve();
      return new Response(await request.text());
    },
  });
  const tls = await (await testCa()).issue({ names: ["localhost"] });
  const listen = { hostname: "127.0.0.1", port: 0, tls };
  await using proxy = await startProxy({ upstreams: [upstream.address], listen });
  using client = await trustingClient("h2");
  const body = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>();
  const writer = body.writable.getWriter();
  const response = fetch(`https://localhost:${proxy.port}/`, { method: "POST", body: body.readable, client });
  await writer.write(new Uint8Array(100_000));
  await arrived.promise;
  const down = proxy.server.shutdown();
  await untilRefused(proxy.port);
  await writer.write(new Uint8Array(100_000));
  await writer.close();
  assertEquals((await (await response).text()).length, 200_000);
  await down;
});

eachTransport("ProxyServer.shutdown() logs what it refuses as what it was", async (start) => {
  await using upstream = startUpstream({ handler: async (request) => new Response(await request.text()) });
  await using proxy = await start({ upstreams: [upstream.address] });
  using upload = await proxy.connect();
  using kept = await proxy.connect();
  await kept.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await readAnswer(kept);
  await upload.write("POST /first HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc");
  await proxy.ask("GET /", ["Host: a/b"]);
  const down = proxy.server.shutdown();
  await kept.write("PUT /second?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\nabc");
  const { status, field } = await readAnswer(kept);
  assertEquals([status, field("connection")], [503, "close"]);
  await upload.write("def");
  assertEquals((await readAnswer(upload)).text, "abcdef");
  kept.close();
  await down;
  const lines = proxy.seen.entries.map(({ method, target, status }) => `${method} ${target} ${status}`);
  assertEquals(lines.toSorted(), ["GET / 200", "GET / 400", "POST /first 200", "PUT /second?x=1 503"]);
}, { ignore: ENGINE !== "deno" });

eachTransport("ProxyServer.shutdown() serves a request that was on its way to it", async (start) => {
  await using upstream = startUpstream();
  await using proxy = await start({ upstreams: [upstream.address] });
  using used = await proxy.connect();
  using unused = await proxy.connect();
  using silent = await proxy.connect();
  await used.write("GET /first HTTP/1.1\r\nHost: h\r\n\r\n");
  await readAnswer(used);
  await silent.write("GET /silent HTTP/1.1\r\nHost: h\r\n\r\n");
  await readAnswer(silent);
  const down = proxy.server.shutdown();
  for (const client of [used, unused]) await client.write("GET /second HTTP/1.1\r\nHost: h\r\n\r\n");
  for (const client of [used, unused]) assertEquals((await readAnswer(client)).status, 200);
  for (const client of [used, unused, silent]) await client.untilClosed();
  await down;
});

// Whoever is told that a connection ends connects again at once, and would be reset with the listener.
eachTransport("ProxyServer.shutdown() ends no connection before the listener is closed", async (start) => {
  await using upstream = startUpstream();
  await using proxy = await start({ upstreams: [upstream.address] });
  const { port } = proxy;
  using client = await proxy.connect();
  const isLast = async (): Promise<boolean> => {
    await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    const { status, field } = await readAnswer(client);
    assertEquals(status, 200);
    return field("connection") === "close";
  };
  assertEquals(await isLast(), false);
  const down = proxy.server.shutdown();
  for (let asked = 0; asked < 10_000 && !await isLast(); asked++);
  await assertRejects(() => Deno.connect({ hostname: "127.0.0.1", port }), Deno.errors.ConnectionRefused);
  client.close();
  await down;
});

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
