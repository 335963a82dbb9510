import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { requestId, securityHeaders } from "../../../mod.ts";
import { ListenError } from "../../../lib/engine/engine.ts";
import { serve } from "../../../lib/server/serve.ts";
import { RawConnection } from "../../support/raw_connection.ts";
import { readAnswer, startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

Deno.test("Listener takes HTTP/2 without TLS from clients that know it beforehand", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    listen: { hostname: "127.0.0.1", port: 0, engine: "deno" },
    upstreams: [upstream.address],
  });
  using client = Deno.createHttpClient({ http1: false, http2: true });
  const response = await fetch(`http://${proxy.address}/a%2F?b`, { client });
  assertEquals([response.status, await response.text()], [200, "upstream"]);
  const { target, headers } = upstream.seen[0]!;
  assertEquals([target, headers.get("host"), headers.get("x-forwarded-proto")], [
    "/a%2F?b",
    proxy.address,
    "http",
  ]);
});

Deno.test("Listener at a unix socket forwards the target as it came, and removes the socket in the end", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/lbproxy é.sock`;
  await using upstream = startUpstream();
  {
    await using proxy = await startProxy({ upstreams: [upstream.address], listen: `unix:${path}` });
    assertEquals(proxy.server.addresses, [`unix:${path}`]);
    using client = new RawConnection(await Deno.connect({ transport: "unix", path }));
    await client.write("GET //a/..%2Fb?x HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    assertEquals((await readAnswer(client)).text, "upstream");
    await client.write("GET / HTTP/1.1\r\n\r\n");
    assertEquals((await readAnswer(client)).status, 400);
  }
  const { target, headers } = upstream.seen[0]!;
  assertEquals([target, headers.get("host"), headers.get("x-forwarded-for")], [
    "//a/..%2Fb?x",
    "shop.example",
    null,
  ]);
  await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Listener replaces a unix socket that was left behind, and no other file", async () => {
  const folder = await Deno.makeTempDir();
  await using upstream = startUpstream();
  const path = `${folder}/left.sock`;
  // Closed while it has another name, so that it stays.
  const left = Deno.listen({ transport: "unix", path: `${folder}/first.sock` });
  await Deno.rename(`${folder}/first.sock`, path);
  left.close();
  assertEquals((await Deno.lstat(path)).isSocket, true);
  {
    await using proxy = await startProxy({ upstreams: [upstream.address], listen: { unix: path } });
    using client = new RawConnection(await Deno.connect({ transport: "unix", path }));
    await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assertEquals((await readAnswer(client)).status, 200);
    const error = await assertRejects(
      () => serve({ upstreams: [upstream.address], listen: { unix: path } }),
      ListenError,
    );
    assertStringIncludes(error.message, `Cannot listen at unix:${path}: the address is in use`);
    assertEquals(proxy.server.addresses, [`unix:${path}`]);
  }
  await Deno.writeTextFile(path, "precious");
  await assertRejects(() => serve({ upstreams: [upstream.address], listen: { unix: path } }), ListenError);
  assertEquals(await Deno.readTextFile(path), "precious");
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Listener with redirect redirects clients to https, with method, host and target as they are", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: [{ hostname: "127.0.0.1", port: 0, redirect: "https" }],
  });
  const cases: [host: string, target: string, location: string][] = [
    ["shop.example", "/a%2F..//b?c=%41", "https://shop.example/a%2F..//b?c=%41"],
    ["shop.example:8080", "/", "https://shop.example/"],
    ["[::1]:8080", "/", "https://[::1]/"],
    ["127.0.0.1", "//evil.example/x", "https://127.0.0.1//evil.example/x"],
  ];
  for (const [host, target, location] of cases) {
    const answer = await proxy.ask(`POST ${target}`, [`Host: ${host}`, "Content-Length: 1"], "x");
    assertEquals([answer.status, answer.field("location")], [308, location]);
  }
  assertEquals(upstream.requests, 0);
});

Deno.test("Listener with redirect names the port of the TLS listener", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: { hostname: "127.0.0.1", port: 0, redirect: "https:8443" },
  });
  const answer = await proxy.ask("GET /x", ["Host: shop.example:80"]);
  assertEquals(answer.field("location"), "https://shop.example:8443/x");
});

Deno.test("requests at a listener with redirect are logged, and pass the phases that are there for all", async () => {
  const phases: unknown[] = [];
  await using proxy = await startProxy({
    upstreams: ["127.0.0.1:1"],
    listen: { hostname: "127.0.0.1", port: 0, redirect: "https" },
    newContext: () => ({ n: 1 }),
    requestFilter: () => void phases.push("requestFilter"),
    failToProxy: (error) => void phases.push(error.status),
    logging: (ctx) => void phases.push([ctx.state, ctx.status]),
    filters: [requestId({ trusted: true }), securityHeaders()],
  });
  const moved = await proxy.ask("POST /a?b", ["X-Request-Id: me", "Content-Length: 1"], "x");
  assertEquals([moved.status, moved.field("x-request-id"), moved.field("x-frame-options")], [
    308,
    "me",
    "SAMEORIGIN",
  ]);
  const refused = await proxy.ask("GET /x", ["Host: a b"]);
  assertEquals(refused.status, 400);
  const seen = (await proxy.seen.untilEntries(2), proxy.seen.entries);
  assertEquals(
    seen.map((
      { clientIp, method, target, status, server, bytesSent, error },
    ) => [clientIp, method, target, status, server, bytesSent, error]),
    [
      ["127.0.0.1", "POST", "/a?b", 308, null, 0, null],
      ["127.0.0.1", "GET", "/x", 400, null, refused.body.length, "http_request_error"],
    ],
  );
  assertEquals(seen[0]!.requestId, "me");
  assertEquals(phases, [[{ n: 1 }, 308], 400, [{ n: 1 }, 400]]);
  assertMatch(proxy.server.metrics(), /^lbproxy_requests_received_total 2$/m);
});

Deno.test("Listener with redirect goes on when newContext fails", async () => {
  await using proxy = await startProxy({
    upstreams: ["127.0.0.1:1"],
    listen: { hostname: "127.0.0.1", port: 0, redirect: "https" },
    newContext: () => Promise.reject(new Error("boom")),
  });
  assertEquals((await proxy.ask()).status, 500);
  assertEquals((await proxy.seen.untilEntries(1)).error, "proxy_internal_error");
});

Deno.test("Listener with redirect makes no host of a target that is no path", async () => {
  await using proxy = await startProxy({
    upstreams: ["127.0.0.1:1"],
    listen: { hostname: "127.0.0.1", port: 0, redirect: "https" },
  });
  const answer = await proxy.ask("OPTIONS *", ["Host: shop.example"]);
  assertEquals([answer.status, answer.field("location")], [400, undefined]);
});

Deno.test("Listener with redirect is not fooled by a hostile Host", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: { hostname: "127.0.0.1", port: 0, redirect: "https" },
  });
  const hosts = [
    "good.example@evil.example",
    "evil.example/good.example",
    "evil.example#",
    "evil.example?",
    "good.example:80@evil.example",
    "a b",
    "a,b",
    "%2F%2Fevil.example",
    "$(id)",
    "[::1]evil.example",
    "a\\evil.example",
  ];
  for (const host of hosts) {
    const answer = await proxy.ask("GET /", [`Host: ${host}`]);
    assertEquals([host, answer.status, answer.field("location")], [host, 400, undefined]);
  }
});

/** Connects, resets each connection, and tells by the flag when the system has all of that. */
const RESETTING_CLIENTS = `
import { connect } from "node:net";
self.onmessage = async ({ data: { port, count, over } }) => {
  for (let i = 0; i < count; i++) {
    await new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1", () => socket.resetAndDestroy());
      socket.on("error", () => {}).on("close", resolve);
    });
  }
  Atomics.store(over, 0, 1);
  Atomics.notify(over, 0);
};
self.postMessage("ready");
`;

Deno.test("Listener takes clients that have gone before they were accepted for what they are", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    listen: { hostname: "127.0.0.1", port: 0, engine: "http1" },
    upstreams: [upstream.address],
  });
  const worker = new Worker(`data:application/javascript,${encodeURIComponent(RESETTING_CLIENTS)}`, {
    type: "module",
  });
  try {
    await new Promise((resolve) => worker.onmessage = resolve);
    const over = new Int32Array(new SharedArrayBuffer(4));
    worker.postMessage({ port: proxy.port, count: 5, over });
    // Nobody is accepted meanwhile.
    assertEquals(Atomics.wait(over, 0, 0, 20_000), "ok");
    assertEquals((await proxy.ask()).status, 200);
    assertEquals(proxy.seen.eventsOf("listener_error"), []);
  } finally {
    worker.terminate();
  }
});
