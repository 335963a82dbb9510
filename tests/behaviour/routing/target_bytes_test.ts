/** Bytes above 0x7F in targets. */

import { assertEquals } from "@std/assert";
import type { RouteOptions } from "../../../lib/config/route_options.ts";
import { redirect, rewritePath } from "../../../lib/filters/redirect_and_rewrite.ts";
import { SCHEME } from "../../support/engine.ts";
import { eachTransport, transportCan } from "../../support/each_transport.ts";
import { askHttp2 } from "../../support/http2_client.ts";
import { latin1Text, utf8Bytes } from "../../support/raw_connection.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";

/** The bytes of a text in UTF-8, one character each, as requests of a test are written. */
const bytes = (text: string) => latin1Text(utf8Bytes(text));

const TEXTS = ["café", "日本", "😀", "\u0085", "\u00a0", "\ufeff", "é?q=é&日", "%e9é"];

eachTransport("bytes above 0x7F of a target reach the server as they came", async (start, transport) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({ upstreams: [upstream.address] });
  for (const text of TEXTS) {
    assertEquals((await proxy.ask(`GET /${bytes(text)}`)).status, 200, text);
    // Otherwise it is the same URI.
    const sent = transportCan(transport, "bytes above 0x7F")
      ? bytes(text)
      : encodeURI(text).replaceAll("%25", "%");
    assertEquals(upstream.requests.at(-1)!.startLine, `GET /${sent} HTTP/1.1`);
  }
});

Deno.test("bytes above 0x7F of a target reach the server as they came by HTTP/2", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    listen: { hostname: "127.0.0.1", port: 0, engine: "deno" },
    upstreams: [upstream.address],
  });
  for (const text of TEXTS) {
    assertEquals(await askHttp2(proxy.port, `/${bytes(text)}`), "ok", text);
    assertEquals(upstream.requests.at(-1)!.startLine, `GET /${bytes(text)} HTTP/1.1`);
  }
});

Deno.test("bytes that are no UTF-8 are the client's mistake where the runtime reads them", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    listen: { hostname: "127.0.0.1", port: 0, engine: "deno" },
    upstreams: [upstream.address],
  });
  for (const text of ["\xe9", "\xc3", "\xff", "\xc0\xae", "\xed\xa0\x80", "?\xe9"]) {
    assertEquals((await proxy.ask(`GET /${text}`)).status, 400, text);
    assertEquals(await askHttp2(proxy.port, `/${text}`), null, text);
  }
  assertEquals(upstream.requests, []);
});

const ROUTES: readonly (readonly [name: string, route: RouteOptions, sent: string])[] = [
  ["stripPrefix", { rewrite: { stripPrefix: "/a" } }, "/caf%C3%A9?%E6%97%A5"],
  ["prefix", { rewrite: { prefix: "/b" } }, "/b/a/caf%C3%A9?%E6%97%A5"],
  ["replace", { rewrite: { replace: [/caf(.*)$/, "日$1"] } }, "/a/%E6%97%A5%C3%A9?%E6%97%A5"],
  ["a function", { rewrite: (target) => `${target}&é` }, "/a/caf%C3%A9?%E6%97%A5&%C3%A9"],
  ["rewritePath", { filters: [rewritePath("/a", "/ü")] }, "/%C3%BC/caf%C3%A9?%E6%97%A5"],
  [
    "rewritePath by a function",
    { filters: [rewritePath((target) => `${decodeURI(target)}&é`)] },
    "/a/caf%C3%A9?%E6%97%A5&%C3%A9",
  ],
  [
    "a filter",
    {
      filters: [{
        upstreamRequestFilter: (request) => {
          request.target = `/é${request.target}`;
        },
      }],
    },
    "/%C3%A9/a/caf%C3%A9?%E6%97%A5",
  ],
];

for (const [name, route, sent] of ROUTES) {
  eachTransport(
    `a target with bytes above 0x7F goes percent-encoded where ${name} changes it`,
    async (start) => {
      await using upstream = recordingUpstream();
      await using proxy = await start({ upstreams: [upstream.address], routes: [route] });
      assertEquals((await proxy.ask(`GET /a/${bytes("café?日")}`)).status, 200);
      assertEquals(upstream.requests[0]!.startLine, `GET ${sent} HTTP/1.1`);
    },
  );
}

Deno.test("a target with bytes above 0x7F goes as it came through filters that leave it alone, each time", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: { servers: ["127.0.0.1:1", upstream.address], balance: "first" },
    upstreamRequestFilter: async (request) => void request.headers.set("x-a", await Promise.resolve("b")),
  });
  assertEquals((await proxy.ask(`GET /${bytes("日本")}`)).status, 200);
  assertEquals(upstream.requests[0]!.startLine, `GET /${bytes("日本")} HTTP/1.1`);
});

Deno.test("redirect() percent-encodes bytes above 0x7F", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    filters: [
      redirect("/a", "/ü"),
      redirect(/^\/b(.*)$/, "https://new.example/é$1"),
      redirect((ctx) => ctx.target.startsWith("/c") ? decodeURI(ctx.target) : null),
    ],
  });
  const locations: (string | undefined)[] = [];
  for (const path of ["/a/日", "/b/日?é", "/c/日"]) {
    const { status, field } = await proxy.ask(`GET ${bytes(path)}`);
    assertEquals(status, 302, path);
    locations.push(field("location"));
  }
  assertEquals(locations, [
    "/%C3%BC/%E6%97%A5",
    "https://new.example/%C3%A9/%E6%97%A5?%C3%A9",
    "/c/%E6%97%A5",
  ]);
});

Deno.test("functions and the log see bytes above 0x7F percent-encoded", async () => {
  await using upstream = recordingUpstream();
  const seen: [string, string][] = [];
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    newContext: (request) => void seen.push(["newContext", request.url]),
    requestFilter: (request, ctx) =>
      void seen.push(["requestFilter", request.clone().url + " " + ctx.target]),
    limiter: {
      key: (request, ctx) => {
        seen.push(["key", request.url + " " + ctx.target]);
        return null;
      },
      limit: 1,
      window: "1s",
    },
    routes: [{
      rewrite: (target, ctx) => {
        seen.push(["rewrite", target + " " + ctx.target]);
        return target;
      },
    }],
    upstreamRequestFilter: (request) => void seen.push(["upstreamRequestFilter", request.target]),
    logging: (ctx) => void seen.push(["logging", ctx.target]),
  });
  assertEquals((await proxy.ask(`GET /${bytes("é")}`, [`Host: ${proxy.address}`])).status, 200);
  const { target } = await proxy.seen.untilEntries(1);
  const [url, path] = [`${SCHEME}://${proxy.address}/%C3%A9`, "/%C3%A9"];
  assertEquals([...seen, ["log", target]], [
    ["newContext", url],
    ["key", `${url} ${path}`],
    ["requestFilter", `${url} ${path}`],
    ["rewrite", `${path} ${path}`],
    ["upstreamRequestFilter", path],
    ["logging", path],
    ["log", path],
  ]);
  assertEquals(upstream.requests[0]!.startLine, `GET /${bytes("é")} HTTP/1.1`);
});

Deno.test("a target that a filter spoils is the filter's mistake, not a server's", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    upstreamRequestFilter: (request) => {
      request.target = decodeURIComponent(request.target);
    },
  });
  assertEquals((await proxy.ask("GET /a%20b")).status, 500);
  const { error } = await proxy.seen.untilEntries(1);
  assertEquals([error, upstream.requests], ["proxy_internal_error", []]);
});
