/** What servers learn of clients by the PROXY protocol. */

import { assertEquals } from "@std/assert";
import type { PoolOptions } from "../../../lib/config/pool_options.ts";
import { readProxyHeader, writeProxyHeader } from "../../../lib/http1/proxy_protocol.ts";
import { closeQuietly } from "../../support/close_quietly.ts";
import type { RawConnection } from "../../support/raw_connection.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { readAnswer, startProxy, type TestProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { testCa } from "../../support/test_ca.ts";
import { tlsUpstream } from "../../support/tls_upstream.ts";

/** Takes the PROXY header of each connection, notes its client, and passes the rest on to a server. */
function behindHeaders({ port }: { port: number }) {
  const clients: (string | null)[] = [];
  const relay = rawUpstream(async (connection) => {
    let bytes = new Uint8Array(0);
    let header = null;
    while (header === null) {
      const more = await connection.read();
      if (more === null) return;
      bytes = Uint8Array.from([...bytes, ...more]);
      header = readProxyHeader(bytes, bytes.length);
    }
    const { length, addresses } = header;
    clients.push(addresses === null ? null : `${addresses.ip}:${addresses.port} ${addresses.localPort}`);
    const server = await Deno.connect({ hostname: "127.0.0.1", port });
    const write = server.writable.getWriter();
    if (bytes.length > length) await write.write(bytes.slice(length));
    const back = (async () => {
      for await (const piece of server.readable) await connection.write(piece);
    })().catch(() => {}).finally(() => connection.close());
    try {
      for (let piece = await connection.read(); piece !== null; piece = await connection.read()) {
        await write.write(piece);
      }
    } catch {
      // Either end has gone.
    }
    closeQuietly(server);
    await back;
  });
  return { relay, clients };
}

/** Asks once on a connection. */
async function askOn(client: RawConnection): Promise<string> {
  await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  return (await readAnswer(client)).text;
}

/** A client as the header names it. */
function nameOf(client: RawConnection, proxy: TestProxy): string {
  const { hostname, port } = client.conn.localAddr as Deno.NetAddr;
  return `${hostname}:${port} ${proxy.port}`;
}

for (const sendProxyProtocol of [1, 2] as const) {
  Deno.test(`sendProxyProtocol ${sendProxyProtocol} says who the client is; connections belong to one client`, async () => {
    await using upstream = startUpstream();
    const { relay, clients } = behindHeaders(upstream);
    await using _relay = relay;
    await using proxy = await startProxy({ upstreams: { servers: [relay.address], sendProxyProtocol } });
    using first = await proxy.connect();
    using second = await proxy.connect();
    for (let round = 0; round < 3; round++) {
      for (const client of [first, second]) assertEquals(await askOn(client), "upstream");
    }
    assertEquals(clients, [nameOf(first, proxy), nameOf(second, proxy)]);
    assertEquals(upstream.requests, 6);
  });
}

Deno.test("sendProxyProtocol passes on the client of another balancer", async () => {
  await using upstream = startUpstream();
  const { relay, clients } = behindHeaders(upstream);
  await using _relay = relay;
  await using proxy = await startProxy({
    listen: { hostname: "127.0.0.1", port: 0, engine: "http1", proxyProtocol: { from: ["loopback"] } },
    upstreams: { servers: [relay.address], sendProxyProtocol: 2 },
    trustedProxies: ["10.0.0.0/8"],
  });
  for (const ip of ["192.0.2.1", "10.0.0.1"]) {
    using client = await proxy.connect();
    await client.write(writeProxyHeader(1, { ip, port: 7, localIp: "192.0.2.9", localPort: 80 }));
    await client.write("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.1\r\n\r\n");
    assertEquals((await readAnswer(client)).text, "upstream");
  }
  assertEquals(clients, ["192.0.2.1:7 80", "203.0.113.1:0 80"]);
});

Deno.test("sendProxyProtocol comes before TLS, in requests and in checks, which are the proxy's own", async () => {
  await using upstream = await tlsUpstream();
  const { cert } = await testCa();
  for (const type of ["tcp", "tls", "http"] as const) {
    const { relay, clients } = behindHeaders(upstream);
    await using _relay = relay;
    const pool: PoolOptions = {
      servers: [relay.address],
      tls: { serverName: "one.one.one.one", caCerts: [cert] },
      healthCheck: { type, interval: "1h" },
      sendProxyProtocol: 1,
    };
    await using proxy = await startProxy({ upstreams: pool });
    using client = await proxy.connect();
    assertEquals([await askOn(client), proxy.servers[0]?.healthy], ["upstream", true]);
    assertEquals(clients, [null, nameOf(client, proxy)], type);
  }
});

Deno.test("sendProxyProtocol is for checks without TLS too, and not for those at another port", async () => {
  await using upstream = startUpstream();
  for (const type of ["tcp", "http"] as const) {
    const { relay, clients } = behindHeaders(upstream);
    await using _relay = relay;
    for (const port of [undefined, upstream.port]) {
      clients.length = 0;
      await using proxy = await startProxy({
        upstreams: {
          servers: [relay.address],
          healthCheck: { type, interval: "1h", ...(port === undefined ? {} : { port }) },
          sendProxyProtocol: 2,
        },
      });
      using client = await proxy.connect();
      assertEquals([await askOn(client), proxy.servers[0]?.healthy], ["upstream", true]);
      assertEquals(clients, [...(port === undefined ? [null] : []), nameOf(client, proxy)]);
    }
  }
});

Deno.test("sendProxyProtocol is also for servers that are added while the proxy runs", async () => {
  await using upstream = startUpstream();
  const { relay, clients } = behindHeaders(upstream);
  await using _relay = relay;
  await using proxy = await startProxy({ upstreams: { servers: [upstream.address], sendProxyProtocol: 1 } });
  const pool = proxy.server.pools.get("default")!;
  pool.addServer(relay.address);
  await pool.removeServer(upstream.address);
  using client = await proxy.connect();
  assertEquals(await askOn(client), "upstream");
  assertEquals(clients, [nameOf(client, proxy)]);
});

Deno.test("sendProxyProtocol: a stale connection is replaced by one of the same client", async () => {
  const clients: unknown[] = [];
  await using upstream = rawUpstream(async (connection) => {
    clients.push(await connection.readUntil("\r\n"));
    await connection.readRequest();
    await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    // Closes at the second request, without a response to it.
    await connection.readHead();
  });
  await using proxy = await startProxy({ upstreams: { servers: [upstream.address], sendProxyProtocol: 1 } });
  using client = await proxy.connect();
  assertEquals([await askOn(client), await askOn(client)], ["ok", "ok"]);
  const { port } = client.conn.localAddr as Deno.NetAddr;
  const header = `PROXY TCP4 127.0.0.1 127.0.0.1 ${port} ${proxy.port}\r\n`;
  assertEquals(clients, [header, header]);
});
