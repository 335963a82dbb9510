/** Who a client is by the PROXY protocol. */

import { assertEquals } from "@std/assert";
import type { ProxyAddresses } from "../../../lib/http1/proxy_protocol.ts";
import { writeProxyHeader } from "../../../lib/http1/proxy_protocol.ts";
import { PREFACE } from "../../../lib/http2/frame_reader.ts";
import { FLAG, FRAME } from "../../../lib/http2/frame_type.ts";
import { frame } from "../../support/http2_pair.ts";
import { RawConnection } from "../../support/raw_connection.ts";
import { RawHttp2 } from "../../support/raw_http2.ts";
import { readAnswer, startProxy, type TestConfig } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const CLIENT: ProxyAddresses = { ip: "192.0.2.7", port: 4711, localIp: "198.51.100.1", localPort: 80 };
const GET = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

function listen(from: readonly string[] = ["loopback"], options = {}) {
  return { hostname: "127.0.0.1", port: 0, engine: "http1", proxyProtocol: { from }, ...options } as const;
}

for (const version of [1, 2] as const) {
  Deno.test(`PROXY protocol, version ${version}: its client counts for limits, servers and logs`, async () => {
    await using upstream = startUpstream();
    const limiter = { key: "ip", limit: 1, window: "1h" } as const;
    await using proxy = await startProxy({ listen: listen(), upstreams: [upstream.address], limiter });
    const statuses = [];
    for (const ip of ["192.0.2.7", "192.0.2.8", "192.0.2.7", "2001:db8::1"]) {
      using client = await proxy.connect();
      await client.write(writeProxyHeader(version, { ...CLIENT, ip }));
      await client.write(GET);
      statuses.push((await readAnswer(client)).status);
    }
    assertEquals(statuses, [200, 200, 429, 200]);
    assertEquals(upstream.seen.map(({ headers }) => headers.get("x-forwarded-for")), [
      "192.0.2.7",
      "192.0.2.8",
      "2001:db8::1",
    ]);
    await proxy.seen.untilEntries(4);
    assertEquals(proxy.seen.entries.map(({ clientIp }) => clientIp), [
      "192.0.2.7",
      "192.0.2.8",
      "192.0.2.7",
      "2001:db8::1",
    ]);
  });

  Deno.test(`PROXY protocol, version ${version}: header and requests come in any pieces`, async () => {
    await using upstream = startUpstream();
    await using proxy = await startProxy({ listen: listen(), upstreams: [upstream.address] });
    const header = writeProxyHeader(version, CLIENT);
    const all = Uint8Array.from([...header, ...new TextEncoder().encode(GET + GET)]);
    for (const pieces of [1, 2, 7, all.length]) {
      using client = await proxy.connect();
      const size = Math.ceil(all.length / pieces);
      for (let at = 0; at < all.length; at += size) {
        await client.write(all.subarray(at, at + size));
        // Each piece in a read of its own.
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
      for (let i = 0; i < 2; i++) assertEquals((await readAnswer(client)).status, 200);
    }
    assertEquals(
      upstream.seen.map(({ headers }) => headers.get("x-forwarded-for")),
      new Array(8).fill("192.0.2.7"),
    );
  });

  Deno.test(`PROXY protocol, version ${version}: HTTP/2 begins in the same segment as the header, or later`, async () => {
    await using upstream = startUpstream();
    await using proxy = await startProxy({
      listen: listen(["loopback"], { http2: true }),
      upstreams: [upstream.address],
    });
    const header = writeProxyHeader(version, CLIENT);
    const { SETTINGS, HEADERS } = FRAME;
    // GET http://h/ without tables.
    const get = [0x82, 0x86, 0x84, 0x01, 0x01, 0x68];
    const request = frame(HEADERS, FLAG.END_HEADERS | FLAG.END_STREAM, 1, get);
    const all = Uint8Array.from([...header, ...PREFACE, ...frame(SETTINGS, 0, 0), ...request]);
    for (const first of [all.length, header.length, header.length + 5]) {
      using connection = await proxy.connect();
      await connection.write(all.subarray(0, first));
      // Each piece in a read of its own.
      await new Promise((resolve) => setTimeout(resolve, 0));
      await connection.write(all.subarray(first));
      const client = new RawHttp2(connection);
      assertEquals(client.fieldsOf(await client.until(HEADERS))[0], [":status", "200"]);
    }
    assertEquals(
      upstream.seen.map(({ headers }) => headers.get("x-forwarded-for")),
      new Array(3).fill("192.0.2.7"),
    );
  });
}

Deno.test("PROXY protocol: a balancer that speaks for itself is the client", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ listen: listen(), upstreams: [upstream.address] });
  for (const header of [writeProxyHeader(1, null), writeProxyHeader(2, null)]) {
    using client = await proxy.connect();
    await client.write(header);
    await client.write(GET);
    assertEquals((await readAnswer(client)).status, 200);
  }
  assertEquals(upstream.seen.map(({ headers }) => headers.get("x-forwarded-for")), [
    "127.0.0.1",
    "127.0.0.1",
  ]);
  // A check that connects and goes away is no request.
  (await proxy.connect()).close();
  await proxy.seen.untilEntries(2);
  assertEquals(proxy.seen.entries.length, 2);
});

Deno.test("PROXY protocol: nothing of the kind is taken from those who are not trusted", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ listen: listen(["192.0.2.0/24"]), upstreams: [upstream.address] });
  using client = await proxy.connect();
  await client.write(GET);
  assertEquals((await readAnswer(client)).status, 200);
  assertEquals(upstream.seen[0]?.headers.get("x-forwarded-for"), "127.0.0.1");
  for (const version of [1, 2] as const) {
    using liar = await proxy.connect();
    await liar.write(writeProxyHeader(version, CLIENT));
    await liar.write(GET);
    assertEquals((await readAnswer(liar)).status, 400);
    await liar.untilClosed();
  }
  assertEquals(upstream.requests, 1);
});

Deno.test("PROXY protocol: a trusted balancer without a header gets 400, and the log says why", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ listen: listen(), upstreams: [upstream.address] });
  for (const bytes of [GET, "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n" + GET]) {
    using client = await proxy.connect();
    await client.write(bytes);
    const { status, field } = await readAnswer(client);
    assertEquals([status, field("connection")], [400, "close"]);
    await client.untilClosed();
  }
  await proxy.seen.untilEntries(2);
  assertEquals([upstream.requests, proxy.seen.entries.map(({ status }) => status)], [0, [400, 400]]);
});

Deno.test("PROXY protocol: a balancer that does not finish its header is left after the time of a head", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    listen: listen(undefined, { timeouts: { head: "200ms" } }),
    upstreams: [upstream.address],
  });
  using silent = await proxy.connect();
  using slow = await proxy.connect();
  await slow.write("PROXY TCP4 ");
  assertEquals([await silent.read(), await slow.read()], [null, null]);
});

Deno.test("PROXY protocol: its client is believed in X-Forwarded-For only when it is a trusted proxy", async () => {
  await using upstream = startUpstream();
  const config: TestConfig = {
    listen: listen(),
    upstreams: [upstream.address],
    trustedProxies: ["10.0.0.0/8"],
  };
  await using proxy = await startProxy(config);
  for (const ip of ["192.0.2.7", "10.1.2.3"]) {
    using client = await proxy.connect();
    await client.write(writeProxyHeader(2, { ...CLIENT, ip }));
    await client.write("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n");
    assertEquals((await readAnswer(client)).status, 200);
  }
  assertEquals(upstream.seen.map(({ headers }) => headers.get("x-forwarded-for")), [
    "192.0.2.7",
    "203.0.113.5, 10.1.2.3",
  ]);
  await proxy.seen.untilEntries(2);
  assertEquals(proxy.seen.entries.map(({ clientIp }) => clientIp), ["192.0.2.7", "203.0.113.5"]);
});

Deno.test("PROXY protocol: also over unix sockets", async () => {
  const folder = await Deno.makeTempDir();
  await using upstream = startUpstream();
  {
    const unix = `${folder}/a.sock`;
    await using _proxy = await startProxy({
      listen: { unix, proxyProtocol: { from: ["unix"] }, engine: "http1" },
      upstreams: [upstream.address],
    });
    using client = new RawConnection(await Deno.connect({ transport: "unix", path: unix }));
    await client.write(writeProxyHeader(1, CLIENT));
    await client.write(GET);
    assertEquals((await readAnswer(client)).status, 200);
  }
  assertEquals(upstream.seen[0]?.headers.get("x-forwarded-for"), "192.0.2.7");
  await Deno.remove(folder, { recursive: true });
});

Deno.test("PROXY protocol: connections that have not said anything are closed when the proxy stops", async () => {
  await using upstream = startUpstream();
  const proxy = await startProxy({ listen: listen(), upstreams: [upstream.address] });
  using client = await proxy.connect();
  using asked = await proxy.connect();
  await asked.write(writeProxyHeader(1, CLIENT));
  await asked.write(GET);
  assertEquals((await readAnswer(asked)).status, 200);
  await proxy[Symbol.asyncDispose]();
  assertEquals(await client.read(), null);
});
