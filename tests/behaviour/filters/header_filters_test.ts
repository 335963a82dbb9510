import { assertEquals, assertThrows } from "@std/assert";
import { removeHeaders, securityHeaders, setHeaders } from "../../../lib/filters/headers.ts";
import { engineCan } from "../../support/engine.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { testCa } from "../../support/test_ca.ts";

const answer = (lines: string) => `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n${lines}\r\nok`;

eachTransport("setHeaders() and removeHeaders() edit requests and answers", async (start) => {
  await using upstream = recordingUpstream(answer("X-Old: 1\r\nX-Old: 2\r\nServer: x\r\n"));
  await using proxy = await start({
    upstreams: [upstream.address],
    filters: [
      setHeaders({
        request: { Host: "a.example", "x-set": "1", "x-none": () => null },
        response: { "X-Old": "new", "x-server": (ctx) => ctx.server?.address ?? null },
      }),
      removeHeaders({ request: ["Cookie"], response: ["server"] }),
    ],
  });
  const { head, field } = await proxy.ask("GET /", ["X-Set: theirs", "Cookie: a=b", "X-None: theirs"]);
  assertEquals([
    upstream.sent("host"),
    upstream.sent("x-set"),
    upstream.sent("cookie"),
    upstream.sent("x-none"),
  ], [
    ["a.example"],
    ["1"],
    [],
    ["theirs"],
  ]);
  assertEquals([field("x-server"), field("server")], [upstream.address, undefined]);
  assertEquals(head.match(/x-old: \w+/gi), ["x-old: new"]);
});

Deno.test("setHeaders() refuses values that would begin fields of their own", async () => {
  assertThrows(() => setHeaders({ response: { "x-a": "b\r\nSet-Cookie: c=d" } }), TypeError, "x-a");
  assertThrows(() => setHeaders({ request: { "x a": "b" } }), TypeError, "not the name of a field");
  assertThrows(() => removeHeaders({ response: ["x\r\ny"] }), TypeError, "the name of a field");

  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [setHeaders({
      request: { "x-query": ({ target }) => decodeURIComponent(target.slice(2)) },
    })],
  });
  assertEquals((await proxy.ask("GET /?fine")).status, 200);
  const { status, text } = await proxy.ask("GET /?a%0d%0aX-Admin:%20yes");
  assertEquals([status, text.includes("Admin")], [500, false]);
  assertEquals(upstream.requests.length, 1);
});

Deno.test("setHeaders() tells servers what functions make exactly, or fails", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [setHeaders({ request: { "x-user": ({ target }) => decodeURIComponent(target.slice(2)) } })],
  });
  for (const user of ["admin", "a b", "%25C3%25A9"]) {
    assertEquals((await proxy.ask(`GET /?${user.replace(" ", "%20")}`)).status, 200);
    assertEquals(upstream.sent("x-user"), [decodeURIComponent(user)]);
  }
  const served = upstream.requests.length;
  for (const user of ["admin%20", "%20admin", "admin%C2%A0", "admin%0a"]) {
    assertEquals((await proxy.ask(`GET /?${user}`)).status, 500, user);
  }
  assertEquals(upstream.requests.length, served);
});

Deno.test("setHeaders() sets fields of answers of the proxy's own too", async () => {
  await using proxy = await startProxy({
    upstreams: ["127.0.0.1:1"],
    requestFilter: (_request, { target }) => target === "/own" ? new Response("own") : undefined,
    filters: [setHeaders({ response: { "x-set": "1" } })],
  });
  for (const [target, status] of [["/own", 200], ["/", 502]] as const) {
    const answer = await proxy.ask(`GET ${target}`);
    assertEquals([answer.status, answer.field("x-set")], [status, "1"]);
  }
});

Deno.test("securityHeaders() adds what is missing, over plain HTTP without HSTS", {
  ignore: !engineCan("plain HTTP"),
}, async () => {
  await using upstream = recordingUpstream(
    answer("X-Frame-Options: DENY\r\nServer: x\r\nX-Powered-By: y\r\n"),
  );
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [securityHeaders({ referrerPolicy: false, contentSecurityPolicy: "default-src 'self'" })],
  });
  const { field } = await proxy.ask();
  assertEquals(
    [
      "x-content-type-options",
      "x-frame-options",
      "referrer-policy",
      "content-security-policy",
      "strict-transport-security",
      "server",
      "x-powered-by",
    ].map(field),
    ["nosniff", "DENY", undefined, "default-src 'self'", undefined, undefined, undefined],
  );
});

Deno.test("securityHeaders() adds HSTS over TLS, on answers of the proxy's own too", async () => {
  const ca = await testCa();
  const { cert, key } = await ca.issue({ names: ["localhost"] });
  await using proxy = await startProxy({
    listen: { hostname: "127.0.0.1", port: 0, tls: { cert, key } },
    upstreams: ["127.0.0.1:1"],
    filters: [securityHeaders()],
  });
  using client = Deno.createHttpClient({ caCerts: [ca.cert] });
  const response = await fetch(`https://localhost:${proxy.port}/`, { client });
  await response.body?.cancel();
  assertEquals([response.status, response.headers.get("strict-transport-security")], [
    502,
    "max-age=31536000",
  ]);
  assertEquals(response.headers.get("x-frame-options"), "SAMEORIGIN");
});

Deno.test("securityHeaders() adds HSTS where a trusted proxy has ended TLS", {
  ignore: !engineCan("plain HTTP"),
}, async () => {
  await using upstream = recordingUpstream(answer(""));
  for (const [trusted, expected] of [[["loopback"], "max-age=31536000"], [[], undefined]] as const) {
    await using proxy = await startProxy({
      upstreams: [upstream.address],
      trustedProxies: trusted,
      filters: [securityHeaders()],
    });
    const { field } = await proxy.ask("GET /", ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"]);
    assertEquals(field("strict-transport-security"), expected);
  }
});

Deno.test("securityHeaders() refuses values that would begin fields of their own", () => {
  assertThrows(() => securityHeaders({ frameOptions: "a\nb" }), TypeError, '"frameOptions"');
});
