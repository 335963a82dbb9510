/** WebSockets over HTTP/2, by extended CONNECT (RFC 8441). */

import { assertEquals } from "@std/assert";
import type { ListenOptions } from "../../../lib/config/listen_options.ts";
import { CODE } from "../../../lib/http2/frame_type.ts";
import { Http2TestClient, type TestExchange } from "../../support/http2_test_client.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { webSocketUpstream } from "../../support/test_web_socket.ts";

const LISTEN: ListenOptions = { hostname: "127.0.0.1", port: 0, engine: "http1", http2: true };

function open(client: Http2TestClient, fields: readonly (readonly [string, string])[] = []): TestExchange {
  return client.ask("/chat", {
    method: "CONNECT",
    scheme: "http",
    protocol: "websocket",
    open: true,
    fields: [["sec-websocket-version", "13"], ...fields],
  });
}

/** A text of a client: masked by zeros, which changes nothing. */
function text(content: string): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(content);
  return Uint8Array.of(0x81, 0x80 | bytes.length, 0, 0, 0, 0, ...bytes);
}

Deno.test("HTTP/2: a WebSocket opens on a stream, beside requests, and closes", async () => {
  await using sockets = webSocketUpstream();
  await using proxy = await startProxy({ upstreams: [sockets.address], listen: LISTEN });
  await using client = await Http2TestClient.open(proxy.port, { secured: false });
  const exchange = open(client, [["sec-websocket-protocol", "one, two"]]);
  await exchange.head;
  assertEquals(client.codec.peerExtendedConnect, true);
  assertEquals(exchange.status, 200);
  const fields = Object.fromEntries(exchange.fields);
  assertEquals([fields["sec-websocket-protocol"], fields["sec-websocket-accept"], fields["upgrade"]], [
    "two",
    undefined,
    undefined,
  ]);
  const { stream } = exchange;
  const content = stream.content!;
  for (const word of ["hello", "again"]) {
    const bytes = text(word);
    stream.write(bytes, 0, bytes.length, false);
    assertEquals(new TextDecoder().decode((await content.read())!.subarray(2)), word);
  }
  const close = Uint8Array.of(0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8);
  stream.write(close, 0, close.length, false);
  assertEquals([...(await content.read())!.subarray(0, 4)], [0x88, 2, 0x03, 0xe8]);
  stream.end();
  assertEquals(await content.read(), null);
  await proxy.seen.until(() => proxy.seen.entries.length === 1);
  assertEquals([proxy.seen.entries[0]!.status, proxy.seen.entries[0]!.method], [101, "GET"]);
});

Deno.test("HTTP/2: a closed WebSocket takes no place of a request, whose client ends its side or not", async () => {
  await using sockets = webSocketUpstream();
  await using proxy = await startProxy({ upstreams: [sockets.address], listen: LISTEN });
  await using client = await Http2TestClient.open(proxy.port, { secured: false });
  const exchange = open(client);
  await exchange.head;
  const close = Uint8Array.of(0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8);
  exchange.stream.write(close, 0, close.length, false);
  assertEquals((await exchange.untilReset).code, CODE.NO_ERROR);
  assertEquals(client.failure, null);
});

Deno.test("HTTP/2: a client that resets a WebSocket closes it at the server", async () => {
  await using sockets = webSocketUpstream();
  await using proxy = await startProxy({ upstreams: [sockets.address], listen: LISTEN });
  await using client = await Http2TestClient.open(proxy.port, { secured: false });
  const exchange = open(client);
  await exchange.head;
  const bytes = text("x");
  exchange.stream.write(bytes, 0, bytes.length, false);
  await exchange.stream.content!.read();
  exchange.stream.reset(CODE.CANCEL);
  await sockets.sockets[0]!.closed;
  await proxy.seen.until(() => proxy.seen.entries.length === 1);
});

Deno.test("HTTP/2: a WebSocket that no server takes, or that is asked for badly, is answered", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], listen: LISTEN });
  await using client = await Http2TestClient.open(proxy.port, { secured: false });
  assertEquals((await open(client).response()).status, 200);
  assertEquals(new TextDecoder().decode((await open(client).response()).body), "upstream");
  const old = client.ask("/", { method: "CONNECT", scheme: "http", protocol: "websocket", open: true });
  assertEquals((await old.response()).status, 426);
});

Deno.test("HTTP/2: WebSockets are closed when the proxy stops", async () => {
  await using sockets = webSocketUpstream();
  await using proxy = await startProxy({ upstreams: [sockets.address], listen: LISTEN, webSocketGrace: 0 });
  await using client = await Http2TestClient.open(proxy.port, { secured: false });
  const exchange = open(client);
  await exchange.head;
  const stopped = proxy.server.shutdown();
  assertEquals(
    [...(await exchange.stream.content!.read())!.subarray(0, 4)],
    [0x88, 17, 0x03, 0xe9],
  );
  await stopped;
});
