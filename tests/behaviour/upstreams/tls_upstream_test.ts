import { startProxy } from "../../support/start_proxy.ts";
import { startClientCertUpstream } from "../../support/client_cert_upstream.ts";
import { assertEquals } from "@std/assert";
import { eachTransport } from "../../support/each_transport.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { TestCa, testCa } from "../../support/test_ca.ts";
import { tlsUpstream } from "../../support/tls_upstream.ts";

eachTransport(
  "proxy reaches a TLS server by address under another name, as the tutorial does",
  async (start) => {
    await using a = await tlsUpstream({ name: "a", names: ["one.one.one.one"] });
    await using b = await tlsUpstream({ name: "b", names: ["one.one.one.one"] });
    const ca = await testCa();
    await using proxy = await start({
      upstreams: {
        servers: [a.address, b.address],
        tls: { serverName: "one.one.one.one", caCerts: [ca.cert] },
        healthCheck: { type: "tcp", interval: "1s" },
      },
      upstreamRequestFilter: (request) => request.headers.set("host", "one.one.one.one"),
    });
    const texts = [];
    for (let i = 0; i < 4; i++) texts.push((await proxy.ask("GET /dns?x=%41")).text);
    assertEquals(texts.join(""), "abab");
    assertEquals(a.seen.map(({ target, host }) => [target, host]), [
      ["/dns?x=%41", "one.one.one.one"],
      ["/dns?x=%41", "one.one.one.one"],
    ]);
  },
);

eachTransport("proxy sends the client's Host to a TLS server unless told otherwise", async (start) => {
  await using upstream = await tlsUpstream({ names: ["one.one.one.one"] });
  const { cert } = await testCa();
  await using proxy = await start({
    upstreams: { servers: [upstream.address], tls: { serverName: "one.one.one.one", caCerts: [cert] } },
  });
  assertEquals((await proxy.ask("GET /", ["Host: shop.example"])).status, 200);
  assertEquals(upstream.seen[0]!.host, "shop.example");
});

eachTransport("proxy streams content both ways over TLS", async (start) => {
  await using upstream = await tlsUpstream({ handler: (request) => new Response(request.body) });
  const { cert } = await testCa();
  await using proxy = await start({
    upstreams: { servers: [upstream.address], tls: { serverName: "one.one.one.one", caCerts: [cert] } },
  });
  const body = "x".repeat(300_000);
  assertEquals((await proxy.ask("POST /", [`Content-Length: ${body.length}`], body)).text, body);
});

eachTransport("proxy answers 502 when the certificate is for another name", async (start) => {
  await using upstream = await tlsUpstream({ names: ["two.example"] });
  const { cert } = await testCa();
  await using proxy = await start({
    upstreams: { servers: [upstream.address], tls: { serverName: "one.one.one.one", caCerts: [cert] } },
  });
  for (const request of ["GET /", "POST /"]) {
    const answer = await proxy.ask(request);
    assertEquals([answer.status, answer.field("proxy-status")], [
      502,
      "lbproxy; error=tls_certificate_error",
    ]);
    assertEquals(answer.text.includes("two.example"), false);
  }
  assertEquals(upstream.requests, 0);
});

eachTransport(
  "proxy answers 502 when the certificate is of an authority that nobody trusts",
  async (start) => {
    await using upstream = await tlsUpstream();
    const other = await TestCa.create("Other");
    for (const trust of [{}, { caCerts: [other.cert] }]) {
      await using proxy = await start({
        upstreams: { servers: [upstream.address], tls: { serverName: "one.one.one.one", ...trust } },
      });
      assertEquals((await proxy.ask()).field("proxy-status"), "lbproxy; error=tls_certificate_error");
    }
    assertEquals(upstream.requests, 0);
  },
);

eachTransport("proxy answers 502 when the certificate has expired", async (start) => {
  const ca = await testCa();
  const tls = await ca.issue({ names: ["one.one.one.one"], expired: true });
  await using upstream = startUpstream({ tls });
  await using proxy = await start({
    upstreams: { servers: [upstream.address], tls: { serverName: "one.one.one.one", caCerts: [ca.cert] } },
  });
  assertEquals((await proxy.ask()).field("proxy-status"), "lbproxy; error=tls_certificate_error");
});

eachTransport("proxy tries another server when the certificate of one is wrong", async (start) => {
  await using wrong = await tlsUpstream({ names: ["two.example"] });
  await using right = await tlsUpstream({ name: "right" });
  const { cert } = await testCa();
  await using proxy = await start({
    upstreams: {
      servers: [wrong.address, right.address],
      tls: { serverName: "one.one.one.one", caCerts: [cert] },
    },
  });
  for (let i = 0; i < 2; i++) {
    assertEquals((await proxy.ask("POST /", ["Content-Length: 1"], "x")).text, "right");
  }
});

eachTransport("proxy answers 502 when a server does not speak TLS", async (start) => {
  await using upstream = rawUpstream(async (connection) => {
    await connection.read();
    await connection.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  });
  const { cert } = await testCa();
  await using proxy = await start({
    upstreams: { servers: [upstream.address], tls: { serverName: "one.one.one.one", caCerts: [cert] } },
  });
  const answer = await proxy.ask();
  assertEquals([answer.status, answer.field("proxy-status")], [502, "lbproxy; error=tls_protocol_error"]);
});

Deno.test("proxy takes a certificate for another name where verifyHostname is false, of a trusted authority only", async () => {
  await using upstream = await tlsUpstream({ names: ["two.example"] });
  await using secret = await startClientCertUpstream({ names: ["two.example"] });
  const ca = await testCa();
  const { cert } = ca;
  const identity = await ca.issue({ names: ["proxy"], client: true });
  const cases = [
    [upstream.address, { caCerts: [cert] }, 200],
    [upstream.address, {}, 502],
    [upstream.address, { caCerts: [(await TestCa.create("Other")).cert] }, 502],
    [secret.address, { caCerts: [cert], ...identity }, 200],
  ] as const;
  for (const [address, tls, status] of cases) {
    await using proxy = await startProxy({
      upstreams: {
        servers: [address],
        tls: { serverName: "one.one.one.one", verifyHostname: false, ...tls },
        healthCheck: { type: "tcp", interval: "1m" },
      },
    });
    assertEquals((await proxy.ask()).status, status);
  }
});
