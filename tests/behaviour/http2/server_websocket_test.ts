/** WebSockets to servers of HTTP/2, by extended CONNECT where they allow that (RFC 8441). */

import { assertEquals } from "@std/assert";
import type { ListenOptions } from "../../../lib/config/listen_options.ts";
import { CODE, FLAG, FRAME, SETTING } from "../../../lib/http2/frame_type.ts";
import { ENGINE } from "../../support/engine.ts";
import { Http2TestClient } from "../../support/http2_test_client.ts";
import { fieldOf, latin1Text } from "../../support/raw_connection.ts";
import { block, type RawHttp2, rawHttp2Upstream } from "../../support/raw_http2.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { openWebSocket, upgradeHead, webSocketUpstream } from "../../support/test_web_socket.ts";

const LISTEN: ListenOptions = { hostname: "127.0.0.1", port: 0, engine: "http1", http2: true };
/** Not that of the tests: these clients speak without TLS. */
const PLAIN: ListenOptions = { hostname: "127.0.0.1", port: 0, engine: ENGINE };
const ALLOWED = [SETTING.ENABLE_CONNECT_PROTOCOL, 1];
/** The answer to the key of {@linkcode upgradeHead}. */
const ANSWER = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/** Reads the next frame of content that is not empty. */
async function content(http2: RawHttp2): Promise<string> {
  for (;;) {
    const { payload } = await http2.until(FRAME.DATA);
    if (payload.length > 0) return latin1Text(payload as Uint8Array<ArrayBuffer>);
  }
}

Deno.test("a WebSocket goes to a server of HTTP/2 on a stream, from clients of HTTP/1.1 and of HTTP/2", async () => {
  await using sockets = webSocketUpstream();
  await using server = await startProxy({ upstreams: [sockets.address], listen: LISTEN });
  await using proxy = await startProxy({
    upstreams: { servers: [server.address], protocol: "h2" },
    listen: [PLAIN, LISTEN],
  });
  const web = await openWebSocket(`ws://${proxy.address}/chat`, ["one", "two"]);
  assertEquals(web.socket.protocol, "two");
  const long = "long ".repeat(60_000);
  for (const word of ["hello", "again", long]) {
    web.socket.send(word);
    assertEquals(await web.next(), word);
  }
  web.socket.close(1000);
  await web.closed;

  const port = Number(proxy.server.addresses[1]!.split(":").at(-1));
  await using client = await Http2TestClient.open(port, { secured: false });
  const exchange = client.ask("/chat", {
    method: "CONNECT",
    scheme: "http",
    protocol: "websocket",
    open: true,
    fields: [["sec-websocket-version", "13"]],
  });
  await exchange.head;
  assertEquals(exchange.status, 200);
  const text = Uint8Array.of(0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69);
  exchange.stream.write(text, 0, text.length, false);
  assertEquals([...(await exchange.stream.content!.read())!], [0x81, 2, 0x68, 0x69]);
  const close = Uint8Array.of(0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8);
  exchange.stream.write(close, 0, close.length, false);
  assertEquals([...(await exchange.stream.content!.read())!], [0x88, 2, 0x03, 0xe8]);
  exchange.stream.end();
  assertEquals(await sockets.sockets[1]!.closed, [1000, ""]);
  await server.seen.untilEntries(2);
  assertEquals(server.seen.entries.map(({ status, protocol }) => [status, protocol]), [
    [101, "HTTP/2"],
    [101, "HTTP/2"],
  ]);
});

Deno.test("an extended CONNECT has no field of a handshake of HTTP/1.1, and its client gets one", async () => {
  const seen: [string, string][][] = [];
  await using upstream = rawHttp2Upstream(async (http2) => {
    const head = await http2.until(FRAME.HEADERS);
    assertEquals(head.flags & FLAG.END_STREAM, 0);
    seen.push(http2.fieldsOf(head));
    await http2.write(FRAME.HEADERS, FLAG.END_HEADERS, head.id, block([[":status", "200"], ["x-a", "1"]]));
    assertEquals(await content(http2), "\x81\x82\0\0\0\0hi");
    await http2.write(FRAME.DATA, 0, head.id, [0x81, 2, 0x68, 0x6f]);
    // The close frame, and the end of the stream.
    await http2.write(FRAME.DATA, FLAG.END_STREAM, head.id, [0x88, 2, 0x03, 0xe8]);
    await content(http2);
  }, ALLOWED);
  await using proxy = await startProxy({
    upstreams: { servers: [upstream.address], protocol: "h2" },
    listen: { ...PLAIN, engine: "http1" },
  });
  using client = await proxy.connect();
  await client.write(upgradeHead(["Sec-WebSocket-Protocol: one", "X-Field: 1"]));
  const { status, fields } = await client.readResponse();
  assertEquals([status, fieldOf(fields, "upgrade"), fieldOf(fields, "x-a")], [101, "websocket", "1"]);
  assertEquals(fieldOf(fields, "sec-websocket-accept"), ANSWER);
  await client.write(Uint8Array.of(0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69));
  assertEquals([...await client.readExactly(4)], [0x81, 2, 0x68, 0x6f]);
  assertEquals([...await client.readExactly(4)], [0x88, 2, 0x03, 0xe8]);
  await client.write(Uint8Array.of(0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8));
  await proxy.seen.untilEntries(1);
  assertEquals(upstream.errors, []);
  const names = seen[0]!.map(([name]) => name);
  assertEquals(seen[0]!.filter(([name]) => name.startsWith(":")), [
    [":method", "CONNECT"],
    [":scheme", "http"],
    [":authority", "h"],
    [":path", "/ws"],
    [":protocol", "websocket"],
  ]);
  assertEquals(
    names.filter((name) => /^(connection|upgrade|host|sec-websocket-key|content-length)$/.test(name)),
    [],
  );
  assertEquals(names.filter((name) => /^(sec-websocket-(version|protocol)|x-field)$/.test(name)).length, 3);
});

Deno.test("a server of HTTP/2 that refuses a WebSocket, or ends one, is heard by the client", async () => {
  await using upstream = rawHttp2Upstream(async (http2) => {
    const refused = await http2.request();
    await http2.write(
      FRAME.HEADERS,
      FLAG.END_HEADERS | FLAG.END_STREAM,
      refused,
      block([[":status", "403"]]),
    );
    const ended = await http2.request();
    await http2.write(FRAME.HEADERS, FLAG.END_HEADERS, ended, block([[":status", "200"]]));
    await http2.write(FRAME.RST_STREAM, 0, ended, [0, 0, 0, CODE.CANCEL]);
    await http2.until(FRAME.GOAWAY).catch(() => {});
  }, ALLOWED);
  await using proxy = await startProxy({
    upstreams: { servers: [upstream.address], protocol: "h2" },
    listen: { ...PLAIN, engine: "http1" },
  });
  {
    using client = await proxy.connect();
    await client.write(upgradeHead());
    assertEquals((await client.readResponse()).status, 403);
  }
  using client = await proxy.connect();
  await client.write(upgradeHead());
  const { status } = await client.readResponse();
  // A reset right behind the head is a WebSocket that never was.
  if (status === 101) {
    const close = await client.readExactly(4);
    assertEquals([close[0], (close[2]! << 8) | close[3]!], [0x88, 1011]);
  } else assertEquals(status, 502);
  await proxy.seen.untilEntries(2);
});

Deno.test("a server of HTTP/2 that takes no WebSockets by it is asked by HTTP/1.1", async () => {
  await using sockets = webSocketUpstream();
  await using proxy = await startProxy({
    upstreams: { servers: [sockets.address], protocol: "h2" },
    listen: PLAIN,
  });
  const web = await openWebSocket(`ws://${proxy.address}/chat`);
  web.socket.send("hello");
  assertEquals(await web.next(), "hello");
  web.socket.close(1000);
  await web.closed;
  const entry = await proxy.seen.untilEntries(1);
  assertEquals(entry.status, 101);
});
