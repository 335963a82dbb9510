/** Listeners with TLS, and what is of the engine `deno` alone: a certificate that changes closes and opens them. */

import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { ListenError } from "../../../lib/engine/engine.ts";
import { serve } from "../../../lib/server/serve.ts";
import { certificateFiles } from "../../support/certificate_files.ts";
import { fieldOf, latin1Text } from "../../support/raw_connection.ts";
import { readAnswer, startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { testCa } from "../../support/test_ca.ts";
import { openWebSocket, webSocketUpstream } from "../../support/test_web_socket.ts";
import { tlsClient, trustingClient } from "../../support/tls_client.ts";

Deno.test("Listener with tls speaks HTTP/1.1 and HTTP/2, and tells servers that the client came by https", async () => {
  await using upstream = startUpstream();
  const tls = await (await testCa()).issue({ names: ["localhost"] });
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: { hostname: "127.0.0.1", port: 0, tls },
  });
  for (const protocol of ["h1", "h2"] as const) {
    using client = await trustingClient(protocol);
    const response = await fetch(`https://localhost:${proxy.port}/a`, { client });
    assertEquals([response.status, await response.text()], [200, "upstream"]);
  }
  assertEquals(upstream.seen.map(({ target, headers }) => [target, headers.get("x-forwarded-proto")]), [
    ["/a", "https"],
    ["/a", "https"],
  ]);
  assertEquals(upstream.seen[1]!.headers.get("host"), `localhost:${proxy.port}`);
});

Deno.test("Listener takes heads of up to 16 KiB over HTTP/2, and refuses longer ones with 431", async () => {
  await using upstream = startUpstream();
  const tls = await (await testCa()).issue({ names: ["localhost"] });
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: { hostname: "127.0.0.1", port: 0, engine: "deno", tls },
  });
  using client = await trustingClient("h2");
  for (const [bytes, status] of [[15_000, 200], [20_000, 431]] as const) {
    const headers = { "x-long": "a".repeat(bytes) };
    const response = await fetch(`https://localhost:${proxy.port}/`, { client, headers });
    await response.body?.cancel();
    assertEquals(response.status, status);
  }
});

Deno.test("Listener of the engine deno gives content that is at hand in chunks over TLS, which leave with their head", async () => {
  await using upstream = startUpstream({
    handler: ({ url }) => new Response("x".repeat(Number(new URL(url).pathname.slice(1)))),
  });
  const tls = await (await testCa()).issue({ names: ["localhost"] });
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: { hostname: "127.0.0.1", port: 0, engine: "deno", tls },
  });
  for (
    const [protocol, bytes, coding] of [["h1", 12, null], ["h1", 10_000, "chunked"], [
      "h2",
      10_000,
      null,
    ]] as const
  ) {
    using client = await trustingClient(protocol);
    const { headers, body } = await fetch(`https://localhost:${proxy.port}/${bytes}`, { client });
    assertEquals((await new Response(body).text()).length, bytes);
    assertEquals(headers.get("content-length"), coding === null ? String(bytes) : null);
  }
  using client = await tlsClient(proxy.port, "localhost");
  for (let request = 0; request < 2; request++) {
    await client.write("GET /10000 HTTP/1.1\r\nHost: h\r\n\r\n");
    const { fields, text } = await readAnswer(client);
    assertEquals([fieldOf(fields, "transfer-encoding"), text.length], ["chunked", 10_000]);
  }
  await client.write("HEAD /10000 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  assertStringIncludes(latin1Text(await client.readToEnd()), "content-length: 10000");
});

Deno.test("Listener with tls goes on after a client that does not speak it", async () => {
  await using upstream = startUpstream();
  const tls = await (await testCa()).issue({ names: ["localhost"] });
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: { hostname: "127.0.0.1", port: 0, tls },
  });
  using plain = await proxy.connect();
  await plain.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await plain.untilClosed();
  using client = await tlsClient(proxy.port, "localhost");
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  assertEquals((await readAnswer(client)).status, 200);
});

Deno.test("Listener takes the certificate anew when its files change, and finishes what runs", async () => {
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<Response>();
  await using upstream = startUpstream({
    handler: (request) => {
      if (!request.url.endsWith("/slow")) return new Response("fast");
      asked.resolve();
      return answer.promise;
    },
  });
  await using files = await certificateFiles(["one.example"]);
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: { hostname: "127.0.0.1", port: 0, engine: "deno", tls: { cert: files.cert, key: files.key } },
  });
  using running = await tlsClient(proxy.port, "one.example");
  await running.write("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
  await asked.promise;
  await files.issue(["two.example"]);
  await proxy.seen.until(() => proxy.seen.eventsOf("certificate").length > 0);
  assertEquals(proxy.seen.eventsOf("certificate").map(({ address, problem }) => [address, problem]), [
    [`127.0.0.1:${proxy.port}`, null],
  ]);
  using renewed = await tlsClient(proxy.port, "two.example");
  await renewed.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  assertEquals((await readAnswer(renewed)).text, "fast");
  await assertRejects(() => tlsClient(proxy.port, "one.example"));
  answer.resolve(new Response("finished"));
  assertEquals((await readAnswer(running)).text, "finished");
});

Deno.test("Listener lets an upload finish before it takes a new certificate", async () => {
  await using upstream = startUpstream({ handler: async (request) => new Response(await request.text()) });
  await using files = await certificateFiles(["one.example"]);
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: { hostname: "127.0.0.1", port: 0, engine: "deno", tls: { cert: files.cert, key: files.key } },
  });
  using running = await tlsClient(proxy.port, "one.example");
  await running.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab");
  using other = await tlsClient(proxy.port, "one.example");
  await files.issue(["two.example"]);
  // Long enough for a look at the files; whatever the listener does meanwhile must not break the upload off.
  await new Promise((resolve) => setTimeout(resolve, 1200));
  assertEquals(proxy.seen.eventsOf("certificate"), []);
  await other.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  assertEquals((await readAnswer(other)).status, 200);
  await running.write("cd");
  assertEquals((await readAnswer(running)).text, "abcd");
  await proxy.seen.until(() => proxy.seen.eventsOf("certificate").length > 0);
});

Deno.test("Listener gives WebSockets the grace period before it takes a new certificate", async () => {
  await using server = webSocketUpstream();
  await using files = await certificateFiles(["localhost"]);
  await using proxy = await startProxy({
    upstreams: [server.address],
    listen: { hostname: "127.0.0.1", port: 0, engine: "deno", tls: { cert: files.cert, key: files.key } },
    gracePeriod: "500ms",
  });
  using client = await trustingClient();
  const socket = await openWebSocket(`wss://localhost:${proxy.port}/`, { client });
  await files.issue(["renewed.example"]);
  assertEquals((await socket.closed)[0], 1001);
  await proxy.seen.until(() => proxy.seen.eventsOf("certificate").length > 0);
  using _renewed = await tlsClient(proxy.port, "renewed.example");
  await server.sockets[0]!.closed;
  assertEquals((await proxy.seen.untilEntries(1)).status, 101);
});

Deno.test("Listener keeps its certificate when the new one is of no use, and says so once", async () => {
  await using upstream = startUpstream();
  await using files = await certificateFiles(["one.example"]);
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: { hostname: "127.0.0.1", port: 0, engine: "deno", tls: { cert: files.cert, key: files.key } },
  });
  const { key } = await (await testCa()).issue({ names: ["two.example"] });
  await Deno.writeTextFile(files.key, key);
  await proxy.seen.until(() => proxy.seen.eventsOf("certificate").length > 0);
  const problem = proxy.seen.eventsOf("certificate")[0]!.problem;
  assertEquals(typeof problem, "string");
  using client = await tlsClient(proxy.port, "one.example");
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  assertEquals((await readAnswer(client)).status, 200);
});

Deno.test("serve() names the file of a certificate that is not there", async () => {
  const tls = { cert: "/nowhere/cert.pem", key: "/nowhere/key.pem" };
  const error = await assertRejects(
    () => serve({ upstreams: ["127.0.0.1:1"], listen: { hostname: "127.0.0.1", port: 0, tls } }),
    ListenError,
  );
  assertStringIncludes(
    error.message,
    'cannot read the certificate "/nowhere/cert.pem": there is no such file',
  );
});

Deno.test("serve() refuses a key that does not belong to the certificate", async () => {
  const ca = await testCa();
  const { cert } = await ca.issue({ names: ["localhost"] });
  const { key } = await ca.issue({ names: ["localhost"] });
  const listen = { hostname: "127.0.0.1", port: 0, engine: "deno", tls: { cert, key } } as const;
  await assertRejects(() => serve({ upstreams: ["127.0.0.1:1"], listen }), ListenError);
});
