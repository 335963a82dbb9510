import { assert, assertEquals } from "@std/assert";
import type { AccessEntry } from "../../../lib/observe/observer.ts";
import { deadPort } from "../../support/dead_port.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { engineCan } from "../../support/engine.ts";
import { Http2TestClient } from "../../support/http2_test_client.ts";
import { untilStill } from "../../support/until_still.ts";
import { startProxy, type TestConfig, type TestProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const encoder = new TextEncoder();

function streamOf(...texts: string[]): ReadableStream<Uint8Array<ArrayBuffer>> {
  return ReadableStream.from(texts.map((text) => encoder.encode(text)));
}

const dead = [`127.0.0.1:${deadPort()}`];
const own = (make: () => Response) => (_upstream: string): TestConfig => ({
  upstreams: dead,
  requestFilter: make,
});
const WITH_LENGTH = true;

/** Responses that no server has given, the status of each, and whether the client is told the length. */
const RESPONSES: [
  what: string,
  config: (upstream: string) => TestConfig,
  status: number,
  /** Whether the client is told; `null` where that depends on when the content comes. */
  hasLength: boolean | null,
][] = [
  ["502", () => ({ upstreams: dead }), 502, WITH_LENGTH],
  ["404", () => ({ upstreams: dead, routes: [{ match: { path: "/other" } }] }), 404, WITH_LENGTH],
  [
    "500 of a filter",
    () => ({
      upstreams: dead,
      requestFilter: () => {
        throw new Error("boom");
      },
    }),
    500,
    WITH_LENGTH,
  ],
  [
    "502 with another status",
    () => ({
      upstreams: dead,
      localReplyFilter: (response) => void (response.status = 503),
    }),
    503,
    WITH_LENGTH,
  ],
  ["429", () => ({ upstreams: dead, limiter: { key: "ip", limit: 0, window: "1m" } }), 429, WITH_LENGTH],
  [
    "response of a limit",
    () => ({
      upstreams: dead,
      limiter: {
        key: "ip",
        limit: 0,
        window: "1m",
        response: () => new Response("no more", { status: 429 }),
      },
    }),
    429,
    WITH_LENGTH,
  ],
  [
    "page of failToProxy",
    () => ({
      upstreams: dead,
      failToProxy: async () => await new Response("a page", { status: 502 }),
    }),
    502,
    WITH_LENGTH,
  ],
  [
    "streamed page of failToProxy",
    () => ({
      upstreams: dead,
      failToProxy: () => new Response(streamOf("a", " page"), { status: 502 }),
    }),
    502,
    false,
  ],
  ["text of a filter", own(() => new Response("héllo")), 200, WITH_LENGTH],
  [
    "text with fields",
    own(() => new Response("hello", { status: 403, headers: { "x-a": "b" } })),
    403,
    WITH_LENGTH,
  ],
  ["empty text", own(() => new Response("")), 200, WITH_LENGTH],
  ["no content", own(() => new Response(null, { status: 403 })), 403, WITH_LENGTH],
  ["bytes", own(() => new Response(new Uint8Array(1000))), 200, WITH_LENGTH],
  ["JSON", own(() => Response.json({ a: 1 })), 200, WITH_LENGTH],
  ["URLSearchParams", own(() => new Response(new URLSearchParams("a=b"))), 200, WITH_LENGTH],
  ["Blob", own(() => new Response(new Blob(["hello"]))), 200, null],
  ["stream", own(() => new Response(streamOf("one", "two"))), 200, false],
  ["long stream", own(() => new Response(streamOf("a".repeat(100_000), "b".repeat(200_000)))), 200, false],
  [
    "text with edited fields",
    () => ({
      upstreams: dead,
      requestFilter: () => new Response("hello"),
      localReplyFilter: (response) => response.headers.set("x-own", "1"),
    }),
    200,
    WITH_LENGTH,
  ],
  ["redirect", own(() => Response.redirect("http://a.example/")), 302, WITH_LENGTH],
  [
    "response in place of a server's",
    (upstream) => ({
      upstreams: [upstream],
      responseFilter: () => new Response("mine"),
    }),
    200,
    WITH_LENGTH,
  ],
  [
    "stream in place of a server's",
    (upstream) => ({
      upstreams: [upstream],
      responseFilter: () => new Response(streamOf("mine", "!")),
    }),
    200,
    false,
  ],
  [
    "response in place of a server's, edited",
    (upstream) => ({
      upstreams: [upstream],
      upstreamResponseFilter: () => new Response("mine"),
      responseFilter: (response) => response.headers.set("x-edited", "1"),
    }),
    200,
    WITH_LENGTH,
  ],
];

for (const [what, config, status, hasLength] of RESPONSES) {
  for (const method of ["GET", "HEAD"]) {
    Deno.test(`the log, filters and charges see the bytes of a local response: ${what}, ${method}`, async () => {
      await using upstream = startUpstream("server");
      const seen: number[] = [];
      const { limiter, ...rest } = config(upstream.address);
      const charged = {
        key: "ip",
        name: "charged",
        limit: 1_000_000,
        window: "1m",
        charge: (ctx: { bytesSent: number }) => seen.push(ctx.bytesSent),
      } as const;
      const more = limiter === undefined ? {} : { limiter };
      await using proxy = await startProxy({
        limiter: charged,
        ...rest,
        ...more,
        logging: (ctx) => void seen.push(ctx.bytesSent),
      });
      const answer = await proxy.ask(`${method} /`);
      assertEquals(answer.status, status);
      const entry = await proxy.seen.untilEntries(1);
      assertEquals([entry.status, entry.bytesSent], [status, answer.body.length]);
      assertEquals(new Set(seen), new Set([answer.body.length]));
      const tells = answer.body.length > 0 || engineCan("length of no content");
      if (method === "GET" && hasLength !== null && tells) {
        assertEquals(answer.field("content-length") !== undefined, hasLength);
      }
    });
  }
}

Deno.test("charges by bytes count what filters give", async () => {
  await using proxy = await startProxy({
    upstreams: dead,
    limiter: {
      key: "ip",
      limit: 100,
      window: "1m",
      cost: 0,
      charge: (ctx) => ctx.bytesSent,
    },
    requestFilter: (_request, { target }) =>
      target === "/stream" ? new Response(streamOf("a".repeat(60))) : new Response("b".repeat(40)),
  });
  await proxy.ask("GET /stream");
  await proxy.seen.untilEntries(1);
  await proxy.ask("GET /text");
  await proxy.seen.untilEntries(2);
  assertEquals(proxy.server.limiter!.statusOf("127.0.0.1")[0]!.remaining, 0);
});

/** A stream that begins, and whose end is what a test makes it. */
function begun() {
  const cancelled = Promise.withResolvers<unknown>();
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  const stream = new ReadableStream<Uint8Array>({
    start: (made) => {
      controller = made;
      controller.enqueue(encoder.encode("begun"));
    },
    cancel: (reason) => cancelled.resolve(reason),
  });
  return { stream, controller, cancelled: cancelled.promise };
}

Deno.test("a streamed local response is logged when it is over, and counts as running until then", async () => {
  const { stream, controller } = begun();
  await using proxy = await startProxy({
    upstreams: dead,
    limiter: { key: "ip", limit: 1, algorithm: "concurrency" },
    requestFilter: () => new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>),
  });
  using connection = await proxy.connect();
  await connection.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await connection.readUntil("begun");
  assertEquals((await proxy.ask()).status, 429);
  assertEquals(proxy.seen.entries.map(({ status }) => status), [429]);
  controller.enqueue(encoder.encode(" and over"));
  controller.close();
  const { status, bytesSent, error } = await proxy.seen.untilEntries(2);
  assertEquals({ status, bytesSent, error }, { status: 200, bytesSent: 14, error: null });
});

Deno.test("a streamed local response is called off when its client goes away", async () => {
  const { stream, cancelled } = begun();
  await using proxy = await startProxy({
    upstreams: dead,
    requestFilter: () => new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>),
  });
  {
    using connection = await proxy.connect();
    await connection.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    await connection.readUntil("begun");
  }
  await cancelled;
  const { status, bytesSent, error } = await proxy.seen.untilEntries(1);
  assertEquals({ status, bytesSent, error }, { status: 499, bytesSent: 5, error: "client_gone" });
});

for (const http2 of [false, true]) {
  Deno.test(`a streamed local response is called off when a client that reads nothing goes away (${http2 ? "HTTP/2" : "HTTP/1.1"})`, async () => {
    const cancelled = Promise.withResolvers<void>();
    let given = 0;
    const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull(controller) {
        given += 65_536;
        controller.enqueue(new Uint8Array(65_536));
      },
      cancel: () => cancelled.resolve(),
    });
    await using proxy = await startProxy({
      listen: { hostname: "127.0.0.1", port: 0, engine: "http1", http2 },
      upstreams: dead,
      requestFilter: () => new Response(stream),
    });
    {
      using _client = http2 ? await stalledHttp2(proxy.port) : await stalledHttp1(proxy);
      await untilStill(() => given);
    }
    await proxy.seen.untilEntries(1);
    await cancelled.promise;
  });
}

async function stalledHttp1(proxy: TestProxy): Promise<Disposable> {
  const connection = await proxy.connect();
  await connection.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await connection.readUntil("\r\n\r\n");
  return connection;
}

async function stalledHttp2(port: number): Promise<Disposable> {
  const client = await Http2TestClient.open(port, { secured: false });
  await client.ask("/", { scheme: "http" }).head;
  return client;
}

Deno.test("a streamed local response that fails is cut off and logged", async () => {
  for (const wrong of [new Error("boom"), "text"]) {
    const { stream, controller } = begun();
    await using proxy = await startProxy({
      upstreams: dead,
      requestFilter: () => new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>),
    });
    using connection = await proxy.connect();
    await connection.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    await connection.readUntil("begun");
    if (wrong instanceof Error) controller.error(wrong);
    else controller.enqueue(wrong as unknown as Uint8Array);
    await connection.untilClosed();
    const { bytesSent, error } = await proxy.seen.untilEntries(1);
    assertEquals({ bytesSent, error }, { bytesSent: 5, error: "proxy_internal_error" });
    const [failure] = proxy.seen.eventsOf("request_failure");
    const said = wrong instanceof Error ? "boom" : "it must return content in pieces";
    assert(failure!.message.includes(`requestFilter threw: ${said}`), failure!.message);
  }
});

Deno.test("a streamed local response without end is cut off with the grace period", async () => {
  const { stream, cancelled } = begun();
  await using proxy = await startProxy({
    upstreams: dead,
    gracePeriod: 50,
    requestFilter: () => new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>),
  });
  using connection = await proxy.connect();
  await connection.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await connection.readUntil("begun");
  await proxy.server.shutdown();
  await cancelled;
  await connection.untilClosed();
  const { bytesSent, error } = await proxy.seen.untilEntries(1);
  assertEquals({ bytesSent, error }, { bytesSent: 5, error: "proxy_internal_error" });
  assertEquals(proxy.seen.eventsOf("stopped")[0]!.abandonedRequests, 1);
});

Deno.test("content of responseBodyFilter without end is cut off with the grace period", async () => {
  await using upstream = startUpstream("server");
  const { stream, cancelled } = begun();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    gracePeriod: 50,
    responseBodyFilter: () => stream as ReadableStream<Uint8Array<ArrayBuffer>>,
  });
  using connection = await proxy.connect();
  await connection.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await connection.readUntil("begun");
  await proxy.server.shutdown();
  await cancelled;
  assertEquals((await proxy.seen.untilEntries(1)).error, "proxy_internal_error");
});

Deno.test("a server is let go as soon as a stream of a filter stands in the place of its response", async () => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readRequest();
    await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    await connection.untilClosed();
  });
  const { stream, controller } = begun();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    responseFilter: () => new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>),
  });
  using connection = await proxy.connect();
  await connection.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  await connection.readUntil("begun");
  await upstream.untilOpen(0);
  assertEquals([proxy.servers[0]!.inFlight, proxy.seen.entries], [0, [] as AccessEntry[]]);
  controller.close();
  const { status, bytesSent, error } = await proxy.seen.untilEntries(1);
  assertEquals({ status, bytesSent, error }, { status: 200, bytesSent: 5, error: null });
});

Deno.test("a WebSocket that a filter makes is handed over as it is", async () => {
  await using proxy = await startProxy({
    listen: { hostname: "127.0.0.1", port: 0, engine: "deno" },
    upstreams: dead,
    requestFilter: (request) => {
      const { socket, response } = Deno.upgradeWebSocket(request);
      socket.onmessage = ({ data }) => socket.send(`echo ${data}`);
      return response;
    },
  });
  const socket = new WebSocket(`ws://${proxy.address}/`);
  const echoed = Promise.withResolvers<unknown>();
  socket.onopen = () => socket.send("a");
  socket.onmessage = ({ data }) => echoed.resolve(data);
  assertEquals(await echoed.promise, "echo a");
  const closed = new Promise((resolve) => socket.onclose = resolve);
  socket.close();
  await closed;
  const { status, bytesSent } = await proxy.seen.untilEntries(1);
  assertEquals({ status, bytesSent }, { status: 101, bytesSent: 0 });
});
