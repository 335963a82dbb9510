import { assertEquals, assertStringIncludes } from "@std/assert";
import type { RouteOptions } from "../../../lib/config/route_options.ts";
import { eachTransport, transportCan } from "../../support/each_transport.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

eachTransport(
  "routes send requests by host, path, method and field, the first one that matches",
  async (start) => {
    await using one = startUpstream({ name: "one" });
    await using two = startUpstream({ name: "two" });
    const seen: (string | null)[] = [];
    await using proxy = await start({
      upstreams: { one: { servers: [one.address] }, two: { servers: [two.address] } },
      routes: [
        {
          name: "shop",
          match: { host: "shop.example", path: "/cart/*", method: ["GET", "PUT"] },
          upstream: "one",
        },
        { match: { host: "*.example", headers: { "x-beta": true } }, upstream: "two" },
        { match: { path: "/users/:id" }, upstream: "one" },
      ],
      logging: (ctx) => void seen.push(ctx.route),
    });
    const table: [string, string[], string | number][] = [
      ["GET /cart/1", ["Host: SHOP.example:80"], "one"],
      ["PUT /cart/1", ["Host: shop.example"], "one"],
      ["DELETE /cart/1", ["Host: shop.example"], 404],
      ["DELETE /cart/1", ["Host: shop.example", "X-Beta: 1"], "two"],
      ["GET /users/5?a=b", ["Host: other"], "one"],
      ["GET /users/5/6", ["Host: other"], 404],
    ];
    for (const [request, lines, expected] of table) {
      const { status, text } = await proxy.ask(request, lines);
      assertEquals(status === 200 ? text : status, expected, request);
    }
    await proxy.seen.untilEntries(table.length);
    assertEquals(seen, ["shop", "shop", null, "*.example/*", "/users/:id", null]);
    assertEquals(proxy.seen.entries.map(({ route }) => route), seen);
  },
);

eachTransport(
  "routes that take nothing: a problem document, after the filters of the configuration",
  async (start) => {
    await using upstream = startUpstream();
    let logged = 0;
    await using proxy = await start({
      upstreams: [upstream.address],
      routes: [{ match: { path: "/a" } }],
      requestFilter: (_request, ctx) => ctx.target === "/healthz" ? new Response("fine") : undefined,
      logging: () => void logged++,
    });
    assertEquals((await proxy.ask("GET /healthz")).text, "fine");
    const { status, text, field } = await proxy.ask("POST /b", ["Content-Length: 1"], "x");
    assertEquals([status, field("content-type"), field("proxy-status")], [
      404,
      "application/problem+json",
      "lbproxy; error=destination_not_found",
    ]);
    assertStringIncludes(text, '"title":"Not Found"');
    await proxy.seen.untilEntries(2);
    assertEquals([logged, upstream.requests], [2, 0]);
  },
);

/** Rewrites that \`fetch\` refuses to send, because it would normalise them. */
const NOT_BY_FETCH: [string, string][] = [
  ["/api/%2e%2e/x", "/api/%2e%2e/x"],
  ["/other/../old/./x", "/new/x"],
  ["/./old/x;y", "/new/x;y"],
];

/** Targets that proxies and servers like to understand in different ways. */
const CONFUSING: readonly [target: string, pool: string][] = [
  ["/public/x", "public"],
  ["/admin/x", "admin"],
  ["/public/../admin/x", "public"],
  ["/public/%2e%2e/admin/x", "public"],
  ["/public/%2E./admin/x", "public"],
  ["/public/..%2Fadmin/x", "public"],
  ["/public/..%2fadmin%2fx", "public"],
  ["/public/..;/admin/x", "public"],
  ["/public//admin//x", "public"],
  ["/public/./x", "public"],
  ["/public/..\\admin", "public"],
  ["/%61dmin/x", "rest"],
  ["//admin/x", "rest"],
  ["/./admin/x", "rest"],
  ["/x/../admin/x", "rest"],
  ["/ADMIN/x", "rest"],
  ["/admin%2Fx", "rest"],
  ["/admin;a=b/x", "rest"],
  ["/admin\\x", "rest"],
  ["/rest?/admin/x", "rest"],
];

for (const style of ["looked up", "tried"]) {
  eachTransport(
    `routes and servers see the same path where it is raw, ${style}`,
    async (start, transport) => {
      await using publicly = recordingUpstream(OK);
      await using admin = recordingUpstream(OK);
      await using rest = recordingUpstream(OK);
      const upstreams = { public: publicly, admin, rest };
      const below = style === "looked up" ? "*" : ":first([^/]*){/*}?";
      await using proxy = await start({
        paths: "raw",
        upstreams: Object.fromEntries(
          Object.entries(upstreams).map(([name, { address }]) => [name, { servers: [address] }]),
        ),
        routes: [
          { match: { path: `/admin/${below}` }, upstream: "admin" },
          { match: { path: `/public/${below}` }, upstream: "public" },
          { upstream: "rest" },
        ],
      });
      for (const [target, pool] of CONFUSING) {
        const before = Object.values(upstreams).map(({ requests }) => requests.length);
        const { status } = await proxy.ask(`GET ${target}`);
        // What \`fetch\` would send differently it does not send at all.
        if (!transportCan(transport, "every target") && status === 400) continue;
        assertEquals(status, 200, target);
        const got = Object.entries(upstreams).filter(([, { requests }], i) => requests.length > before[i]!);
        assertEquals(
          got.map(([name, { requests }]) => [name, requests.at(-1)!.startLine]),
          [[pool, `GET ${target} HTTP/1.1`]],
          target,
        );
      }
    },
  );
}

eachTransport("rewrite changes what the server gets and nothing else", async (start, transport) => {
  await using upstream = recordingUpstream(OK);
  const targets: string[] = [];
  await using proxy = await start({
    upstreams: [upstream.address],
    routes: [
      { match: { path: "/api{/*}?" }, rewrite: { stripPrefix: "/api", prefix: "/v2" } },
      { match: { path: "/old/*" }, rewrite: { replace: [/^\/old/, "/new"] } },
      { match: { path: "/f/*" }, rewrite: (target, ctx) => `${target}&by=${ctx.method}` },
      {},
    ],
    logging: (ctx) => void targets.push(ctx.target),
  });
  const table: [string, string][] = [
    ["/api/users?x=/api", "/v2/users?x=/api"],
    ["/api", "/v2/"],
    ["/api/%2e.%2Ex//y%20z", "/v2/...x/y%20z"],
    ["//api//x", "/v2/x"],
    ["/%61pi/%7e/", "/v2/~/"],
    ...(transportCan(transport, "every target") ? NOT_BY_FETCH : []),
    ["/old/a/old", "/new/a/old"],
    ["/f/x?a", "/f/x?a&by=GET"],
    ["/other", "/other"],
  ];
  for (const [target, expected] of table) {
    assertEquals((await proxy.ask(`GET ${target}`)).status, 200, target);
    assertEquals(upstream.requests.at(-1)!.startLine, `GET ${expected} HTTP/1.1`);
  }
  await proxy.seen.untilEntries(table.length);
  assertEquals(targets, table.map(([target]) => target));
});

eachTransport("rewrite that makes no target, or throws, gives a 500 and sends nothing", async (start) => {
  await using upstream = startUpstream();
  const made: unknown[] = [
    "no slash",
    "/a\r\nx-injected: 1",
    "/a b HTTP/1.1",
    "http://evil.example/",
    undefined,
    5,
    "/#x",
  ];
  await using proxy = await start({
    upstreams: [upstream.address],
    routes: [
      {
        match: { path: "/throws" },
        rewrite: () => {
          throw new Error("secret");
        },
      },
      { rewrite: (target) => made[Number(target.slice(1))] as string },
    ],
  });
  for (const target of ["/throws", ...made.map((_, i) => `/${i}`)]) {
    const { status, text } = await proxy.ask(`GET ${target}`);
    assertEquals([status, text.includes("secret"), text.includes("rewrite")], [500, false, false], target);
  }
  assertEquals(upstream.requests, 0);
  assertEquals(
    proxy.seen.eventsOf("request_failure").every(({ message }) => message.startsWith("rewrite threw: ")),
    true,
  );
});

eachTransport("upstream splits requests by weight, by key always to the same pool", async (start) => {
  await using stable = startUpstream({ name: "stable" });
  await using canary = startUpstream({ name: "canary" });
  const route: RouteOptions = { upstream: { stable: 1, canary: 1 } };
  await using proxy = await start({
    upstreams: { stable: { servers: [stable.address] }, canary: { servers: [canary.address] } },
    routes: [{ ...route, match: { path: "/sticky" }, splitKey: "header:user" }, route],
  });
  for (const user of ["a", "b", "c", "d"]) {
    const pools = new Set<string>();
    for (let n = 0; n < 5; n++) pools.add((await proxy.ask("GET /sticky", [`User: ${user}`])).text);
    assertEquals(pools.size, 1);
  }
  const pools = new Set<string>();
  for (let n = 0; n < 64; n++) pools.add((await proxy.ask("GET /")).text);
  assertEquals([...pools].toSorted(), ["canary", "stable"]);
});

eachTransport(
  "routes have limits beside those of the configuration, or none, or count together",
  async (start) => {
    await using upstream = startUpstream();
    const shared = { name: "shared", key: "ip", limit: 3, window: "1m" } as const;
    await using proxy = await start({
      upstreams: [upstream.address],
      limiter: { name: "all", key: "ip", limit: 6, window: "1m" },
      routes: [
        { match: { path: "/free" }, limiter: false },
        { match: { path: "/one" }, limiter: shared },
        { match: { path: "/two" }, limiter: shared },
        { match: { path: "/own" }, limiter: { key: "ip", limit: 1, window: "1m" } },
        { match: { path: "/other" }, limiter: { key: "ip", limit: 1, window: "1m" } },
        { match: { path: "/rest" } },
      ],
    });
    const table: [string, number][] = [
      ["/free", 200],
      ["/free", 200],
      ["/one", 200],
      ["/two", 200],
      ["/one", 200],
      // Refused by what both routes share, and not charged by the limit of all.
      ["/two", 429],
      ["/own", 200],
      ["/own", 429],
      ["/other", 200],
      ["/rest", 200],
      ["/rest", 429],
      // Who finds nothing is counted as well.
      ["/nothing", 429],
    ];
    const statuses: [string, number][] = [];
    for (const [target] of table) statuses.push([target, (await proxy.ask(`GET ${target}`)).status]);
    assertEquals(statuses, table);
  },
);

eachTransport("routes have filters of their own inside those of the configuration", async (start) => {
  await using upstream = startUpstream();
  const ran: string[] = [];
  const states: unknown[] = [];
  const set = (name: string) => ({
    requestFilter: () => void ran.push(`request ${name}`),
    responseFilter: () => void ran.push(`response ${name}`),
  });
  await using proxy = await start<unknown>({
    upstreams: [upstream.address],
    ...set("top"),
    newContext: () => ({ top: 1 }),
    logging: (ctx) => void states.push(ctx.state),
    filters: [set("global")],
    routes: [
      { match: { path: "/a" }, filters: [set("route"), { newContext: () => ({ route: 1 }) }] },
      {},
    ],
  });
  await proxy.ask("GET /a");
  await proxy.ask("GET /b");
  await proxy.seen.untilEntries(2);
  assertEquals(ran, [
    "request top",
    "request global",
    "request route",
    "response route",
    "response global",
    "response top",
    "request top",
    "request global",
    "response global",
    "response top",
  ]);
  assertEquals(states, [{ top: 1, route: 1 }, { top: 1 }]);
});

eachTransport("routes have timeouts of their own, the others of the pool hold", async (start) => {
  await using upstream = rawUpstream(async (connection) => {
    const request = await connection.readRequest();
    if (request?.startLine.startsWith("GET /slow")) await connection.untilClosed();
    else await connection.write(OK);
  });
  await using proxy = await start({
    upstreams: { servers: [upstream.address], timeouts: { response: "1h" } },
    routes: [{ match: { path: "/slow" }, timeouts: { response: "50ms" } }, {}],
  });
  assertEquals((await proxy.ask("GET /slow")).status, 504);
  assertEquals((await proxy.ask("GET /")).status, 200);
});

eachTransport("upstreamPeer overrules the pool of the route", async (start) => {
  await using one = startUpstream({ name: "one" });
  await using two = startUpstream({ name: "two" });
  await using proxy = await start({
    upstreams: { one: { servers: [one.address] }, two: { servers: [two.address] } },
    routes: [{ upstream: "one", timeouts: { idle: "5s" } }],
    upstreamPeer: (request) => request.headers.get("x-pool") ?? undefined,
  });
  assertEquals((await proxy.ask("GET /")).text, "one");
  assertEquals((await proxy.ask("GET /", ["X-Pool: two"])).text, "two");
});
