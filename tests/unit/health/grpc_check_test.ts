import { assert, assertEquals, assertRejects } from "@std/assert";
import { grpcCheck, type GrpcCheckRequest } from "../../../lib/health/grpc_check.ts";
import { CODE, FLAG, FRAME } from "../../../lib/http2/frame_type.ts";
import { resolvePlainServer } from "../../../lib/upstream/peer.ts";
import { Server } from "../../../lib/upstream/server.ts";
import { block, type RawFrame, type RawHttp2, rawHttp2Upstream, uint32 } from "../../support/raw_http2.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { resolvePeer } from "../../../lib/filter/resolve_peer.ts";
import { testCa } from "../../support/test_ca.ts";
import { tlsUpstream } from "../../support/tls_upstream.ts";

const NEVER = new AbortController().signal;
const HEADERS_END = FLAG.END_HEADERS | FLAG.END_STREAM;
const GRPC_HEAD = [0x88, ...block([["content-type", "application/grpc"]])];
/** The message `HealthCheckResponse { status: SERVING }` and others, behind their length. */
const SERVING = [0, 0, 0, 0, 2, 8, 1];
const OK_TRAILERS = block([["grpc-status", "0"]]);

/** Checks a server that responds so. */
async function check(
  respond: (http2: RawHttp2, id: number, request: RawFrame[]) => Promise<void>,
  options: GrpcCheckRequest = {},
): Promise<void> {
  await using upstream = rawHttp2Upstream(async (http2) => {
    const head = await http2.until(FRAME.HEADERS);
    const data = await http2.until(FRAME.DATA);
    await respond(http2, head.id, [head, data]).catch(() => {});
    await http2.connection.untilClosed();
  });
  await grpcCheck(options)(new Server(resolvePlainServer(upstream.address)), NEVER);
}

async function answer(
  http2: RawHttp2,
  id: number,
  message: readonly number[],
  trailers: Uint8Array = OK_TRAILERS,
) {
  await http2.write(FRAME.HEADERS, FLAG.END_HEADERS, id, GRPC_HEAD);
  await http2.write(FRAME.DATA, 0, id, message);
  await http2.write(FRAME.HEADERS, HEADERS_END, id, trailers);
}

Deno.test("grpcCheck() passes when the service serves, and asks for it by its name", async () => {
  const messages: number[][] = [];
  for (const service of [undefined, "a.Service", "x".repeat(200)]) {
    await check(async (http2, id, [, data]) => {
      messages.push([...data!.payload]);
      await answer(http2, id, SERVING);
    }, service === undefined ? {} : { service });
  }
  const name = new TextEncoder().encode("a.Service");
  assertEquals(messages[0], [0, 0, 0, 0, 0]);
  assertEquals(messages[1], [0, 0, 0, 0, 11, 10, 9, ...name]);
  assertEquals(messages[2]!.slice(0, 8), [0, 0, 0, 0, 203, 10, 200, 1]);
});

const FAILURES: [string, (http2: RawHttp2, id: number) => Promise<void>, string][] = [
  ["NOT_SERVING", (http2, id) => answer(http2, id, [0, 0, 0, 0, 2, 8, 2]), "the service is NOT_SERVING"],
  ["no state", (http2, id) => answer(http2, id, [0, 0, 0, 0, 0]), "the service is UNKNOWN"],
  ["a message too many", (http2, id) => answer(http2, id, [...SERVING, ...SERVING]), "not one message"],
  ["no message", (http2, id) => answer(http2, id, []), "no message"],
  ["a compressed message", (http2, id) => answer(http2, id, [1, ...SERVING.slice(1)]), "compressed"],
  [
    "a status in the trailers",
    (http2, id) => answer(http2, id, SERVING, block([["grpc-status", "14"], ["grpc-message", "later"]])),
    "grpc-status 14: later",
  ],
  ["no status", (http2, id) => answer(http2, id, SERVING, block([["x", "y"]])), "no grpc-status"],
  [
    "an unknown service",
    (http2, id) =>
      http2.write(FRAME.HEADERS, HEADERS_END, id, [...GRPC_HEAD, ...block([["grpc-status", "5"]])]),
    "grpc-status 5",
  ],
  [
    "another content type",
    (http2, id) =>
      http2.write(FRAME.HEADERS, HEADERS_END, id, [0x88, ...block([["content-type", "text/html"]])]),
    "not of gRPC",
  ],
  ["status 404", (http2, id) => http2.write(FRAME.HEADERS, HEADERS_END, id, [0x8d]), "status 404"],
  [
    "a reset",
    (http2, id) => http2.write(FRAME.RST_STREAM, 0, id, uint32(CODE.REFUSED_STREAM)),
    "REFUSED_STREAM",
  ],
  ["GOAWAY", (http2) => http2.goAway(0), "the connection ends"],
  [
    "a push",
    (http2, id) => http2.write(FRAME.PUSH_PROMISE, FLAG.END_HEADERS, id, [0, 0, 0, 2, 0x82]),
    "PUSH_PROMISE",
  ],
  ["a message without end", async (http2, id) => {
    await http2.write(FRAME.HEADERS, FLAG.END_HEADERS, id, GRPC_HEAD);
    for (;;) await http2.write(FRAME.DATA, 0, id, new Uint8Array(1000));
  }, "too long"],
  ["a close", (http2) => Promise.resolve(http2.connection.close()), "closed before the end"],
];

for (const [what, respond, reason] of FAILURES) {
  Deno.test(`grpcCheck() fails for ${what}`, async () => {
    await assertRejects(() => check(respond), Error, reason);
  });
}

Deno.test("grpcCheck() fails where a server does not speak HTTP/2, by its first bytes or by ALPN", async () => {
  await using plain = rawUpstream(async (connection) => {
    await connection.read();
    await connection.write("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    await connection.untilClosed();
  });
  await assertRejects(
    () => grpcCheck({})(new Server(resolvePlainServer(plain.address)), NEVER),
    Error,
    "FRAME_SIZE",
  );
  const ca = await testCa();
  await using tls = rawUpstream((connection) => connection.untilClosed(), {
    tls: await ca.issue({ names: ["localhost"] }),
  });
  const peer = resolvePeer(tls.address, { caCerts: [ca.cert], serverName: "localhost" });
  const server = new Server({ ...resolvePlainServer(tls.address), peer });
  await assertRejects(() => grpcCheck({})(server, NEVER), Error, "ALPN");
});

Deno.test("grpcCheck() agrees on HTTP/2 by ALPN where a server has TLS", async () => {
  await using upstream = await tlsUpstream({
    names: ["localhost"],
    handler: () => new Response("", { status: 404 }),
  });
  const peer = resolvePeer(upstream.address, { caCerts: [(await testCa()).cert], serverName: "localhost" });
  const server = new Server({ ...resolvePlainServer(upstream.address), peer });
  await assertRejects(() => grpcCheck({})(server, NEVER), Error, "status 404");
  assertEquals(upstream.seen[0]?.target, "/grpc.health.v1.Health/Check");
});

Deno.test("grpcCheck() gives up when its time is over, and leaves nothing open", async () => {
  const controller = new AbortController();
  await using upstream = rawHttp2Upstream(async (http2) => {
    await http2.request();
    controller.abort();
    await http2.connection.untilClosed();
  });
  const server = new Server(resolvePlainServer(upstream.address));
  assert(await grpcCheck({})(server, controller.signal).then(() => false, () => true));
  await upstream.untilOpen(0);
});
