/** Calls of gRPC, where frames are enough: what the proxy itself says, and what it leaves as it is. */

import { assert, assertEquals } from "@std/assert";
import type { ListenOptions } from "../../../lib/config/listen_options.ts";
import { WholeBody } from "../../../lib/http/message.ts";
import { FLAG, FRAME } from "../../../lib/http2/frame_type.ts";
import { deadPort } from "../../support/dead_port.ts";
import { Http2TestClient, type TestExchange } from "../../support/http2_test_client.ts";
import { block, type RawHttp2, rawHttp2Upstream } from "../../support/raw_http2.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy, type TestConfig, type TestProxy } from "../../support/start_proxy.ts";

const PLAIN: ListenOptions = { hostname: "127.0.0.1", port: 0, http2: true, engine: "http1" };
const GRPC = [["content-type", "application/grpc"], ["te", "trailers"]] as const;
const GRPC_HEAD = [0x88, ...block([["content-type", "application/grpc"]])];
const HEADERS_END = FLAG.END_HEADERS | FLAG.END_STREAM;
const MESSAGE = new WholeBody(Uint8Array.of(0, 0, 0, 0, 1, 65));

function start(config: Omit<TestConfig, "listen">): Promise<TestProxy> {
  return startProxy({ ...config, listen: PLAIN });
}

function call(
  client: Http2TestClient,
  target: string,
  fields: readonly (readonly [string, string])[] = GRPC,
): TestExchange {
  return client.ask(target, { method: "POST", scheme: "http", fields, body: MESSAGE });
}

/** The fields that clients of gRPC look at. */
function told({ fields }: { fields: [string, string][] }): (string | undefined)[] {
  return ["content-type", "grpc-status", "grpc-message"].map((name) =>
    fields.find(([each]) => each === name)?.[1]
  );
}

Deno.test("gRPC: what ends a call before a server has it is a status of gRPC in a head that is the end", async () => {
  await using proxy = await start({
    upstreams: { dead: [`127.0.0.1:${deadPort()}`] },
    routes: [
      { match: { path: "/dead/*" }, upstream: "dead" },
      { match: { path: "/limited/*" }, upstream: "dead", limiter: { key: "path", limit: 1, window: "1m" } },
    ],
    requestFilter({ url }) {
      const status = Number(new URL(url).searchParams.get("status"));
      if (status > 0) return new Response("no", { status });
      if (url.endsWith("/throw")) throw new Error("mine");
      return undefined;
    },
  });
  await using client = await Http2TestClient.open(proxy.port, { secured: false });
  const cases: [string, string, string][] = [
    ["/nowhere/Method", "12", "No route matches this request"],
    ["/dead/Method", "14", "Bad Gateway"],
    ["/limited/Method", "14", "Bad Gateway"],
    ["/limited/Method", "8", "Too Many Requests"],
    ["/limited/Other", "14", "Bad Gateway"],
    ["/dead/Method?status=401", "16", "Unauthorized"],
    ["/dead/Method?status=403", "7", "Forbidden"],
    ["/dead/Method?status=503", "14", "Service Unavailable"],
    ["/dead/throw", "2", "Internal Server Error"],
  ];
  for (const [target, status, message] of cases) {
    const exchange = call(client, target);
    const response = await exchange.response();
    assertEquals([response.status, response.body.length], [200, 0], target);
    assertEquals(told(response), ["application/grpc", status, message], target);
    assert(exchange.stream.content === null, "the head has to be the end");
  }
});

Deno.test("gRPC: logs have the status that a status of gRPC stands for", async () => {
  await using proxy = await start({ upstreams: [`127.0.0.1:${deadPort()}`] });
  await using client = await Http2TestClient.open(proxy.port, { secured: false });
  await call(client, "/a.Service/Method").response();
  assertEquals((await proxy.seen.untilEntries(1)).status, 502);
});

Deno.test("gRPC: other requests, gRPC-Web among them, get the status of HTTP", async () => {
  await using proxy = await start({ upstreams: [`127.0.0.1:${deadPort()}`] });
  await using client = await Http2TestClient.open(proxy.port, { secured: false });
  for (const type of ["application/json", "application/grpc-web+proto"]) {
    const response = await call(client, "/a.Service/Method", [["content-type", type]]).response();
    assertEquals([response.status, told(response)[0]], [502, "application/problem+json"]);
  }
});

Deno.test("gRPC: fields of a call reach the server, TE among them, and its status comes back", async () => {
  const heads: [string, string][][] = [];
  await using upstream = rawHttp2Upstream(async (http2) => {
    for (;;) {
      const head = await http2.until(FRAME.HEADERS);
      heads.push(http2.fieldsOf(head));
      const data = await http2.until(FRAME.DATA);
      await http2.write(FRAME.HEADERS, FLAG.END_HEADERS, head.id, GRPC_HEAD);
      await http2.write(FRAME.DATA, 0, head.id, data.payload);
      await http2.write(
        FRAME.HEADERS,
        HEADERS_END,
        head.id,
        block([["grpc-status", "9"], ["grpc-message", "a%20b"]]),
      );
    }
  });
  await using proxy = await start({ upstreams: { servers: [upstream.address], protocol: "h2" } });
  await using client = await Http2TestClient.open(proxy.port, { secured: false });
  const response = await call(client, "/a.Service/Method", [...GRPC, ["grpc-timeout", "5S"], [
    "x-bin",
    "AAE=",
  ]]).response();
  assertEquals([response.status, [...response.body]], [200, [0, 0, 0, 0, 1, 65]]);
  assertEquals(response.trailers, ["grpc-status", "9", "grpc-message", "a%20b"]);
  assertEquals(upstream.errors, []);
  const sent = new Map(heads[0]);
  const names = [":method", ":path", "content-type", "te", "grpc-timeout", "x-bin"];
  const expected = ["POST", "/a.Service/Method", "application/grpc", "trailers", "5S", "AAE="];
  assertEquals(names.map((name) => sent.get(name)), expected);
});

Deno.test("gRPC: TE goes only where trailers are passed on", async () => {
  await using http1 = recordingUpstream();
  await using proxy = await start({ upstreams: [http1.address] });
  await using client = await Http2TestClient.open(proxy.port, { secured: false });
  await client.ask("/", { scheme: "http", fields: [["te", "trailers"]] }).response();
  assertEquals(http1.requests[0]!.fields.some(([name]) => name.toLowerCase() === "te"), false);
});

Deno.test("gRPC: gRPC-Web passes over HTTP/1.1", async () => {
  const frame = "\x80\x00\x00\x00\x0fgrpc-status:0\r\n";
  await using upstream = recordingUpstream(
    `HTTP/1.1 200 OK\r\ncontent-type: application/grpc-web+proto\r\ncontent-length: ${frame.length}\r\n\r\n${frame}`,
  );
  await using proxy = await startProxy({ upstreams: [upstream.address] });
  const answer = await proxy.ask("POST /a.Service/Method", [
    "content-type: application/grpc-web+proto",
    "x-grpc-web: 1",
  ], "\0\0\0\0\x01A");
  assertEquals([answer.status, answer.text], [200, frame]);
});

Deno.test("gRPC: a server that breaks off in the middle of a call resets it, and never ends it cleanly", async () => {
  await using upstream = rawHttp2Upstream(async (http2) => {
    const id = await http2.request();
    await http2.write(FRAME.HEADERS, FLAG.END_HEADERS, id, GRPC_HEAD);
    await http2.write(FRAME.DATA, 0, id, [0, 0, 0, 0, 1, 65]);
  });
  await using proxy = await start({ upstreams: { servers: [upstream.address], protocol: "h2" } });
  await using client = await Http2TestClient.open(proxy.port, { secured: false });
  const exchange = call(client, "/a.Service/Method");
  await exchange.head;
  assertEquals((await exchange.untilReset).by, "peer");
});

Deno.test("gRPC: a client that calls off ends the call at the server", async () => {
  const asked = Promise.withResolvers<void>();
  const reset = Promise.withResolvers<number>();
  await using upstream = rawHttp2Upstream(async (http2: RawHttp2) => {
    await http2.request();
    asked.resolve();
    reset.resolve((await http2.until(FRAME.RST_STREAM)).payload[3]!);
    await http2.connection.untilClosed();
  });
  await using proxy = await start({ upstreams: { servers: [upstream.address], protocol: "h2" } });
  await using client = await Http2TestClient.open(proxy.port, { secured: false });
  const exchange = call(client, "/a.Service/Method");
  await asked.promise;
  exchange.stream.reset();
  assertEquals(await reset.promise, 8);
});
