/** Listeners with TLS by the proxy's own engine. */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { ListenError } from "../../../lib/engine/engine.ts";
import { serve } from "../../../lib/server/serve.ts";
import { certificateFiles } from "../../support/certificate_files.ts";
import { ProgramFolder } from "../../support/program.ts";
import { RawConnection } from "../../support/raw_connection.ts";
import { readAnswer, startProxy, type TestProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { testCa } from "../../support/test_ca.ts";
import { openWebSocket, webSocketUpstream } from "../../support/test_web_socket.ts";
import { tlsClient, trustingClient } from "../../support/tls_client.ts";

/** A place to listen at with a certificate for localhost. */
async function secured(): Promise<
  { hostname: string; port: number; engine: "http1"; tls: { cert: string; key: string } }
> {
  const tls = await (await testCa()).issue({ names: ["localhost"] });
  return { hostname: "127.0.0.1", port: 0, engine: "http1", tls };
}

/** Opens a TCP connection and sends nothing. */
async function halfOpen(proxy: TestProxy): Promise<RawConnection> {
  return new RawConnection(await Deno.connect({ hostname: "127.0.0.1", port: proxy.port }));
}

Deno.test("Secured listener takes one request after the other, and tells servers of https", async () => {
  await using upstream = startUpstream({ handler: async (request) => new Response(await request.text()) });
  await using proxy = await startProxy({ upstreams: [upstream.address], listen: await secured() });
  using client = await tlsClient(proxy.port, "localhost");
  for (const content of ["a", "b".repeat(100_000), "c"]) {
    await client.write(`POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: ${content.length}\r\n\r\n${content}`);
    assertEquals((await readAnswer(client)).text, content);
  }
  assertEquals(upstream.seen.map(({ headers }) => headers.get("x-forwarded-proto")), [
    "https",
    "https",
    "https",
  ]);
  assertEquals(proxy.seen.entries[0]!.clientIp, "127.0.0.1");
});

for (const protocol of ["h1", "h2"] as const) {
  Deno.test(`Secured listener gives each event of a stream before there is another one (${protocol})`, async () => {
    const ask = Promise.withResolvers<ReadableStreamDefaultController<Uint8Array>>();
    await using upstream = startUpstream({
      handler: () =>
        new Response(new ReadableStream({ start: ask.resolve }), {
          headers: { "content-type": "text/event-stream" },
        }),
    });
    await using proxy = await startProxy({ upstreams: [upstream.address], listen: await secured() });
    using client = await trustingClient(protocol);
    const response = await fetch(`https://localhost:${proxy.port}/events`, { client });
    const events = await ask.promise;
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    for (let i = 0; i < 20; i++) {
      // The last ones are longer than a record of TLS.
      const event = `data: ${i} ${"x".repeat(i < 18 ? i : 40_000)}\n\n`;
      events.enqueue(new TextEncoder().encode(event));
      let received = "";
      while (received.length < event.length) received += (await reader.read()).value;
      assertEquals(received, event);
    }
    events.close();
    assertEquals((await reader.read()).done, true);
    assertEquals((await proxy.seen.untilEntries(1)).protocol, protocol === "h1" ? "HTTP/1.1" : "HTTP/2");
  });
}

Deno.test("Secured listener takes a new certificate while content and WebSockets are on their way", async () => {
  await using upstream = startUpstream({ handler: async (request) => new Response(await request.text()) });
  await using sockets = webSocketUpstream();
  await using files = await certificateFiles(["localhost"]);
  await using proxy = await startProxy({
    upstreams: { default: [upstream.address], sockets: [sockets.address] },
    routes: [{ match: { path: "/socket" }, upstream: "sockets" }, { upstream: "default" }],
    listen: {
      hostname: "127.0.0.1",
      port: 0,
      engine: "http1",
      tls: { cert: files.cert, key: files.key },
    },
  });
  using trusting = await trustingClient();
  const socket = await openWebSocket(`wss://localhost:${proxy.port}/socket`, { client: trusting });
  using upload = await tlsClient(proxy.port, "localhost");
  await upload.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab");
  await files.issue(["renewed.example"]);
  await proxy.seen.until(() => proxy.seen.eventsOf("certificate").length > 0);
  assertEquals(proxy.seen.eventsOf("certificate")[0]!.problem, null);
  using renewed = await tlsClient(proxy.port, "renewed.example");
  await renewed.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  assertEquals((await readAnswer(renewed)).status, 200);
  await assertRejects(() => tlsClient(proxy.port, "localhost"));
  await upload.write("cd");
  assertEquals((await readAnswer(upload)).text, "abcd");
  socket.socket.send("still here");
  assertEquals(await socket.next(), "still here");
  await socket.close();
});

Deno.test("Secured listener gives up clients that do not finish their handshake in time", async () => {
  await using upstream = startUpstream();
  const listen = { ...await secured(), timeouts: { head: "100ms" as const } };
  await using proxy = await startProxy({ upstreams: [upstream.address], listen });
  using silent = await halfOpen(proxy);
  await silent.untilClosed();
  // The head of a record that holds a ClientHello of 512 bytes, and some of it.
  using half = await halfOpen(proxy);
  await half.write(Uint8Array.of(22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, ...new Uint8Array(100)));
  await half.untilClosed();
  // A deadline for the whole: bytes that come one by one do not put it off.
  using slow = await halfOpen(proxy);
  await slow.write(Uint8Array.of(22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3));
  const dripping = (async () => {
    for (;;) {
      await slow.write(Uint8Array.of(0));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  await Promise.all([slow.untilClosed(), assertRejects(() => dripping)]);
  using client = await tlsClient(proxy.port, "localhost");
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  assertEquals((await readAnswer(client)).status, 200);
});

Deno.test("Secured listener gives up the oldest handshakes for new ones", async () => {
  await using upstream = startUpstream();
  // On a slow machine the time of a handshake must not end any of them.
  const listen = { ...await secured(), timeouts: { head: "10m" } } as const;
  await using proxy = await startProxy({ upstreams: [upstream.address], listen });
  const silent: RawConnection[] = [];
  const ends: Promise<unknown>[] = [];
  let closed = 0;
  const serve = async (): Promise<void> => {
    using client = await tlsClient(proxy.port, "localhost");
    await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assertEquals((await readAnswer(client)).status, 200);
  };
  try {
    // Many at once: the end of one that was given up is not known yet when the next one comes. And all of them have been
    // accepted once a client behind them is served.
    for (let burst = 0; burst < 4; burst++) {
      silent.push(...await Promise.all(Array.from({ length: 300 }, () => halfOpen(proxy))));
      await serve();
    }
    for (const connection of silent) ends.push(connection.untilClosed().then(() => closed++));
    for (let request = 0; request < 20 && closed < 176; request++) await serve();
    assert(closed >= 176 && closed <= 200, `${closed} are closed`);
  } finally {
    for (const connection of silent) connection.close();
    await Promise.allSettled(ends);
  }
});

Deno.test("Secured listener that has run out of descriptors accepts again when there are some", async () => {
  await using upstream = startUpstream();
  await using files = await certificateFiles(["localhost"]);
  await using folder = await ProgramFolder.with({
    "proxy.config.js": `
      const tls = ${JSON.stringify({ cert: files.cert, key: files.key })};
      export const listen = { hostname: "127.0.0.1", port: 0, tls, engine: "http1" };
      export const upstreams = ["${upstream.address}"];`,
  });
  await using program = folder.start(
    ["proxy.config.js", "--log-format", "text"],
    ["--allow-net", "--allow-read"],
    {},
    256,
  );
  const port = Number((await program.address()).split(":").at(-1));
  const connect = async (): Promise<RawConnection> => await tlsClient(port, "localhost");
  using first = await connect();
  await first.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  assertEquals((await readAnswer(first)).status, 200);
  const flood = await Promise.allSettled(
    Array.from({ length: 300 }, () => Deno.connect({ hostname: "127.0.0.1", port })),
  );
  await program.stderrMatch(/error Cannot accept connections on \S+: Too many open files/);
  for (const one of flood) if (one.status === "fulfilled") one.value.close();
  using last = await connect();
  await last.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  assertEquals((await readAnswer(last)).status, 200);
  await program.stderrMatch(/info Accepting connections on \S+ again after /);
});

Deno.test("Secured listener frees its address as soon as it is told to stop", async () => {
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<Response>();
  await using upstream = startUpstream({
    handler: () => {
      asked.resolve();
      return answer.promise;
    },
  });
  const listen = await secured();
  await using proxy = await startProxy({ upstreams: [upstream.address], listen });
  const { port } = proxy;
  using running = await tlsClient(port, "localhost");
  using idle = await tlsClient(port, "localhost");
  await running.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await asked.promise;
  const stopped = proxy.server.shutdown();
  await idle.untilClosed();
  await using successor = await startProxy({ upstreams: [upstream.address], listen: { ...listen, port } });
  assertEquals(successor.port, port);
  answer.resolve(new Response("finished"));
  assertEquals((await readAnswer(running)).text, "finished");
  await stopped;
});

Deno.test("Secured listener says that its address is in use", async () => {
  const listen = await secured();
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  const error = await assertRejects(
    () => serve({ upstreams: ["127.0.0.1:1"], listen: { ...listen, port } }),
    ListenError,
  );
  assertStringIncludes(error.message, `127.0.0.1:${port}: the address is in use`);
});

Deno.test("Secured listener sends responses of every size without waiting for its client", async () => {
  const sizes = [12, 480, 10_240, 1 << 20];
  await using upstream = startUpstream({
    handler: (request) => new Response("a".repeat(Number(new URL(request.url).pathname.slice(1)))),
  });
  await using proxy = await startProxy({ upstreams: [upstream.address], listen: await secured() });
  using client = await tlsClient(proxy.port, "localhost");
  for (const size of sizes) {
    await client.write(`GET /${size} HTTP/1.1\r\nHost: h\r\n\r\n`);
    assert((await readAnswer(client)).text.length === size);
  }
});
