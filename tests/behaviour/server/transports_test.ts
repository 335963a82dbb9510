import { assertEquals } from "@std/assert";
import { systemClock } from "../../../lib/core/clock.ts";
import { DeadlineWheel } from "../../../lib/core/cancellation.ts";
import { Transports } from "../../../lib/server/proxy_resources.ts";
import { selectTransport, type TransportOptions } from "../../../lib/transport/select_transport.ts";
import { forwardProxy } from "../../support/forward_proxy.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream, type Upstream } from "../../support/start_upstream.ts";
import { testCa } from "../../support/test_ca.ts";
import { tlsUpstream } from "../../support/tls_upstream.ts";

/** An upstream that says in which version it was asked, and for which host. */
function versionUpstream(): Upstream {
  return startUpstream({ handler: sayVersion });
}

function sayVersion(request: Request): Response {
  const { host } = new URL(request.url);
  return new Response(`${host} ${request.headers.get("host")} ${request.headers.get("x-forwarded-host")}`);
}

Deno.test("Transports.get() gives pools with the same plan one transport, and others their own", () => {
  using wheel = new DeadlineWheel({ clock: systemClock, tickMs: 20 });
  using transports = new Transports({ clock: systemClock, wheel });
  const get = (options: TransportOptions) => transports.get(selectTransport(options));
  const first = get({});
  assertEquals(get({ transport: "http1", connections: { maxIdle: 256 } }) === first, true);
  assertEquals(get({ connections: { maxIdle: 8 } }) === first, false);
  assertEquals(get({ transport: "fetch" }) === first, false);
  assertEquals(get({ protocol: "h2" }) === get({ transport: "fetch" }), false);
  assertEquals(get({ proxy: "http://a:1" }) === get({ proxy: "http://a:2" }), false);
  assertEquals(get({ proxy: "http://a:1" }) === get({ proxy: "http://a:1", transport: "fetch" }), true);
  assertEquals(transports.size, 6);
});

Deno.test("proxy speaks HTTP/2 to servers without TLS, and hands the host on", async () => {
  await using upstream = versionUpstream();
  await using proxy = await startProxy({ upstreams: { servers: [upstream.address], protocol: "h2" } });
  const answers = await Promise.all(
    Array.from({ length: 5 }, () => proxy.ask("GET /", ["Host: shop.example"])),
  );
  // The host comes by `:authority` alone, which the runtime shows as the URL.
  assertEquals(answers.map(({ text }) => text), Array(5).fill("shop.example null shop.example"));
});

Deno.test("proxy speaks HTTP/2 to servers with TLS under the name of the certificate", async () => {
  await using upstream = await tlsUpstream({ handler: sayVersion });
  const tls = { serverName: "one.one.one.one", caCerts: [(await testCa()).cert] };
  await using proxy = await startProxy({ upstreams: { servers: [upstream.address], tls, protocol: "h2" } });
  const answer = await proxy.ask("GET /", ["Host: shop.example"]);
  assertEquals(answer.text, "shop.example null shop.example");
});

Deno.test("proxy shows its certificate to servers that it speaks HTTP/2 with", async () => {
  const ca = await testCa();
  await using server = await startProxy({
    upstreams: ["127.0.0.1:1"],
    listen: {
      hostname: "127.0.0.1",
      port: 0,
      engine: "http1",
      tls: { ...await ca.issue({ names: ["localhost"] }), clientCertificates: { ca: ca.cert } },
    },
    requestFilter: ({ headers }, { client }) =>
      new Response(`${client.certificate?.subject} ${headers.get("host")}`),
  });
  const identity = await ca.issue({ names: ["proxy.example"], client: true });
  const tls = { serverName: "localhost", caCerts: [ca.cert], ...identity };
  await using proxy = await startProxy({ upstreams: { servers: [server.address], tls, protocol: "h2" } });
  const answer = await proxy.ask("GET /", ["Host: shop.example"]);
  assertEquals([answer.status, answer.text], [200, "CN=proxy.example shop.example"]);
  assertEquals(server.seen.entries[0]?.status, 200);
});

Deno.test("proxy answers 502 when a server does not speak the HTTP/2 that it is to speak", async () => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.read();
    await connection.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  });
  await using proxy = await startProxy({ upstreams: { servers: [upstream.address], protocol: "h2" } });
  assertEquals((await proxy.ask()).status, 502);
});

for (const scheme of ["http", "socks5"] as const) {
  for (const credentials of [undefined, "me:p@ss:word"]) {
    const how = `${scheme}${credentials === undefined ? "" : " with a password"}`;

    Deno.test(`proxy reaches plain servers through a proxy (${how})`, async () => {
      await using upstream = versionUpstream();
      await using outbound = forwardProxy({ scheme, ...(credentials === undefined ? {} : { credentials }) });
      await using proxy = await startProxy({
        upstreams: { servers: [upstream.address], proxy: outbound.url },
      });
      const answer = await proxy.ask("GET /a?b", ["Host: shop.example"]);
      assertEquals([answer.status, answer.text], [200, "shop.example shop.example shop.example"]);
      assertEquals(outbound.asked, [
        scheme === "http" ? `GET http://${upstream.address}/a?b HTTP/1.1` : `SOCKS ${upstream.address}`,
      ]);
    });

    Deno.test(`proxy reaches servers with TLS through a proxy, under another name too (${how})`, async () => {
      await using upstream = await tlsUpstream({ names: ["one.one.one.one", "127.0.0.1"] });
      await using outbound = forwardProxy({ scheme, ...(credentials === undefined ? {} : { credentials }) });
      const caCerts = [(await testCa()).cert];
      const line = scheme === "http" ? `CONNECT ${upstream.address} HTTP/1.1` : `SOCKS ${upstream.address}`;
      for (const tls of [{ caCerts }, { caCerts, serverName: "one.one.one.one" }]) {
        for (const protocol of ["http1", "h2"] as const) {
          const upstreams = { servers: [upstream.address], tls, protocol, proxy: outbound.url };
          await using proxy = await startProxy({ upstreams });
          assertEquals((await proxy.ask()).text, "upstream");
          assertEquals(outbound.asked.splice(0), [line]);
        }
      }
    });
  }

  Deno.test(`proxy answers 502 when its own proxy leads nowhere (${scheme})`, async () => {
    await using upstream = await tlsUpstream({ names: ["127.0.0.1"] });
    await using outbound = forwardProxy({ scheme, credentials: "me:right" });
    const wrong = outbound.url.replace("right", "wrong");
    await using plain = await startProxy({ upstreams: { servers: ["127.0.0.1:2"], proxy: wrong } });
    assertEquals((await plain.ask()).status, 502);
    for (const serverName of ["127.0.0.1", "other.example"]) {
      const tls = { serverName, caCerts: [(await testCa()).cert] };
      await using proxy = await startProxy({ upstreams: { servers: [upstream.address], tls, proxy: wrong } });
      const answer = await proxy.ask();
      assertEquals([answer.status, upstream.requests], [502, 0]);
      assertEquals(answer.text.includes("wrong"), false);
    }
  });
}

Deno.test("proxy reaches servers with an IPv6 address through a SOCKS proxy", async () => {
  await using upstream = await tlsUpstream({ names: ["one.one.one.one"] });
  await using outbound = forwardProxy({ scheme: "socks5", to: upstream.address });
  const tls = { caCerts: [(await testCa()).cert], serverName: "one.one.one.one" };
  await using proxy = await startProxy({
    upstreams: { servers: ["[2001:db8::1]:443"], tls, proxy: outbound.url },
  });
  assertEquals((await proxy.ask()).text, "upstream");
  assertEquals(outbound.asked, ["SOCKS [2001:db8::1]:443"]);
});

Deno.test("proxy ends exchanges that take longer than the total timeout", async () => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.readRequest();
    await connection.untilClosed();
  });
  await using proxy = await startProxy({
    upstreams: { servers: [upstream.address], timeouts: { total: "100ms" } },
  });
  assertEquals((await proxy.ask()).status, 504);
});
