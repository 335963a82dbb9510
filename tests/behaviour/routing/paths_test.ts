/** Paths that can be written, or read, in several ways. */

import { assertEquals } from "@std/assert";
import type { RouteOptions } from "../../../lib/config/route_options.ts";
import { engineCan } from "../../support/engine.ts";
import { eachTransport, transportCan } from "../../support/each_transport.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";

/** Each with the pool that it goes to, and how; 400 where it could be meant for several. */
const SPELLINGS: readonly [target: string, pool: string | 400, sent?: string][] = [
  ["/public/x", "public"],
  ["/admin/x", "admin"],
  ["/public/../admin/x", "admin"],
  ["/public/%2e%2e/admin/x", "admin"],
  ["/public/%2E./admin/x", "admin"],
  ["/public//admin//x", "public"],
  ["/public/./x", "public"],
  ["/%61dmin/x", "admin"],
  ["/adm%69n/%78?%61=//", "admin"],
  ["//admin/x", "admin"],
  ["/./admin/x", "admin"],
  ["/%2e/admin/x", "admin"],
  ["/x/../admin/x", "admin"],
  ["/x//../admin/x", "admin"],
  ["/../admin/x", "admin"],
  ["/ADMIN/x", "rest"],
  ["/rest?/admin/x", "rest"],
  ["/rest/a%2Fb;c=d/e%40f", "rest"],
  ["/public/a%2fb\\c", "public"],
  ["/admin/../public/x", "public", "/public/x"],
  ["//host/admin/x?a=//", "rest", "/host/admin/x?a=//"],
  ["/public/..%2Fadmin/x", 400],
  ["/public/..%2fadmin%2fx", 400],
  ["/public/..;/admin/x", 400],
  ["/public/..\\admin/x", 400],
  ["/public/..%5cadmin/x", 400],
  ["/admin%2Fx", 400],
  ["/%2fadmin/x", 400],
  ["/admin;a=b/x", 400],
  ["/admin\\x", 400],
  ["/\\host/admin/x", 400],
  ["/admin/%00/../../x", "rest", "/x"],
  ["/admin/..%00/x", 400],
];

for (const style of ["looked up", "tried"]) {
  eachTransport(
    `routes take a path in its normal form, however it is written, ${style}`,
    async (start, transport) => {
      await using admin = recordingUpstream();
      await using publicly = recordingUpstream();
      await using rest = recordingUpstream();
      const below = style === "looked up" ? "*" : ":first([^/]*){/*}?";
      const pools = { admin, public: publicly, rest };
      await using proxy = await start({
        upstreams: Object.fromEntries(Object.entries(pools).map(([name, { address }]) => [name, [address]])),
        routes: [
          { match: { path: `/admin/${below}` }, upstream: "admin" },
          { match: { path: `/public/${below}` }, upstream: "public" },
          { upstream: "rest" },
        ],
      });
      for (const [target, pool, sent = target] of SPELLINGS) {
        const { status } = await proxy.ask(`GET ${target}`);
        const got = Object.entries(pools).flatMap(([name, { requests }]) =>
          requests.splice(0).map(({ startLine }) => [name, startLine])
        );
        // What \`fetch\` would send differently it does not send at all.
        if (!transportCan(transport, "every target") && status === 400) assertEquals(got, [], target);
        else if (pool === 400) assertEquals([status, got], [400, []], target);
        else assertEquals([status, got], [200, [[pool, `GET ${sent} HTTP/1.1`]]], target);
      }
    },
  );
}

Deno.test("a path that could be another route's is the client's mistake, and says so", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    routes: [{ match: { path: "/admin/*" }, filters: [{ requestFilter: () => new Response("admin") }] }, {}],
  });
  const { status, text, field } = await proxy.ask("GET /admin%2fx");
  assertEquals([status, field("content-type"), JSON.parse(text).detail], [
    400,
    "application/problem+json",
    "The path could be taken for that of another route",
  ]);
  const { target, error } = await proxy.seen.untilEntries(1);
  assertEquals([target, error], ["/admin%2fx", "http_request_error"]);
});

const DIFFERENT: readonly (readonly [what: string, route: RouteOptions, config: object, status: number])[] = [
  ["another pool", { upstream: "other" }, {}, 400],
  ["shares of pools", { upstream: { main: 1, other: 1 } }, {}, 400],
  ["a filter", { filters: [{ requestFilter() {} }] }, {}, 400],
  ["a limit", { limiter: { key: "ip", limit: 9, window: "1s" } }, {}, 400],
  ["no limits", { limiter: false }, { limiter: { key: "ip", limit: 9, window: "1s" } }, 400],
  ["another way of comparing", { paths: "refuse" }, {}, 400],
  ["a name that a filter can see", { name: "admin" }, { requestFilter() {} }, 400],
  ["nothing", {}, {}, 200],
  ["nothing that a filter of responses could tell", { name: "admin" }, { responseFilter() {} }, 200],
  [
    "nothing but timeouts, a name and a rewrite",
    {
      name: "admin",
      timeouts: { idle: "1s" },
      rewrite: { prefix: "/x" },
    },
    { logging() {} },
    200,
  ],
  ["the limits of all", {}, { limiter: { key: "ip", limit: 9, window: "1s" } }, 200],
];

for (const [what, route, config, expected] of DIFFERENT) {
  Deno.test(`a path that could be that of a route with ${what} gets ${expected}`, async () => {
    await using upstream = recordingUpstream();
    await using proxy = await startProxy({
      upstreams: { main: [upstream.address], other: [upstream.address] },
      routes: [{ upstream: "main", match: { path: "/admin/*" }, ...route }, { upstream: "main" }],
      ...config,
    });
    for (const target of ["/admin%2fx", "/x/..;/admin/x", "/admin\\x"]) {
      assertEquals((await proxy.ask(`GET ${target}`)).status, expected, target);
    }
    assertEquals((await proxy.ask("GET /x%2fy")).status, 200);
  });
}

eachTransport('forward: "normalized" sends the path that was compared', async (start, transport) => {
  await using upstream = recordingUpstream();
  await using proxy = await start({
    upstreams: [upstream.address],
    forward: "normalized",
    routes: [{ match: { path: "/as-it-is/*" }, forward: "received" }, {}],
  });
  const table: [string, string][] = [
    ["/a/./b//c/../%7euser/%c3%a9/%2f%3b?x=/../%61", "/a/b/~user/%C3%A9/%2F%3B?x=/../%61"],
    ["/%40x;y", "/%40x;y"],
    ["/plain?//", "/plain?//"],
    ["//host/x", "/host/x"],
    ["/caf\xc3\xa9?\xc3\xa9", "/caf%C3%A9?%C3%A9"],
    ["/..", "/"],
    ["/as-it-is//x/%7e", "/as-it-is//x/%7e"],
    [
      "/as-it-is/x?\xc3\xa9",
      transportCan(transport, "bytes above 0x7F") ? "/as-it-is/x?\xc3\xa9" : "/as-it-is/x?%C3%A9",
    ],
  ];
  for (const [target, sent] of table) {
    assertEquals((await proxy.ask(`GET ${target}`)).status, 200, target);
    assertEquals(upstream.requests.at(-1)!.startLine, `GET ${sent} HTTP/1.1`);
  }
});

Deno.test("the normal form is sent through filters and to every server that is tried, and without routes", async () => {
  await using upstream = recordingUpstream();
  const seen: string[] = [];
  await using proxy = await startProxy({
    upstreams: { servers: ["127.0.0.1:1", upstream.address], balance: "first" },
    forward: "normalized",
    upstreamRequestFilter: (request) => void seen.push(request.target),
  });
  assertEquals((await proxy.ask("GET /x/../\xc3\xa9?a")).status, 200);
  assertEquals(seen, ["/%C3%A9?a", "/%C3%A9?a"]);
  assertEquals(upstream.requests[0]!.startLine, "GET /%C3%A9?a HTTP/1.1");
});

Deno.test('paths: "refuse" takes the normal form alone', async () => {
  await using upstream = recordingUpstream();
  for (const routes of [undefined, [{}]]) {
    await using proxy = await startProxy({
      upstreams: [upstream.address],
      paths: "refuse",
      ...(routes && { routes }),
    });
    const good = [
      "/",
      "/a/b?//../%61",
      "/caf%c3%a9",
      "/caf\xc3\xa9",
      "/%20",
      "/a%40b,c",
      "/.well-known/x",
      "/a..b/",
    ];
    const bad = [
      "//",
      "/a//b",
      "/.",
      "/a/..",
      "/%61",
      "/%7e",
      "/a%2fb",
      "/a%5Cb",
      "/a\\b",
      "/a;b",
      "/a%3bb",
      "/%00",
      "/a%",
    ];
    for (const target of good) assertEquals((await proxy.ask(`GET ${target}`)).status, 200, target);
    for (const target of bad) assertEquals((await proxy.ask(`GET ${target}`)).status, 400, target);
  }
});

Deno.test("a route may take paths raw, or refuse those that are not in their normal form, beside others", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    routes: [
      { match: { path: "/packages/:name" }, paths: "raw", filters: [{ requestFilter() {} }] },
      { match: { path: "/packages/*" } },
      { match: { path: "/admin/*" }, paths: "refuse" },
      {},
    ],
  });
  const table: [string, number][] = [
    ["/packages/@scope%2fname", 200],
    ["/packages/@scope/name%2fx", 200],
    ["/packages%2f@scope", 400],
    ["/admin/x", 200],
    ["/admin//x", 400],
    ["/x/../admin/x", 400],
    ["/%61dmin/x", 400],
    ["/x//y", 200],
  ];
  for (const [target, status] of table) {
    assertEquals((await proxy.ask(`GET ${target}`)).status, status, target);
  }
});

Deno.test("filters see the path that is compared, and the other ways of reading it", async () => {
  await using upstream = recordingUpstream();
  const seen: unknown[] = [];
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    routes: [{ match: { path: "/raw/*" }, paths: "raw" }, {}],
    requestFilter: (_request, { path, otherPaths, target }) => void seen.push([target, path, otherPaths]),
  });
  const table: [target: string, path: string, others: string[]][] = [
    ["/a?b", "/a", []],
    ["/", "/", []],
    ["/./%61//%7e?%62", "/a/~", ["/./a//~", "/a//~", "/./a/~"]],
    ["/a%2fb", "/a%2Fb", ["/a/b"]],
    ["/caf\xc3\xa9", "/caf%C3%A9", []],
    ["/raw/./a%2fb", "/raw/./a%2fb", []],
  ];
  for (const [target] of table) assertEquals((await proxy.ask(`GET ${target}`)).status, 200, target);
  assertEquals(seen, table.map(([target, ...rest]) => [target.replace("\xc3\xa9", "%C3%A9"), ...rest]));
});

Deno.test("a path that can be read in more ways than anybody needs is refused before a filter sees it", async () => {
  await using upstream = recordingUpstream();
  let asked = 0;
  await using proxy = await startProxy({ upstreams: [upstream.address], requestFilter: () => void asked++ });
  assertEquals((await proxy.ask("GET /a%2F..%2f..%5c;%3b/%00//../%40x")).status, 400);
  assertEquals(
    (await proxy.ask(`GET /${"a;%2F%40".repeat(7500)}`)).status,
    engineCan("heads above 32 KiB") ? 400 : engineCan("limit of a target") ? 414 : 431,
  );
  assertEquals([asked, upstream.requests], [0, []]);
});

Deno.test("a limit by path counts all spellings of a path together", async () => {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: { key: ["ip", "path"], limit: 1, window: "1h" },
  });
  assertEquals((await proxy.ask("GET /login")).status, 200);
  const spellings = [
    "/./login",
    "//x/login",
    "/%6cogin",
    "/x/..%2flogin",
    "/login;n=1",
    "/login;n=2",
    "/\\login",
  ];
  for (const target of [...spellings, "/login?x", "/x/../login", "/login%00", "/%2e/login", "/login%3bx"]) {
    assertEquals((await proxy.ask(`GET ${target}`)).status, 429, target);
  }
  assertEquals((await proxy.ask("GET /other")).status, 200);
});
