/** Clients that speak HTTP/2 to the proxy's own engine. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { type Body, type Bytes, WholeBody } from "../../../lib/http/message.ts";
import type { ListenOptions } from "../../../lib/config/listen_options.ts";
import { CODE } from "../../../lib/http2/frame_type.ts";
import { Gate } from "../../support/gate.ts";
import { Http2TestClient } from "../../support/http2_test_client.ts";
import { answering, rawUpstream } from "../../support/raw_upstream.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy, type TestProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { testCa } from "../../support/test_ca.ts";

/** A place to listen at with a certificate for localhost. */
async function secured(rest: Partial<ListenOptions> = {}): Promise<ListenOptions> {
  const tls = await (await testCa()).issue({ names: ["localhost"] });
  return { hostname: "127.0.0.1", port: 0, engine: "http1", tls, ...rest };
}

const PLAIN: ListenOptions = { hostname: "127.0.0.1", port: 0, engine: "http1", http2: true };

async function start(address: string, rest: Partial<ListenOptions> = {}): Promise<TestProxy> {
  return await startProxy({ upstreams: [address], listen: await secured(rest) });
}

/** Content in pieces, which the test gives. */
class Pieces implements Body {
  readonly length = null;
  readonly ready = null;
  readonly whole = null;
  trailers: readonly string[] = [];
  readonly #given: (Bytes | null)[] = [];
  #waiting: PromiseWithResolvers<void> | null = null;
  give(piece: Bytes | null): void {
    this.#given.push(piece);
    this.#waiting?.resolve();
  }
  async read(): Promise<Bytes | null> {
    while (this.#given.length === 0) await (this.#waiting = Promise.withResolvers()).promise;
    return this.#given.shift()!;
  }
  cancel(): void {}
}

function bytes(text: string): Bytes {
  return new TextEncoder().encode(text);
}

function text(body: Uint8Array): string {
  return new TextDecoder("latin1").decode(body);
}

Deno.test("HTTP/2: a request goes to the server as one of HTTP/1.1 does, cookies in one line", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await start(upstream.address);
  await using client = await Http2TestClient.open(proxy.port);
  const fields = [["cookie", "a=1"], ["x-b", "1"], ["cookie", "b=2"], ["x_y", "dropped"], [
    "te",
    "trailers",
  ]] as const;
  const { status, body } = await client.ask("/path?q=%20#".slice(0, -1), {
    authority: "a.example:8443",
    fields,
  }).response();
  assertEquals([status, text(body)], [200, "ok"]);
  const [request] = upstream.requests;
  assertEquals(request!.startLine, "GET /path?q=%20 HTTP/1.1");
  assertEquals(upstream.sent("host"), ["a.example:8443"]);
  assertEquals(upstream.sent("cookie"), ["a=1; b=2"]);
  assertEquals(upstream.sent("x-b"), ["1"]);
  assertEquals(upstream.sent("x_y"), []);
  assertEquals(upstream.sent("x-forwarded-proto"), ["https"]);
  assertEquals((await proxy.seen.untilEntries(1)).clientIp, "127.0.0.1");
});

Deno.test("HTTP/2: many requests at once, each gets its own response", async () => {
  await using upstream = startUpstream({
    handler: async (request) =>
      new Response(`${new URL(request.url).pathname} ${(await request.text()).length}`),
  });
  await using proxy = await start(upstream.address);
  await using client = await Http2TestClient.open(proxy.port);
  const answers = await Promise.all(Array.from({ length: 100 }, async (_, i) => {
    const body = new WholeBody(new Uint8Array(i * 700));
    return text((await client.ask(`/${i}`, { method: "POST", body, length: body.length }).response()).body);
  }));
  assertEquals(answers, Array.from({ length: 100 }, (_, i) => `/${i} ${i * 700}`));
  assertEquals(client.failure, null);
});

Deno.test("HTTP/2: content goes on as it comes, both ways, with trailers", async () => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readHead();
    await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (let piece = await connection.readChunk(); piece !== null; piece = await connection.readChunk()) {
      await connection.write(`${piece.length.toString(16)}\r\n`);
      await connection.write(piece);
      await connection.write("\r\n");
    }
    await connection.write("0\r\nX-Sum: 42\r\n\r\n");
  });
  await using proxy = await start(upstream.address);
  await using client = await Http2TestClient.open(proxy.port);
  const body = new Pieces();
  const exchange = client.ask("/", { method: "POST", body });
  body.give(bytes("one"));
  await exchange.head;
  const content = exchange.stream.content!;
  assertEquals(text((await content.read())!), "one");
  body.give(bytes("two"));
  assertEquals(text((await content.read())!), "two");
  body.trailers = ["x-own", "1"];
  body.give(null);
  assertEquals(await content.read(), null);
  assertEquals(content.trailers, ["x-sum", "42"]);
});

Deno.test("HTTP/2: trailers of a client reach the server", async () => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readHead();
    const content = await connection.readUntil("\r\n\r\n");
    await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${content!.length}\r\n\r\n${content}`);
  });
  await using proxy = await start(upstream.address);
  await using client = await Http2TestClient.open(proxy.port);
  const body = new Pieces();
  body.trailers = ["x-sum", "7", "content-length", "9"];
  body.give(bytes("abc"));
  body.give(null);
  const response = await client.ask("/", { method: "POST", body }).response();
  assertEquals(text(response.body), "3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n");
});

Deno.test("HTTP/2: early hints of a server reach the client, and 100 (Continue) comes when content is wanted", async () => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readHead();
    await connection.write("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
    const content = text(await connection.readExactly(3));
    await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n${content}`);
  });
  await using proxy = await start(upstream.address);
  await using client = await Http2TestClient.open(proxy.port);
  const body = new Pieces();
  const exchange = client.ask("/", { method: "POST", body, length: 3, fields: [["expect", "100-continue"]] });
  await exchange.untilInterim(2);
  body.give(bytes("abc"));
  body.give(null);
  assertEquals(text((await exchange.response()).body), "abc");
  assertEquals(exchange.interim.toSorted(([a], [b]) => a - b), [[100, []], [103, [["link", "</a.css>"]]]]);
});

Deno.test("HTTP/2: responses without content, and what they say of its length", async () => {
  const cases: [string, string, number, string | undefined][] = [
    ["GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, undefined],
    ["GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, "5"],
    ["HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200, "5"],
    ["HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, undefined],
    ["GET", "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", 205, "0"],
    ["GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "0"],
    [
      "GET",
      "HTTP/1.1 200 OK\r\nConnection: close\r\nKeep-Alive: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      200,
      "0",
    ],
  ];
  for (const [method, answer, status, length] of cases) {
    await using upstream = rawUpstream(answering(answer));
    await using proxy = await start(upstream.address);
    await using client = await Http2TestClient.open(proxy.port);
    const response = await client.ask("/", { method }).response();
    const said = Object.fromEntries(response.fields);
    assertEquals([response.status, said["content-length"], said["connection"], said["keep-alive"]], [
      status,
      length,
      undefined,
      undefined,
    ]);
  }
});

Deno.test("HTTP/2: a response that breaks off is reset, and never ends", async () => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readHead();
    await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    connection.close();
  });
  await using proxy = await start(upstream.address);
  await using client = await Http2TestClient.open(proxy.port);
  const exchange = client.ask("/");
  await assertRejects(() => exchange.response());
  assertEquals([exchange.status, exchange.reset!.code], [200, CODE.INTERNAL_ERROR]);
  // The connection goes on.
  assertEquals(client.failure, null);
  assertEquals(client.goAway, null);
});

Deno.test("HTTP/2: a client that calls off ends the request at the server, and others go on", async () => {
  await using gate = new Gate();
  await using proxy = await start(gate.upstream.address);
  await using client = await Http2TestClient.open(proxy.port);
  const exchange = client.ask("/");
  await gate.untilWaiting(1);
  exchange.stream.reset(CODE.CANCEL);
  await proxy.seen.until(() => proxy.seen.entries.length === 1);
  assertEquals(proxy.seen.entries[0]!.status, 499);
  const other = client.ask("/");
  await gate.untilWaiting(2);
  gate.answer();
  gate.answer();
  assertEquals((await other.response()).status, 200);
});

Deno.test("HTTP/2: what is no request is answered 400 and reset; the connection goes on", async () => {
  await using upstream = startUpstream();
  await using proxy = await start(upstream.address);
  const bad: [string, Parameters<Http2TestClient["ask"]>[1] & object, number][] = [
    ["", {}, 400],
    ["x", {}, 400],
    ["*", {}, 400],
    ["/a b", {}, 400],
    ["/#a", {}, 400],
    [`/${"a".repeat(17_000)}`, {}, 414],
    ["/", { authority: "" }, 400],
    ["/", { authority: "a@b" }, 400],
    ["/", { method: "GE T" }, 400],
    ["/", { method: "X".repeat(40) }, 501],
    ["/", { method: "TRACE" }, 405],
    ["/", { fields: [["x-long", "a".repeat(33_000)]] }, 431],
    ["/", { fields: Array.from({ length: 250 }, (_, i): [string, string] => [`x-${i}`, ""]) }, 431],
    ["/", { fields: [["expect", "more"]] }, 417],
    ["/", { length: 5 }, 400],
    ["/", { protocol: "websocket" }, 400],
    ["/", { method: "CONNECT", protocol: "other" }, 501],
  ];
  await using client = await Http2TestClient.open(proxy.port);
  for (const [target, request, status] of bad) {
    const exchange = client.ask(target, request);
    await exchange.head;
    const what = [target.slice(0, 20), JSON.stringify(request).slice(0, 60)];
    assertEquals([...what, exchange.status], [...what, status]);
    // What is malformed is an error of the stream as well (RFC 9113 section 8.1.1).
    if (status === 400) assertEquals((await exchange.untilReset).code, CODE.PROTOCOL_ERROR);
    else await exchange.response();
  }
  assertEquals((await client.ask("/").response()).status, 200);
  assertEquals(upstream.requests, 1);
});

Deno.test("HTTP/2 without TLS where it is allowed, beside HTTP/1.1", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], listen: PLAIN });
  await using client = await Http2TestClient.open(proxy.port, { secured: false });
  assertEquals(text((await client.ask("/", { scheme: "http" }).response()).body), "upstream");
  assertEquals((await proxy.ask("GET /")).text, "upstream");
  assertEquals((await proxy.ask("PRO /")).status, 200);
  // What begins like it in pieces.
  using raw = await proxy.connect();
  for (const piece of ["P", "RI", " * HTTP/2.0\r\n\r\nSM\r\n\r", "\n"]) await raw.write(piece);
  const head = await raw.readExactly(9);
  assertEquals(head[3], 4);
});

Deno.test("HTTP/2 without TLS is refused where nothing is said", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: { hostname: "127.0.0.1", port: 0, engine: "http1" },
  });
  using raw = await proxy.connect();
  await raw.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  assertEquals((await raw.readResponse()).status, 505);
});

Deno.test("tls.http2: false offers HTTP/1.1 alone", async () => {
  await using upstream = startUpstream();
  const place = await secured();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: { ...place, tls: { ...place.tls!, http2: false } },
  });
  await assertRejects(() => Http2TestClient.open(proxy.port));
});

Deno.test("HTTP/2: a proxy that stops lets requests finish, and takes no new connection", async () => {
  await using gate = new Gate();
  await using proxy = await start(gate.upstream.address);
  await using client = await Http2TestClient.open(proxy.port);
  await using idle = await Http2TestClient.open(proxy.port);
  const exchange = client.ask("/");
  await gate.untilWaiting(1);
  const stopped = proxy.server.shutdown();
  assertEquals(await client.untilGoAway, CODE.NO_ERROR);
  assertEquals(await idle.untilGoAway, CODE.NO_ERROR);
  await idle.closed;
  gate.answer();
  assertEquals((await exchange.response()).status, 200);
  await stopped;
  await client.closed;
});

Deno.test("HTTP/2: the last request of a connection says so", async () => {
  await using upstream = startUpstream();
  await using proxy = await start(upstream.address, { maxRequestsPerConnection: 2 });
  await using client = await Http2TestClient.open(proxy.port);
  assertEquals((await client.ask("/1").response()).status, 200);
  assertEquals(client.goAway, null);
  assertEquals((await client.ask("/2").response()).status, 200);
  assertEquals(await client.untilGoAway, CODE.NO_ERROR);
  await client.closed;
});

Deno.test("HTTP/2: connections above those of a client get 429", async () => {
  await using upstream = startUpstream();
  await using proxy = await start(upstream.address, { maxConnectionsPerClient: 1 });
  await using first = await Http2TestClient.open(proxy.port);
  assertEquals((await first.ask("/").response()).status, 200);
  await using second = await Http2TestClient.open(proxy.port);
  assertEquals((await second.ask("/").response()).status, 429);
  await second.closed;
  assert(first.goAway === null);
});

Deno.test("HTTP/2: a connection more than a client may have is closed, also if it requests nothing", async () => {
  await using upstream = startUpstream();
  await using proxy = await start(upstream.address, {
    maxConnectionsPerClient: 1,
    timeouts: { keepAlive: "1h" },
  });
  await using first = await Http2TestClient.open(proxy.port);
  assertEquals((await first.ask("/").response()).status, 200);
  await using second = await Http2TestClient.open(proxy.port);
  await second.closed;
  assertEquals((await first.ask("/").response()).status, 200);
});

Deno.test("HTTP/2: a request of HTTP/1.1 whose first bytes could begin HTTP/2 is read from its first byte", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], listen: PLAIN });
  const requests = ["POST", "PUT", "PROPFIND", "PRI"].flatMap((method) =>
    [1, 2, 3].map((first) => ({ method, first }))
  );
  for (const { method, first } of requests) {
    using connection = await proxy.connect();
    const request = `${method} / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n`;
    await connection.write(request.slice(0, first));
    // Each piece in a read of its own.
    await new Promise((resolve) => setTimeout(resolve, 5));
    await connection.write(request.slice(first));
    assertEquals((await connection.readUntil("\r\n"))?.trim(), "HTTP/1.1 200 OK", `${method} ${first}`);
  }
  assertEquals(upstream.seen.map(({ method }) => method), requests.map(({ method }) => method));
});
