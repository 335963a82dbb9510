/** Content of requests that is held back for servers that are not to wait for slow clients. */

import { assert, assertEquals } from "@std/assert";
import { deadPort } from "../../support/dead_port.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { readAnswer, startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

for (const framing of ["Content-Length: 4", "Transfer-Encoding: chunked"]) {
  Deno.test(`bufferRequests: no server is asked before the content is whole (${framing})`, async () => {
    await using upstream = startUpstream({ handler: async (request) => new Response(await request.text()) });
    await using proxy = await startProxy({
      upstreams: { servers: [upstream.address], bufferRequests: "64KiB" },
    });
    const [first, last] = framing.startsWith("C") ? ["ab", "cd"] : ["2\r\nab\r\n", "2\r\ncd\r\n0\r\n\r\n"];
    using slow = await proxy.connect();
    await slow.write(`POST / HTTP/1.1\r\nHost: h\r\n${framing}\r\n\r\n${first}`);
    // Others who have come later are served, as is whoever sends all at once.
    assertEquals((await proxy.ask("POST /", ["Content-Length: 4"], "1234")).text, "1234");
    assertEquals(upstream.requests, 1);
    await slow.write(last!);
    assertEquals((await readAnswer(slow, "POST")).text, "abcd");
    assertEquals([upstream.requests, upstream.seen[1]?.headers.get("content-length") ?? null], [
      2,
      framing.startsWith("C") ? "4" : null,
    ]);
  });
}

Deno.test("bufferRequests: content that is larger goes on when so much is there", async () => {
  const size = 32 * 1024;
  const begun = Promise.withResolvers<number>();
  await using upstream = rawUpstream(async (connection) => {
    await connection.readHead();
    begun.resolve((await connection.readExactly(size)).length);
    const rest = await connection.readExactly(100_000 - size);
    await connection.write(
      rest.every((byte) => byte === 0x61) ? OK : "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
    );
  });
  await using proxy = await startProxy({ upstreams: { servers: [upstream.address], bufferRequests: size } });
  using client = await proxy.connect();
  await client.write(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n${"a".repeat(size - 1)}`);
  assertEquals((await proxy.seen.eventsOf("listening")).length, 1);
  assertEquals(upstream.opened, 0);
  await client.write("a".repeat(1000));
  assertEquals(await begun.promise, size);
  await client.write("a".repeat(100_000 - size - 999));
  assertEquals((await readAnswer(client, "POST")).text, "ok");
});

Deno.test("bufferRequests: what was held back is sent again to the next server", async () => {
  await using upstream = startUpstream({ handler: async (request) => new Response(await request.text()) });
  await using proxy = await startProxy({
    upstreams: { servers: [`127.0.0.1:${deadPort()}`, upstream.address], bufferRequests: "1MiB" },
  });
  const content = Array.from({ length: 30_000 }, (_, i) => String.fromCharCode(97 + i % 26)).join("");
  for (let i = 0; i < 2; i++) {
    using client = await proxy.connect();
    await client.write(`POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ${content.length}\r\n\r\n`);
    for (let at = 0; at < content.length; at += 10_000) await client.write(content.slice(at, at + 10_000));
    assert((await readAnswer(client, "POST")).text === content);
  }
});

Deno.test("bufferRequests: a client that stops, or leaves, costs no server anything", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    listen: { hostname: "127.0.0.1", port: 0, engine: "http1", timeouts: { content: "200ms" } },
    upstreams: { servers: [upstream.address], bufferRequests: "64KiB" },
  });
  using slow = await proxy.connect();
  await slow.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab");
  assertEquals((await readAnswer(slow, "POST")).status, 408);
  // Entries of two workers may arrive in any order.
  await proxy.seen.untilEntries(1);
  using gone = await proxy.connect();
  await gone.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab");
  gone.close();
  await proxy.seen.untilEntries(2);
  assertEquals([proxy.seen.entries.map(({ status }) => status), upstream.requests], [[408, 499], 0]);
});

Deno.test("bufferRequests: a client that waits for 100 (Continue) is asked for its content", async () => {
  await using upstream = startUpstream({ handler: async (request) => new Response(await request.text()) });
  await using proxy = await startProxy({
    listen: { hostname: "127.0.0.1", port: 0, engine: "http1" },
    upstreams: { servers: [upstream.address], bufferRequests: "64KiB" },
  });
  using client = await proxy.connect();
  await client.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
  assertEquals((await readAnswer(client, "POST")).status, 100);
  assertEquals(upstream.requests, 0);
  await client.write("abcd");
  assertEquals((await readAnswer(client, "POST")).text, "abcd");
  assertEquals(upstream.seen[0]?.headers.get("expect"), null);
});
