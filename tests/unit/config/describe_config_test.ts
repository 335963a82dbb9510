import { assertEquals } from "@std/assert";
import { describeConfig, findDeadEnds } from "../../../lib/config/describe_config.ts";
import { describeLimit } from "../../../lib/config/describe_limits.ts";
import { findConfigDoubts, resolveConfig } from "../../../lib/config/resolve_config.ts";
import type { LimiterPolicy } from "../../../lib/limiter/policy.ts";
import { resolvePolicies } from "../../../lib/limiter/resolve_policy.ts";

const PEM_CERT = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
const PEM_KEY = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n";

const EJECTION =
  "after 5 failures in a row or when 50% of at least 20 requests in 10s fail, for 30s, longer each time up to 5m; at most 50% of the servers, never the last one";

Deno.test("describeConfig() shows every part, and no certificate", () => {
  const config = resolveConfig({
    listen: [
      "[::1]:80",
      { port: 81, engine: "deno" },
      { port: 82, underscores: "refuse" },
      { port: 83, proxyProtocol: { from: ["10.0.0.0/8"] }, timeouts: { head: "1s" }, maxConnections: 5 },
    ],
    upstreams: {
      default: {
        servers: ["a:80", {
          address: "b:443",
          weight: 3,
          tls: { caCerts: [PEM_CERT], cert: PEM_CERT, key: PEM_KEY },
        }],
        healthCheck: { type: "tcp", interval: "500ms", fall: 2, port: 9000 },
      },
      api: {
        servers: ["https://c"],
        timeouts: { connect: "1s", total: "5m" },
        connections: { idleTimeout: "1s" },
      },
      far: {
        servers: ["https://d"],
        protocol: "h2",
        proxy: "http://me:hunter2@proxy:3128",
        connections: { maxIdle: 4 },
      },
      near: {
        servers: ["e:80"],
        transport: "fetch",
        connections: { maxIdle: Infinity, idleTimeout: "1m" },
      },
      deep: { servers: ["g:80"], protocol: "h2", connections: { maxStreams: 8 } },
      few: { servers: ["f:80"], connections: { maxIdle: 0 }, sendProxyProtocol: 2, bufferRequests: "64KiB" },
    },
    limiter: { key: "header:appid", limit: 1, window: "1s" },
    newContext: () => ({}),
    logging: () => {},
    gracePeriod: "1m",
  });
  assertEquals(
    describeConfig(config),
    `\
listen    [::1]:80
listen    0.0.0.0:81, by the runtime's server
listen    0.0.0.0:82, refuses requests with underscores in names of fields
listen    0.0.0.0:83, PROXY protocol from 10.0.0.0/8, head within 1s, at most 5 connections
pool      default (unless a filter chooses another)
  server    a:80, plain HTTP
  server    b:443, weight 3, TLS as b, 1 authority of its own, client certificate
  balance   round robin, by weight
  checks    TCP connection to port 9000 every 500ms, timeout 1s; unhealthy after 2 failures, healthy after 1 success
  ejection  ${EJECTION}
  timeouts  connect 3s, response 30s, idle 1m
  retries   up to 2, 7 while no connection can be made; connect, reset, timeout; at most 20 % of the requests, or 3 a second
  transport http1; keeps 256 idle connections a server for 4s
  websocket messages up to 16MiB, 16MiB are buffered; ping every 30s
pool      api
  server    c:443, TLS as c
  balance   round robin, by weight
  checks    none: every server counts as healthy
  ejection  ${EJECTION}
  timeouts  connect 1s, response 30s, idle 1m, total 5m
  retries   up to 2, 7 while no connection can be made; connect, reset, timeout; at most 20 % of the requests, or 3 a second
  transport http1; keeps 256 idle connections a server for 1s
  websocket messages up to 16MiB, 16MiB are buffered; ping every 30s
pool      far
  server    d:443, TLS as d
  balance   round robin, by weight
  checks    none: every server counts as healthy
  ejection  ${EJECTION}
  timeouts  connect 3s, response 30s, idle 1m
  retries   up to 2, 7 while no connection can be made; connect, reset, timeout; at most 20 % of the requests, or 3 a second
  transport fetch, HTTP/2 through http://***@proxy:3128; keeps 4 idle connections a server for 4s
  websocket not forwarded, since there is a proxy
pool      near
  server    e:80, plain HTTP
  balance   round robin, by weight
  checks    none: every server counts as healthy
  ejection  ${EJECTION}
  timeouts  connect 3s, response 30s, idle 1m
  retries   up to 2, 7 while no connection can be made; connect, reset, timeout; at most 20 % of the requests, or 3 a second
  transport fetch, HTTP/1.1; keeps all idle connections a server for 1m
  websocket messages up to 16MiB, 16MiB are buffered; ping every 30s
pool      deep
  server    g:80, plain HTTP
  balance   round robin, by weight
  checks    none: every server counts as healthy
  ejection  after 5 failures in a row or when 50% of at least 20 requests in 10s fail, for 30s, longer each time up to 5m; at most 50% of the servers, never the last one
  timeouts  connect 3s, response 30s, idle 1m
  retries   up to 2, 7 while no connection can be made; connect, reset, timeout; at most 20 % of the requests, or 3 a second
  transport h2, at most 8 requests a connection; keeps 256 idle connections a server for 4s
  websocket messages up to 16MiB, 16MiB are buffered; ping every 30s
pool      few
  server    f:80, plain HTTP
  balance   round robin, by weight
  checks    none: every server counts as healthy
  ejection  ${EJECTION}
  timeouts  connect 3s, response 30s, idle 1m
  retries   up to 2, 7 while no connection can be made; connect, reset, timeout; at most 20 % of the requests, or 3 a second
  requests  wait until their content is complete, or 64KiB of it has arrived
  transport http1 behind a PROXY header, version 2; keeps 0 idle connections a server for 4s
  websocket messages up to 16MiB, 16MiB are buffered; ping every 30s
limit     default
  at most 1 request per 1s for each header appid
  up to 2 around the end of a window
  requests without header appid are not limited
  response fields: x-rate-limit, draft-11
counts    100000 keys counted exactly in 7.3 MiB; further ones evict those that have used least
filters   newContext, logging
clients   by the address of the connection; servers get X-Forwarded-*
shutdown  running requests may take 1m to finish, WebSockets 5s`,
  );
});

Deno.test("describeConfig() shows what is not there", () => {
  const lines = describeConfig(resolveConfig({ upstreams: ["a:80"] })).split("\n");
  assertEquals(lines.slice(-4), [
    "limits    none",
    "filters   none",
    "clients   by the address of the connection; servers get X-Forwarded-*",
    "shutdown  running requests may take 30s to finish, WebSockets 5s",
  ]);
});

Deno.test("describeConfig() says which fields servers get, and that loops are not found", () => {
  const told = (forwarded: unknown) =>
    describeConfig(resolveConfig({ upstreams: ["a:80"], forwarded })).match(/servers get (.*)$/m)?.[1];
  assertEquals(told({ forwarded: true, via: true }), "X-Forwarded-*, Forwarded, Via");
  assertEquals(told({ xForwarded: false, cdnLoop: false }), "no fields about them, and loops are not found");
});

Deno.test("findDeadEnds() warns of a server that is the proxy itself", () => {
  const own = (listen: unknown, server: string) =>
    findDeadEnds(resolveConfig({ listen, upstreams: [server] })).length === 1;
  assertEquals(findDeadEnds(resolveConfig({ listen: "0.0.0.0:80", upstreams: ["localhost:80"] })), [{
    path: "",
    message:
      "server localhost:80 of pool default is this proxy itself, which listens at 0.0.0.0:80: its requests come back",
  }]);
  const cases: [listen: unknown, server: string, own: boolean][] = [
    ["127.0.0.1:80", "127.0.0.1:80", true],
    ["0.0.0.0:80", "localhost:80", true],
    ["[::]:80", "[::1]:80", true],
    [["a.example:1", "a.example:80"], "a.example:80", true],
    ["unix:/run/p.sock", "unix:/run/p.sock", true],
    ["127.0.0.1:80", "127.0.0.1:81", false],
    ["0.0.0.0:80", "a.example:80", false],
    ["unix:/run/p.sock", "unix:/run/q.sock", false],
    ["127.0.0.1:80", "unix:/run/p.sock", false],
  ];
  for (const [listen, server, expected] of cases) {
    assertEquals(own(listen, server), expected, `${listen} ${server}`);
  }
});

Deno.test("findConfigDoubts() warns of small numbers that are milliseconds, and of nothing with a unit", () => {
  const doubtsOf = (config: object) =>
    findConfigDoubts({ upstreams: ["a:80"], ...config }).map(({ path, message }) => `${path} ${message}`);
  const policy = { key: "ip", limit: 1 };
  assertEquals(doubtsOf({ limiter: { ...policy, window: 60 } }), [
    'limiter.window is 60 milliseconds; write "60s" for seconds, or "60ms" if that is meant',
  ]);
  assertEquals(
    doubtsOf({
      limiter: [{ ...policy, window: "60ms" }, { ...policy, name: "b", window: 900 }],
      gracePeriod: 30,
      shutdownDelay: 0,
      webSocketGrace: 5000,
      upstreams: { servers: ["a:80"], timeouts: { connect: 5 }, healthCheck: { type: "tcp", interval: 500 } },
      routes: [{ limiter: { ...policy, name: "c", window: 1 } }],
    }).map((each) => each.split(" ", 1)[0]).sort(),
    ["gracePeriod", "limiter[1].window", "routes[0].limiter.window", "upstreams.timeouts.connect"],
  );
});

Deno.test("describeConfig() says which proxies are trusted about clients, and in which field", () => {
  const clients = (trustedProxies: unknown) =>
    describeConfig(resolveConfig({ upstreams: ["a:80"], trustedProxies })).match(/^clients {3}(.*);/m)?.[1];
  const byForwardedFor =
    "by X-Forwarded-For from loopback, 10.0.0.0/8, others by the address of the connection";
  assertEquals(clients(["loopback", "10.0.0.0/8"]), byForwardedFor);
  assertEquals(clients({ from: ["loopback", "10.0.0.0/8"] }), byForwardedFor);
  assertEquals(
    clients({ from: ["unix"], field: "forwarded" }),
    "by Forwarded from unix, others by the address of the connection",
  );
  assertEquals([clients([]), clients({ from: [], field: "forwarded" })], [
    "by the address of the connection",
    "by the address of the connection",
  ]);
});

Deno.test("describeConfig() says how servers are found, chosen and watched", () => {
  const linesOf = (pool: Record<string, unknown>) =>
    describeConfig(resolveConfig({ upstreams: pool })).split("\n").slice(2).filter((line) =>
      !/^ {2}(?:timeouts|retries|transport|websocket)|^[^ ]/.test(line)
    );
  assertEquals(
    linesOf({
      servers: [
        { address: "a:80", tags: ["blue", "new"], maxInFlight: 20 },
        { address: "b:80", backup: true, maxInFlight: 1 },
      ],
      balance: "consistent-hash",
      key: ["header:user", "path"],
      loadFactor: 1.25,
      healthCheck: {
        type: "http",
        path: "/up",
        expectedStatuses: [200, "300-399"],
        body: /ok/,
        unhealthyInterval: "5s",
        initial: "down",
        port: 81,
      },
      ejection: { consecutiveFailures: 1, failureRate: 2, baseTime: "10s", maxEjectedPercent: 20 },
      slowStart: { duration: "30s" },
      panicThreshold: 0.25,
      maxInFlight: 100,
      queue: { size: 50, timeout: "2s" },
      discovery: { type: "dns", name: "a.test", record: "A", port: 80, resolver: "10.0.0.53" },
    }),
    [
      "  server    a:80, at most 20 requests at once, tags blue new, plain HTTP",
      "  server    b:80, backup, at most 1 request at once, plain HTTP",
      "  servers   found by A records of a.test with port 80 from 10.0.0.53, every 30s, each time within 5s",
      "  balance   by consistent hash of the header user and path; without it round robin; a server with more than 1.25 times its share passes requests on",
      "  checks    HTTP GET /up with status 200, 300-399 and the expected content to port 81 every 1s (5s while unhealthy), timeout 1s; unhealthy after 1 failure, healthy after 1 success; counted as down before the first one",
      "  ejection  after 1 failure in a row, for 10s, longer each time up to 5m; at most 20% of the servers, never the last one",
      "  start     servers that were added or recover begin with 10% of their share and have all of it after 30s",
      "  panic     all servers are used when less than 25% of them are up",
      "  room      at most 100 requests at all servers together",
      "  queue     up to 50 requests wait for 2s while servers are full; others are refused",
    ],
  );
  const discovery = () => Promise.resolve([]);
  assertEquals(
    linesOf({ balance: () => {}, healthCheck: () => Promise.resolve(), ejection: false, discovery }),
    [
      "  servers   found by a function, every 30s, each time within 5s",
      "  balance   by balance()",
      "  checks    function every 1s, timeout 1s; unhealthy after 1 failure, healthy after 1 success",
      "  ejection  never",
    ],
  );
  assertEquals(
    linesOf({ servers: ["a:80"], balance: "ewma" })[1],
    "  balance   to the faster of two servers drawn by weight",
  );
});

Deno.test("describeLimit() says limits in plain words", () => {
  const window = "1m";
  const told = "response fields: x-rate-limit, draft-11";
  const table: [LimiterPolicy, string[]][] = [
    [{ key: "ip", limit: 60, window }, [
      "at most 60 requests per 1m for each client address",
      "up to 120 around the end of a window",
      told,
    ]],
    [
      { key: ["ip", "query:user"], limit: 2, window: "1500ms", onMissingKey: "reject", headers: ["draft-6"] },
      [
        "at most 2 requests per 1.5s for each client address and query parameter user",
        "up to 4 around the end of a window",
        "requests without client address and query parameter user are refused",
        "response fields: draft-6",
      ],
    ],
    [{ key: "cookie:sid", limit: () => 1, window, onMissingKey: "ip" }, [
      "as many requests per 1m as limit() says for each cookie sid",
      "up to twice as many around the end of a window",
      "requests without cookie sid are limited for each client address",
      told,
    ]],
    [{ key: () => null, limit: 0, window: "1h", headers: false }, [
      "at most 0 requests per 1h for each key that key() returns",
      "requests without a key are not limited",
      "no response fields about limits",
    ]],
    [{
      key: "path",
      limit: 5,
      window,
      algorithm: "sliding-window",
      dryRun: true,
      penalize: true,
      keepAlive: true,
    }, [
      "at most 5 requests per 1m, sliding, for each path",
      "fewer than 10 in any 1m, however unevenly they come",
      "refused requests count too",
      "dry run: counts, and refuses nobody",
      "connections of refused clients stay open",
      told,
    ]],
    [
      {
        key: "ip",
        limit: 5,
        window: "1s",
        algorithm: "token-bucket",
        cost: 2,
        exempt: ["10.0.0.0/8", "::1"],
      },
      [
        "at most 5 requests at once, then one per 200ms, for each client address",
        "a request counts 2",
        "not for clients in 10.0.0.0/8, ::1",
        told,
      ],
    ],
    [{ key: "ip", limit: 3, window: "1s", algorithm: "token-bucket", burst: () => 9, exempt: () => false }, [
      "as many requests at once as burst() says, then 3 per 1s, for each client address",
      "not for what exempt() names",
      told,
    ]],
    [{ key: "ip", limit: 5, algorithm: "concurrency", response: () => new Response() }, [
      "at most 5 requests at the same time for each client address",
      "held while a request runs; permits of a worker that died are free again after 1h to twice that",
      "refused requests get response()",
      told,
    ]],
    [{ key: "host", limit: 1e6, window: "1h", cost: () => 1, charge: ({ target }) => target.length }, [
      "at most 1000000 requests per 1h for each host",
      "up to 2000000 around the end of a window",
      "a request counts what cost() says",
      "when it is over, it counts what charge() says",
      told,
    ]],
  ];
  for (const [policy, lines] of table) assertEquals(describeLimit(resolvePolicies(policy)[0]!), lines);
});

Deno.test("describeConfig() says where limits are counted that machines share, and what bounds them there", () => {
  const store = { type: "redis", url: ["redis://me:hunter2@a:1/2", "redis://me:hunter2@b:2/2"] } as const;
  const counts = (store: NonNullable<LimiterPolicy["store"]>): string[] => {
    const limiter = { key: "ip", limit: 5, algorithm: "concurrency", maxKeys: 1000, store } as const;
    const route = { name: "r", limiter: { key: "path", limit: 1, algorithm: "concurrency" } } as const;
    const config = resolveConfig({ upstreams: ["a:80"], limiter, routes: [route] });
    const lines = describeConfig(config).split("\n");
    // Of the configuration, and of the route, whose limits are counted in the same place.
    assertEquals(
      new Set(lines.filter((line) => /place|held/.test(line)).map((line) => line.trim())),
      new Set([
        "held while a request runs; permits of an instance that died are free again after 10s",
      ]),
    );
    const first = lines.findIndex((line) => line.startsWith("counts"));
    return lines.slice(first, lines.findIndex((line) => line.startsWith("route")));
  };
  const shared = [
    "counts    shared in redis://a:1/2, redis://b:2/2 under the prefix lbproxy",
    "  as many keys as fit its memory (maxmemory); maxKeys does not limit them",
  ];
  assertEquals(counts({ ...store, instances: 2 }), [
    ...shared,
    "  requests that it does not decide about within 20ms are counted by this instance alone, which grants a part in 2 of each limit",
    "  maxKeys is for those, and for bans: 1000 keys counted exactly in 0.4 MiB; further ones evict those that have used least",
  ]);
  assertEquals(counts({ ...store, onStoreError: "closed", prefetch: 5 }), [
    ...shared,
    "  taken from there 5 requests at a time",
    "  requests that it does not decide about within 20ms are refused",
    "  maxKeys is for bans",
  ]);
});

Deno.test("describeConfig() shows what is logged, counted and traced", () => {
  const shown = (config: Record<string, unknown>): string[] =>
    describeConfig(resolveConfig({ upstreams: ["a:80"], ...config })).split("\n")
      .filter((line) => /^(?:requests|metrics|traces) /.test(line));
  assertEquals(shown({}), []);
  assertEquals(shown({ accessLog: false, metrics: false, tracing: true }), [
    "traces    1 % of the requests begin one, those of anyone are continued",
    "requests  are not logged",
    "metrics   only those that cost a request nothing",
  ]);
  assertEquals(
    shown({
      accessLog: {
        format: "json",
        to: { file: "a.log", maxSize: "1MB", keep: 3 },
        sample: 0.5,
        fields: ["client", "header:x-app"],
        when: () => true,
      },
      tracing: { sample: 0, continue: "nobody" },
    }),
    [
      "traces    no request begins one, those of clients are ignored",
      "requests  are logged as json to a.log, 3 former ones of 1000000 bytes are kept, with client header:x-app; 50 % of them; a function decides about each",
    ],
  );
});
