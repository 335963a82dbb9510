import { assert, assertEquals, assertMatch, assertStrictEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../../lib/config/config_error.ts";
import { createHandler, type ProxyHandler } from "../../../lib/server/create_handler.ts";
import { deadPort } from "../../support/dead_port.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { rawClient } from "../../support/raw_client.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { Recorder } from "../../support/recorder.ts";
import { redisTest } from "../../support/redis_server.ts";
import { askAt, readAnswer, type TestConfig } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { testCa } from "../../support/test_ca.ts";
import { openWebSocket, upgradeHead, webSocketUpstream } from "../../support/test_web_socket.ts";
import { trustingClient } from "../../support/tls_client.ts";

/** A program with a listener of its own, which hands everything to the proxy but `/own`. */
class Program implements AsyncDisposable {
  readonly seen = new Recorder();
  readonly handler: ProxyHandler;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor(config: TestConfig, tls: { cert: string; key: string } | null = null) {
    const handler = this.handler = createHandler(config, { observer: this.seen });
    this.#server = Deno.serve({
      hostname: "127.0.0.1",
      port: 0,
      ...tls,
      onListen: () => {},
      onError: () => new Response("the handler failed", { status: 500 }),
    }, (request, info) => {
      return new URL(request.url).pathname === "/own" ? new Response("own") : handler(request, info);
    });
  }

  get port(): number {
    return this.#server.addr.port;
  }

  ask(...request: Parameters<typeof askAt> extends [number, ...infer Rest] ? Rest : never) {
    return askAt(this.port, ...request);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const servers = [...this.handler.pools.values()].flatMap((pool) => [...pool.servers, ...pool.leaving]);
    await this.handler[Symbol.asyncDispose]();
    await this.#server.shutdown();
    assertEquals(servers.filter(({ inFlight }) => inFlight > 0), []);
  }
}

Deno.test("createHandler() forwards what its program does not respond to itself", async () => {
  await using upstream = startUpstream();
  await using program = new Program({ upstreams: [upstream.address] });
  const response = await program.ask("GET /a/../b%2Fc?d=%20", ["Host: shop.example", "X-Mine: 1"]);
  assertEquals([response.status, response.text, response.field("x-upstream")], [200, "upstream", "upstream"]);
  assertEquals((await program.ask("GET /own")).text, "own");
  assertEquals(upstream.requests, 1);
  const { target, headers } = upstream.seen[0]!;
  assertEquals(target, "/a/../b%2Fc?d=%20");
  const names = ["host", "x-mine", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];
  assertEquals(names.map((name) => headers.get(name)), [
    "shop.example",
    "1",
    "127.0.0.1",
    "http",
    "shop.example",
  ]);
  const { clientIp, status, server } = await program.seen.untilEntries(1);
  assertEquals([clientIp, status, server], ["127.0.0.1", 200, upstream.address]);
});

for (const transport of ["http1", "fetch"] as const) {
  Deno.test(`createHandler() forwards content both ways by ${transport}`, async () => {
    await using upstream = startUpstream({
      handler: (request) => new Response(request.body, { headers: { "x-method": request.method } }),
    });
    await using program = new Program({ upstreams: { servers: [upstream.address], transport } });
    for (const size of [0, 5, 300_000]) {
      const content = "x".repeat(size);
      const response = await program.ask("POST /", [`Content-Length: ${size}`], content);
      assertEquals([response.field("x-method"), response.text], ["POST", content]);
    }
    const chunked = await program.ask(
      "PUT /",
      ["Transfer-Encoding: chunked"],
      "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    assertEquals([chunked.field("x-method"), chunked.text], ["PUT", "abcde"]);
  });
}

Deno.test("createHandler() limits, and shows pools, limits and metrics", async () => {
  await using upstream = startUpstream("one");
  await using other = startUpstream("two");
  await using program = new Program({
    upstreams: [upstream.address],
    limiter: { key: "header:appid", limit: 1, window: "1h" },
  });
  const { handler } = program;
  const ask = async () => (await program.ask("GET /", ["appid: ada"])).status;
  assertEquals([await ask(), await ask()], [200, 429]);
  handler.limiter!.reset("ada");
  assertEquals([await ask(), await ask()], [200, 429]);
  handler.pools.get("default")!.addServer(other.address);
  const names = [await program.ask(), await program.ask()].map(({ text }) => text);
  assertEquals(names.toSorted(), ["one", "two"]);
  assertMatch(handler.metrics(), /^lbproxy_requests_received_total 6$/m);
});

Deno.test("createHandler() checks servers before the first request, and goes on", async () => {
  await using upstream = startUpstream();
  const connected = Promise.withResolvers<void>();
  const respond = Promise.withResolvers<void>();
  let checks = 0;
  await using checked = rawUpstream(async (connection) => {
    await connection.readRequest();
    connected.resolve();
    await respond.promise;
    checks++;
    await connection.write("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
  });
  await using program = new Program({
    upstreams: {
      servers: [checked.address, upstream.address],
      healthCheck: { type: "http", interval: "20ms" },
    },
  });
  const response = program.ask();
  await connected.promise;
  assertEquals(upstream.seen.filter(({ headers }) => headers.has("x-forwarded-for")), []);
  respond.resolve();
  assertEquals((await response).text, "upstream");
  await program.handler.ready;
  const health = [...program.handler.pools.get("default")!.servers].map(({ healthy }) => healthy);
  assertEquals(health, [false, true]);
  await checked.untilOpened(3);
  await program.handler.shutdown();
  await checked.untilOpen(0);
  assert(checks >= 1);
});

Deno.test("createHandler() opens no listener and calls no onListen", async () => {
  await using upstream = startUpstream();
  let called = 0;
  await using program = new Program({
    // Another one listens there.
    listen: upstream.address,
    onListen: () => void called++,
    upstreams: [upstream.address],
  });
  assertEquals((await program.ask()).status, 200);
  assertEquals([called, program.seen.eventsOf("listening")], [0, []]);
});

Deno.test("createHandler() forwards WebSockets, and closes them with 1001 when it stops", async () => {
  await using server = webSocketUpstream();
  await using program = new Program({ upstreams: [server.address] });
  const client = await openWebSocket(`ws://127.0.0.1:${program.port}/`, ["chat"]);
  assertEquals(client.socket.protocol, "chat");
  client.socket.send("hello");
  assertEquals(await client.next(), "hello");
  await program.handler.shutdown();
  assertEquals(await client.closed, [1001, "the proxy stops"]);
  assertEquals(await server.sockets[0]!.closed, [1001, "the proxy stops"]);
});

Deno.test("createHandler() gives up a WebSocket that the runtime never opens: of a copy of its request", async () => {
  await using server = webSocketUpstream();
  const [clock, seen] = [new FakeClock(), new Recorder()];
  await using handler = createHandler({ upstreams: [server.address] }, { clock, observer: seen });
  await using program = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request, info) => {
      return handler(new Request(request, { headers: request.headers }), info);
    },
  );
  using client = await rawClient(program.addr.port);
  const opened = server.next();
  await client.write(upgradeHead());
  assertMatch((await client.readHead())!, /^HTTP\/1\.1 101 /);
  const { closed } = await opened;
  clock.advance(11_000);
  assertEquals((await seen.untilEntries(1)).status, 101);
  await closed;
  assertEquals([...handler.pools.get("default")!.servers].map(({ inFlight }) => inFlight), [0]);
});

Deno.test("createHandler() calls a request off whose client goes away", async () => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readRequest();
    await connection.untilClosed();
  });
  await using program = new Program({ upstreams: [upstream.address] });
  const client = await rawClient(program.port);
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await upstream.untilOpen(1);
  client.close();
  await upstream.untilOpen(0);
  assertEquals((await program.seen.untilEntries(1)).status, 499);
});

Deno.test("createHandler().shutdown() finishes what runs, and refuses what comes", async () => {
  const [asked, streaming] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const goOn = Promise.withResolvers<void>();
  await using upstream = startUpstream({
    handler: async (request) => {
      if (new URL(request.url).pathname === "/stream") {
        return new Response(
          new ReadableStream({
            async start(controller) {
              controller.enqueue(new TextEncoder().encode("first,"));
              streaming.resolve();
              await goOn.promise;
              controller.enqueue(new TextEncoder().encode("last"));
              controller.close();
            },
          }),
        );
      }
      asked.resolve();
      return new Response(await request.text());
    },
  });
  await using program = new Program({ upstreams: [upstream.address] });
  const { handler, seen } = program;
  const stream = program.ask("GET /stream");
  await streaming.promise;
  using uploading = await rawClient(program.port);
  await uploading.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc");
  // Handled by then: the runtime takes requests in the order in which they come.
  assertEquals((await program.ask("GET /own")).status, 200);
  const down = handler.shutdown("test");
  assertEquals(seen.eventsOf("shutdown").map(({ reason, runningRequests }) => [reason, runningRequests]), [
    ["test", 2],
  ]);
  const late = await program.ask();
  assertEquals([late.status, late.field("connection")], [503, "close"]);
  assertMatch(late.field("proxy-status")!, /proxy_internal_error/);
  await uploading.write("def");
  await asked.promise;
  assertEquals((await readAnswer(uploading, "POST")).text, "abcdef");
  goOn.resolve();
  assertEquals((await stream).text, "first,last");
  await down;
  await handler.finished;
  assertEquals(seen.eventsOf("stopped").map(({ abandonedRequests }) => abandonedRequests), [0]);
  assertEquals((await program.ask("POST /", ["Content-Length: 1"], "x")).status, 503);
  assertEquals((await program.ask("GET /own")).status, 200);
});

Deno.test("createHandler().shutdown() cuts what has not finished within the grace period", async () => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readRequest();
    await connection.untilClosed();
  });
  await using program = new Program({ upstreams: [upstream.address], gracePeriod: "100ms" });
  const running = program.ask();
  await upstream.untilOpen(1);
  await program.handler.shutdown();
  assertEquals((await running).status, 503);
  await upstream.untilOpen(0);
  assertEquals(program.seen.eventsOf("stopped").map(({ abandonedRequests }) => abandonedRequests), [1]);
});

Deno.test("createHandler() can be disposed twice, and before its first check is over", async () => {
  const connected = Promise.withResolvers<void>();
  const respond = Promise.withResolvers<void>();
  await using upstream = rawUpstream(async (connection) => {
    await connection.readRequest();
    connected.resolve();
    await respond.promise;
    await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    await connection.untilClosed();
  });
  const handler = createHandler({
    upstreams: { servers: [upstream.address], healthCheck: { type: "http" } },
  });
  await connected.promise;
  const disposed = handler[Symbol.asyncDispose]();
  assertStrictEquals(handler.shutdown(), handler.shutdown("again"));
  respond.resolve();
  await disposed;
  await handler[Symbol.asyncDispose]();
  await handler.finished;
  await upstream.untilOpen(0);
});

Deno.test("createHandler() tells servers of https, also over HTTP/2", async () => {
  const pair = await (await testCa()).issue({ names: ["127.0.0.1", "localhost"] });
  await using upstream = startUpstream();
  await using program = new Program({ upstreams: [upstream.address] }, pair);
  for (const protocol of ["h1", "h2"] as const) {
    using client = await trustingClient(protocol);
    for (const method of ["GET", "POST"]) {
      const response = await fetch(`https://localhost:${program.port}/`, { method, client });
      assertEquals([response.status, await response.text()], [200, "upstream"]);
    }
  }
  const told = upstream.seen.map(({ method, headers }) => [method, headers.get("x-forwarded-proto")]);
  assertEquals(told, [["GET", "https"], ["POST", "https"], ["GET", "https"], ["POST", "https"]]);
});

Deno.test("createHandler() takes requests that a program has made itself", async () => {
  await using upstream = startUpstream();
  await using handler = createHandler({ upstreams: [upstream.address] });
  const info: Deno.ServeHandlerInfo = {
    remoteAddr: { transport: "tcp", hostname: "192.0.2.7", port: 1 },
    completed: Promise.resolve(),
  };
  const url = "http://shop.example/cart?id=1";
  const requests = [
    new Request(url),
    new Request(url, { method: "POST" }),
    new Request(url, { method: "POST", body: "content" }),
    new Request(url, { method: "DELETE" }),
  ];
  for (const request of requests) {
    const response = await handler(request, info);
    assertEquals([response.status, await response.text()], [200, "upstream"]);
  }
  const seen = upstream.seen.map(({ target, headers, body }) => [
    target,
    headers.get("host"),
    headers.get("x-forwarded-for"),
    body,
  ]);
  const cart = ["/cart?id=1", "shop.example", "192.0.2.7"];
  assertEquals(seen, ["", "", "content", ""].map((body) => [...cart, body]));
});

Deno.test("createHandler() refuses CONNECT, and nothing follows its content", async () => {
  await using upstream = startUpstream();
  await using program = new Program({ upstreams: [upstream.address] });
  using client = await rawClient(program.port);
  const smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
  await client.write(
    `CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}`,
  );
  assertMatch((await client.readHead())!, /^HTTP\/1\.1 501 /);
  const rest = new TextDecoder().decode(await client.readToEnd());
  assertEquals([rest.includes("HTTP/1.1"), upstream.requests], [false, 0]);
});

Deno.test("createHandler() throws at once for a configuration with mistakes", () => {
  const error = assertThrows(
    () => createHandler({ upstreams: ["nowhere"], gracePeriod: "soon" as never }),
    ConfigError,
  );
  assertEquals(error.problems.length, 2);
});

Deno.test("createHandler() responds with 502 where no server is there", async () => {
  await using program = new Program({ upstreams: [`127.0.0.1:${deadPort()}`] });
  assertEquals((await program.ask()).status, 502);
});

redisTest(
  "createHandler() shares its limits by Redis, and forgets a key before it is ready",
  async (redis) => {
    await using upstream = startUpstream();
    const config: TestConfig = {
      upstreams: [upstream.address],
      limiter: {
        key: "header:appid",
        limit: 1,
        window: "1h",
        store: { type: "redis", url: redis.url, timeout: "5s", onStoreError: "closed" },
      },
    };
    await using first = new Program(config);
    const ask = async ({ port }: Program) => (await askAt(port, "GET /", ["appid: ada"])).status;
    assertEquals([await ask(first), await ask(first)], [200, 429]);
    await using second = new Program(config);
    assertEquals(await ask(second), 429);
    await using third = new Program(config);
    third.handler.limiter!.reset("ada");
    assertEquals([await ask(third), await ask(first)], [200, 429]);
  },
);
