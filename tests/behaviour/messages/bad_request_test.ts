import { assertEquals, assertStringIncludes } from "@std/assert";
import { latin1Text, RawConnection } from "../../support/raw_connection.ts";
import { ENGINE, engineCan } from "../../support/engine.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { rawClient } from "../../support/raw_client.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy, type TestProxy } from "../../support/start_proxy.ts";

/** Sends bytes as they are and tells the status of the answer. */
async function statusOf(proxy: TestProxy, bytes: string): Promise<number> {
  using connection = await proxy.connect();
  await connection.write(bytes);
  return Number((await connection.readHead())?.slice(9, 12));
}

/** The status of a head that is too large. */
const HUGE = ENGINE === "deno" ? 400 : 431;

/** Requests whose content the runtime gives no access to. */
const GET_WITH_CONTENT: readonly (readonly [claim: string, status: number, bytes: string])[] = [
  ["by GET with content", 400, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"],
  ["by HEAD with content", 400, "HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"],
  [
    "by GET with chunked content",
    400,
    "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
  ],
];

/** Requests that no server may see, each with the answer to it. */
const REFUSED: readonly (readonly [claim: string, status: number, bytes: string])[] = [
  ["without a Host field", 400, "GET / HTTP/1.1\r\n\r\n"],
  ...engineCan("HTTP/1.0 without Host")
    ? []
    : [["of HTTP/1.0 without a Host field", 400, "GET / HTTP/1.0\r\n\r\n"] as const],
  ["by OPTIONS without a Host field but with others", 400, "OPTIONS / HTTP/1.1\r\nAccept: */*\r\n\r\n"],
  ["with an empty Host field", 400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"],
  ["with two Host fields", 400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"],
  ["with the same Host field twice", 400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"],
  ["whose Host has a slash", 400, "GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n"],
  ["whose Host has a space", 400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"],
  ["whose Host has a tab", 400, "GET / HTTP/1.1\r\nHost: a\tb\r\n\r\n"],
  ["whose Host has user info", 400, "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n"],
  ["whose Host is a list", 400, "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n"],
  ["whose Host has a query", 400, "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n"],
  ["whose Host has a fragment", 400, "GET / HTTP/1.1\r\nHost: a#b\r\n\r\n"],
  ["whose Host has a backslash", 400, "GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n"],
  ["whose Host is not ASCII", 400, "GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n"],
  ["whose port is not a number", 400, "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"],
  ["whose absolute form names another port", 400, "GET http://h:81/ HTTP/1.1\r\nHost: h:80\r\n\r\n"],
  ["whose absolute form names another host", 400, "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n"],
  ["whose absolute form has user info", 400, "GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n"],
  ["whose absolute form has another scheme", 400, "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n"],
  ["whose target has a fragment", 400, "GET /x#y HTTP/1.1\r\nHost: h\r\n\r\n"],
  ["whose target has no slash", 400, "GET x HTTP/1.1\r\nHost: h\r\n\r\n"],
  ...engineCan("bytes that are no UTF-8")
    ? []
    : [["whose target is no UTF-8", 400, "GET /\xe9 HTTP/1.1\r\nHost: h\r\n\r\n"] as const],
  ...engineCan("OPTIONS *")
    ? []
    : [["by OPTIONS of the whole server", 400, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"] as const],
  ["by CONNECT", 501, "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"],
  ["by CONNECT to another host", 501, "CONNECT other:443 HTTP/1.1\r\nHost: h\r\n\r\n"],
  ["by TRACE", 405, "TRACE / HTTP/1.1\r\nHost: h\r\n\r\n"],
  ...engineCan("content of GET") ? [] : GET_WITH_CONTENT,
  [
    "with a length and a transfer coding",
    400,
    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
  ],
  [
    "with two lengths",
    400,
    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
  ],
  ["with a list of lengths", 400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc"],
  [
    "with a length twice",
    400,
    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
  ],
  ["with a signed length", 400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc"],
  [
    "of HTTP/1.0 with a transfer coding",
    400,
    "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
  ],
  [
    "with a transfer coding twice",
    400,
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  ],
  [
    "with a transfer coding that hides the length",
    400,
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
  ],
  ["with a length in hexadecimal", 400, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x3\r\n\r\nabc"],
  ["with a carriage return in a field", 400, "GET / HTTP/1.1\r\nHost: h\r\nX: a\rEvil: 1\r\n\r\n"],
  ["with a zero byte in a field", 400, "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n"],
  [
    "with a transfer coding that the proxy cannot undo",
    501,
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
  ],
  ["with a space before a colon", 400, "GET / HTTP/1.1\r\nHost : h\r\n\r\n"],
  ["with a folded field", 400, "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n"],
  ["with a long field", HUGE, `GET / HTTP/1.1\r\nHost: h\r\nX: ${"a".repeat(66_000)}\r\n\r\n`],
  ["with many fields", HUGE, `GET / HTTP/1.1\r\nHost: h\r\n${"X: a\r\n".repeat(256)}\r\n`],
  ["with a long target", HUGE === 431 ? 414 : HUGE, `GET /${"a".repeat(66_000)} HTTP/1.1\r\nHost: h\r\n\r\n`],
];

/** Targets that the log shows otherwise: the absolute form without the host, and what the runtime shows so. */
const LOGGED: Readonly<Record<string, string>> = {
  "http://h:81/": "/",
  "http://a/": "/",
  ...engineCan("the target as it came") ? {} : { "http://u@h/": "/" },
  "*": "/*",
};

for (const [claim, status, bytes] of REFUSED) {
  Deno.test(`proxy refuses a request ${claim}`, async () => {
    await using upstream = recordingUpstream();
    await using proxy = await startProxy({ upstreams: [upstream.address] });
    assertEquals(await statusOf(proxy, bytes), status);
    assertEquals(upstream.requests, []);
    const [method, target] = bytes.split(" ");
    // Nothing where the runtime has refused it.
    if (ENGINE !== "deno") await proxy.seen.untilEntries(1);
    for (const entry of proxy.seen.entries) {
      const shown = LOGGED[target!] ?? target!;
      assertEquals([entry.method, entry.target.slice(0, 1000)], [method, shown.slice(0, 1000)]);
    }
  });
}

Deno.test({
  name: "proxy refuses half a head of a client that has shut down its side, and says nothing to an empty one",
  ignore: !engineCan("400 to half a head"),
  fn: async () => {
    await using upstream = recordingUpstream();
    await using proxy = await startProxy({ upstreams: [upstream.address] });
    for (const half of ["G", "GET /x", "GET / HTTP/1.1\r\nHo", "GET / HTTP/1.1\r\nHost: h\r\n", "", "\r\n"]) {
      using connection = await proxy.connect();
      await connection.write(half);
      await connection.closeWrite();
      const text = latin1Text(await connection.readToEnd());
      assertEquals([half, text.slice(0, 12)], [half, half.trim() === "" ? "" : "HTTP/1.1 400"]);
    }
    assertEquals(upstream.requests, []);
  },
});

eachTransport("proxy forwards heads that are as large as they may be", async (start) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({ upstreams: [upstream.address] });
  const sizes = engineCan("heads above 32 KiB") ? [65_000, 65_000] : [32_000, 16_000];
  const [long, longTarget] = sizes.map((size) => "a".repeat(size));
  assertEquals((await proxy.ask("GET /", [`X: ${long}`])).status, 200);
  assertEquals(upstream.sent("x"), [long]);
  assertEquals((await proxy.ask(`GET /${longTarget}`)).status, 200);
  assertEquals(upstream.requests[1]!.startLine, `GET /${longTarget} HTTP/1.1`);
  const many = Array.from({ length: 127 }, (_, i) => `X-${i}: ${i}`);
  assertEquals((await proxy.ask("GET /", many)).status, 200);
  assertEquals(upstream.sent("x-126"), ["126"]);
});

Deno.test("proxy serves requests whose host is odd but allowed", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address] });
  for (
    const host of ["h", "h:80", "[::1]", "[::1]:8080", "127.0.0.1:1", "a_b.example", "xn--e9.example", "h:"]
  ) {
    assertEquals((await proxy.ask("GET /", [`Host: ${host}`])).status, 200, host);
    assertEquals(upstream.sent("host"), [host]);
  }
});

Deno.test("proxy passes on nothing of a chunked content whose framing can be read in two ways", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address] });
  const second = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
  const contents = [
    `3\nabc\n0\n\n${second}`,
    `+3\r\nabc\r\n0\r\n\r\n`,
    `10000000000000003\r\nabc\r\n0\r\n\r\n`,
  ];
  for (const content of contents) {
    using connection = await proxy.connect();
    await connection.write(`POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n${content}`);
    // The connection ends with or without an answer: what comes after such a content is not a request.
    await connection.readToEnd().catch(() => {});
  }
  assertEquals(upstream.requests.filter(({ body }) => body.length > 0), []);
  assertEquals(upstream.requests.filter(({ startLine }) => startLine.includes("smuggled")), []);
});

Deno.test("proxy closes the connection of a CONNECT with content, whose end is in doubt", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: ["127.0.0.1:0", { hostname: "127.0.0.1", port: 0, redirect: "https" }],
  });
  const [forwarding, redirecting] = proxy.server.addresses.map((address) =>
    Number(address.split(":").at(-1))
  );
  const second = "GET /second HTTP/1.1\r\nHost: h\r\n\r\n";
  const contents = [
    "Content-Length: 3\r\n\r\nabc",
    "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
  ];
  for (const content of contents) {
    const redirected = ENGINE === "deno" ? 400 : 501;
    for (const [port, status] of [[forwarding!, 501], [redirecting!, redirected]] as const) {
      using connection = await rawClient(port);
      await connection.write(`CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n${content}${second}`);
      const text = latin1Text(await connection.readToEnd());
      assertEquals(text.split("HTTP/1.1 ").slice(1).map((each) => each.slice(0, 3)), [String(status)]);
      assertStringIncludes(text.toLowerCase(), "connection: close\r\n");
    }
  }
  assertEquals(upstream.requests, []);
});

Deno.test({
  name: "proxy sends the path of an absolute form, and the slash that one without a path stands for",
  ignore: !engineCan("absolute form"),
  fn: async () => {
    await using upstream = recordingUpstream();
    await using proxy = await startProxy({ upstreams: [upstream.address] });
    for (const target of ["http://h/a%2F?b", "http://h", "http://h?q=/a"]) await proxy.ask(`GET ${target}`);
    assertEquals(upstream.requests.map(({ startLine }) => startLine.split(" ")[1]), [
      "/a%2F?b",
      "/",
      "/?q=/a",
    ]);
  },
});

Deno.test({
  name: "proxy compares the host of an absolute form, and its scheme, without regard to case",
  ignore: !engineCan("absolute form"),
  fn: async () => {
    await using upstream = recordingUpstream();
    await using proxy = await startProxy({ upstreams: [upstream.address] });
    for (
      const [target, host] of [["HTTP://h/a", "h"], ["http://H:80/a", "h:80"], [
        "hTTp://shop.Example/a",
        "SHOP.example",
      ]]
    ) {
      assertEquals((await proxy.ask(`GET ${target}`, [`Host: ${host}`])).status, 200, target);
      assertEquals(upstream.requests.at(-1)!.startLine, "GET /a HTTP/1.1");
      assertEquals(upstream.sent("host"), [host]);
    }
  },
});

eachTransport("proxy serves a health check of HTTP/1.0 without fields", async (start) => {
  await using upstream = recordingUpstream();
  await using unix = await Deno.makeTempDir().then((directory) => ({
    path: `${directory}/proxy.sock`,
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  }));
  await using proxy = await start({
    listen: ["127.0.0.1:0", `unix:${unix.path}`],
    upstreams: [upstream.address],
  });
  const byUnix = new RawConnection(await Deno.connect({ transport: "unix", path: unix.path }));
  for (using connection of [await proxy.connect(), byUnix]) {
    await connection.write("OPTIONS / HTTP/1.0\r\n\r\n");
    const { startLine, body } = await connection.readResponse("OPTIONS");
    // The runtime says the client's version, and not its own (RFC 9110 section 6.2).
    const version = ENGINE === "deno" ? "1.0" : "1.1";
    assertEquals([startLine, latin1Text(body)], [`HTTP/${version} 200 OK`, "ok"]);
    await connection.untilClosed();
    assertEquals(upstream.requests.at(-1)!.startLine, "OPTIONS / HTTP/1.1");
    assertEquals(upstream.sent("host"), ["localhost"]);
  }
});

Deno.test("proxy tells a client what is wrong with its request", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address] });
  const answer = await proxy.ask("GET /", ["Host: a/b"]);
  assertEquals(answer.field("content-type"), "application/problem+json");
  assertEquals(answer.field("proxy-status"), "lbproxy; error=http_request_error");
  assertStringIncludes(JSON.parse(answer.text).detail, '"a/b"');
  assertEquals((await proxy.ask("TRACE /")).field("allow"), "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
});

Deno.test("proxy logs a refused request like any other", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address] });
  await proxy.ask("GET /x?y", ["Host: a b"]);
  const { status, error, method, server, attempts } = await proxy.seen.untilEntries(1);
  assertEquals({ status, error, method, server, attempts }, {
    status: 400,
    error: "http_request_error",
    method: "GET",
    server: null,
    attempts: 0,
  });
});
