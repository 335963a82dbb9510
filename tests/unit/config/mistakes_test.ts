/** Mistakes that people make, and the sentence that each of them gets. */

import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../../lib/config/config_error.ts";
import { resolveConfig } from "../../../lib/config/resolve_config.ts";
import {
  basicAuth,
  bearerAuth,
  compress,
  cors,
  createHandler,
  ipAllow,
  ipDeny,
  maxBodySize,
  mirror,
  redirect,
  removeHeaders,
  requestId,
  rewritePath,
  securityHeaders,
  type ServeOptions,
  setHeaders,
} from "../../../mod.ts";
import { ProgramFolder } from "../../support/program.ts";

const upstreams = ["a:80"];
const policy = { key: "ip", limit: 1, window: "1s" };
const inPool = (options: object): object => ({ upstreams: { servers: upstreams, ...options } });
const inRoute = (options: object): object => ({ upstreams, routes: [options] });

/** A configuration, and what stands behind `Cannot load configuration: `; several lines for several problems. */
const MISTAKES: readonly (readonly [config: unknown, ...messages: string[]])[] = [
  [{}, 'upstreams is required: an array of "host:port", an object with "servers", or either by name'],
  [{ upstreams, rateLimit: policy }, 'rateLimit is not a known key; here it is called "limiter"'],
  [{ upstreams, rateLimiter: policy }, 'rateLimiter is not a known key; here it is called "limiter"'],
  [
    { servers: upstreams },
    'upstreams is required: an array of "host:port", an object with "servers", or either by name',
    'servers is not a known key; it belongs in "upstreams"',
  ],
  [
    { backends: upstreams },
    'backends is not a known key; here it is called "upstreams"',
  ],
  [{ upstreams, cors: true }, "cors is not a known key; there is a filter for it: filters: [cors(...)]"],
  [
    { upstreams, gzip: true },
    "gzip is not a known key; there is a filter for it: filters: [compress(...)]",
  ],
  [
    { upstreams, timeout: "5s" },
    'timeout is not a known key; it belongs in "timeouts" of "listen", "upstreams" or "routes"',
  ],
  [{ upstreams, ssl: {} }, 'ssl is not a known key; it belongs in "tls" of "listen"'],
  [{ upstreams, redis: "redis://a" }, 'redis is not a known key; it belongs in "store" of "limiter"'],
  [{ upstreams, port: 80 }, 'port is not a known key; it belongs in "listen"'],
  [{ upstreams, bind: ":80" }, 'bind is not a known key; here it is called "listen"'],
  [
    { upstreams, timeouts: { connect: "1s" } },
    'timeouts is not a known key; it belongs in "listen" or "upstreams" or "routes"',
  ],
  [
    { upstreams, tls: { cert: "a", key: "b" } },
    'tls is not a known key; it belongs in "listen" or "upstreams"',
  ],
  [{ upstreams, healthCheck: { type: "tcp" } }, 'healthCheck is not a known key; it belongs in "upstreams"'],
  [
    { upstreams, filter: {} },
    'filter is not a known key, did you mean "filters"?',
    "filter must be an array of objects with phases, received an object",
  ],
  [{ upstreams, middleware: [] }, 'middleware is not a known key; here it is called "filters"'],
  [{ upstreams, onRequest() {} }, 'onRequest is not a known key; here it is called "requestFilter"'],
  [{ upstreams, onError() {} }, 'onError is not a known key; here it is called "failToProxy"'],
  [
    { upstreams, logLevel: "debug" },
    "logLevel is not a known key; it is the option --log-level of the command line",
  ],
  [
    { upstream: upstreams },
    'upstream is not a known key, did you mean "upstreams"?',
  ],
  [
    { upstreams, listen: "127.0.0.1:99999" },
    'listen must be "host:port" with a port from 0 to 65535, received "127.0.0.1:99999"',
  ],
  [{ upstreams: ["localhost"] }, 'upstreams[0] must be "host:port", received "localhost"'],
  [
    { upstreams: ["http://a:80/path"] },
    'upstreams[0] must be "host:port" without a path, received "http://a:80/path"',
  ],
  [{ upstreams: ["foo bar"] }, 'upstreams[0] must be "host:port", received "foo bar"'],
  [{ upstreams: ["a:80", "a:80"] }, "upstreams[1] is the same server as [0]"],
  [
    { upstreams: [{ url: "http://a:80" }] },
    'upstreams[0].url is not a known key; here it is called "address"',
  ],
  [
    { upstreams: [{ host: "a", port: 80 }] },
    'upstreams[0].address is required: "host:port"',
    'upstreams[0].host is not a known key; it belongs in "address", as "host:port"',
    'upstreams[0].port is not a known key; it belongs in "address", as "host:port"',
  ],
  [
    { upstreams, filters: [cors] },
    'filters[0] must be an object with phases such as "requestFilter"; a ready-made filter has to be called, as cors(...), received a function',
  ],
  [{ upstreams: [] }, "upstreams must be an array of at least one server, received an empty array"],
  [
    { upstreams: { a: upstreams, b: upstreams } },
    'upstreams must have a pool named "default" in addition to "a", "b", or routes',
  ],
  [
    { upstreams: [{ address: "a:80", weight: 0.5 }] },
    "upstreams[0].weight must be a whole number from 0 to 65535, received 0.5",
  ],
  [
    inPool({ timeouts: { connect: "3 seconds" } }),
    'upstreams.timeouts.connect must be a duration such as "250ms", "5s", "1m", "1h" or a number of milliseconds, received "3 seconds"',
  ],
  [
    inPool({ timeouts: { read: "3s" } }),
    'upstreams.timeouts.read is not a known key; known are "connect", "tls", "response", "idle", "total"',
  ],
  [
    inPool({ bufferRequests: "64 kilobytes" }),
    'upstreams.bufferRequests must be a size such as "64KiB", "10MB" or a number of bytes, from 1 to 67108864, received "64 kilobytes"',
  ],
  [
    inPool({ balance: "roundrobin" }),
    'upstreams.balance must be one of "round-robin", "random", "least-connections", "p2c", "ewma", "consistent-hash", "fnv-hash", "first", or a function, received "roundrobin", did you mean "round-robin"?',
  ],
  [inPool({ balance: "consistent-hash" }), 'upstreams.key is required where "balance" is "consistent-hash"'],
  [
    inPool({ healthCheck: { path: "/health", interval: "5s" } }),
    'upstreams.healthCheck.type is required: one of "tcp", "tls", "http", "grpc", "custom"',
  ],
  [
    inPool({ healthCheck: { type: "https" } }),
    'upstreams.healthCheck.type must be one of "tcp", "tls", "http", "grpc", "custom", received "https", did you mean "http"?',
  ],
  [
    inPool({ healthCheck: { type: "http", path: "health" } }),
    'upstreams.healthCheck.path must be a path such as "/health", received "health"',
  ],
  [
    inPool({ retries: 3 }),
    "upstreams.retries must be false, a function, or an object such as { attempts: 2 }, received 3",
  ],
  [
    inPool({ sticky: { cookie: "server" } }),
    "upstreams.sticky.secret is required: a text of at least 16 characters, which signs the cookies (openssl rand -hex 16 makes one)",
  ],
  [
    inPool({ websocket: true }),
    'upstreams.websocket is not a known key, did you mean "webSocket"?',
    'upstreams.websocket must be false or an object such as { idleTimeout: "5m" }; WebSockets are forwarded without it, received true',
  ],
  [inRoute({ path: "/x" }), 'routes[0].path is not a known key; it belongs in "match"'],
  [inRoute({ host: "a.example" }), 'routes[0].host is not a known key; it belongs in "match"'],
  [
    inRoute({ match: { path: "/x" }, pool: "default" }),
    'routes[0].pool is not a known key; here it is called "upstream"',
  ],
  [
    inRoute({ match: { path: "/x" }, upstream: "api" }),
    'routes[0].upstream must be a pool, one of "default", received "api"',
  ],
  [
    inRoute({ match: { path: "x/*" } }),
    'routes[0].match.path must be a pattern for paths such as "/api/*", received "x/*"',
  ],
  [{ upstreams, limiter: { key: "ip", limit: 1 } }, "limiter.window is required"],
  [
    { upstreams, limiter: { ...policy, window: "60" } },
    'limiter.window must be a duration such as "250ms", "5s", "1m", "1h" or a number of milliseconds, received "60"',
  ],
  [
    { upstreams, limiter: { ...policy, key: "header" } },
    'limiter.key must be "ip", "path", "host", "certificate:fingerprint", "header:NAME", "cookie:NAME", "query:NAME", an array of these, or a function, received "header"',
  ],
  [
    { upstreams, limiter: { ...policy, key: "header: X-Api-Key" } },
    'limiter.key must be "ip", "path", "host", "certificate:fingerprint", "header:NAME", "cookie:NAME", "query:NAME", an array of these, or a function ("header:X-Api-Key" counts by a field), received "header: X-Api-Key"',
  ],
  [
    { upstreams, limiter: { ...policy, limit: "10" } },
    'limiter.limit must be a whole number from 0 to 1000000000, or a function, received "10"',
  ],
  [
    { upstreams, limiter: { ...policy, algorithm: "leaky-bucket" } },
    'limiter.algorithm must be one of "fixed-window", "sliding-window", "token-bucket", "concurrency", received "leaky-bucket"',
  ],
  [{ upstreams, limiter: { ...policy, burst: 4 } }, 'limiter.burst is only for the algorithm "token-bucket"'],
  [
    { upstreams, limiter: { ...policy, store: { type: "redis" } } },
    'limiter.store.url is required: "redis://host:port" or "rediss://host:port", or an array of them',
  ],
  [{ upstreams, listen: "foo" }, 'listen must be "host:port", "unix:/path" or a port number, received "foo"'],
  [{ upstreams, listen: 70000 }, "listen must be a port number from 0 to 65535, received 70000"],
  [{ upstreams, listen: [80, 80] }, "listen[1] is the same address as [0]"],
  [{ upstreams, listen: { port: 443, tls: { cert: "a.pem" } } }, "listen.tls.key is required"],
  [{ upstreams, requestFilter: "x" }, 'requestFilter must be a function, received "x"'],
  [
    { upstreams, filters: { requestFilter() {} } },
    "filters must be an array of objects with phases, received an object",
  ],
  [
    { upstreams, trustedProxies: ["10.0.0.0/99"] },
    'trustedProxies[0] must be "loopback", "private", "unix", an address or a network such as "192.0.2.1", "10.0.0.0/8", "2001:db8::/32", received "10.0.0.0/99"',
  ],
  [
    { upstreams, admin: "0.0.0.0:6189" },
    'admin needs "tokens" at an address that other machines can reach',
  ],
  // As people write who come from other programs.
  [
    { server: { listen: 80, location: { "/": {} } } },
    'upstreams is required: an array of "host:port", an object with "servers", or either by name',
    'server is not a known key; it belongs in "listen" (where clients come in) or "upstreams" (where requests go)',
  ],
  [{ reverse_proxy: upstreams }, 'reverse_proxy is not a known key; here it is called "upstreams"'],
  [{ upstreams, threads: 4 }, 'threads is not a known key; here it is called "workers"'],
  [
    { target: "http://a:80", changeOrigin: true, pathRewrite: {} },
    'target is not a known key; here it is called "upstreams"',
    'changeOrigin is not a known key; it belongs in a filter: setHeaders({ request: { host: "api.internal" } })',
    'pathRewrite is not a known key; it belongs in "rewrite" of "routes"',
  ],
  [
    { upstreams, headers: { "x-a": "b" } },
    'headers is not a known key; it belongs in a filter, setHeaders(...), or in "limiter" for the fields of its responses',
  ],
  [
    { upstreams, listen: ":443" },
    'listen must be "host:port", "unix:/path" or a port number (443 alone is every address), received ":443"',
  ],
  [
    { upstreams, listen: "*:443" },
    'listen must be "host:port", "unix:/path" or a port number (443 alone is every address), received "*:443"',
  ],
  [
    { upstreams, listen: "443 ssl" },
    'listen must be "host:port", "unix:/path" or a port number, or for TLS { port: 443, tls: { cert, key } }, received "443 ssl"',
  ],
  [
    { upstreams, listen: { port: 443, tls: "internal" } },
    'listen.tls must be an object with "cert" and "key" (paths or PEM texts), or "certificates", received "internal"',
  ],
  [
    { upstreams, listen: { port: 443, tls: { email: "a@b.c", cert: "a", key: "b" } } },
    'listen.tls.email is not an option: lbproxy requests no certificates; "cert" and "key" name files that certbot or lego write',
  ],
  [
    { upstreams, listen: { port: 80, client_max_body_size: "10m" } },
    "listen.client_max_body_size is not a known key; there is a filter for it: filters: [maxBodySize(...)]",
  ],
  [
    { upstreams: ["127.0.0.1:80 weight=3"] },
    'upstreams[0] must be "host:port", received "127.0.0.1:80 weight=3"',
  ],
  [
    { upstreams: [{ address: "a:80", max_fails: 3 }] },
    'upstreams[0].max_fails is not a known key; "ejection" of the pool says when servers are left alone',
  ],
  [
    { upstreams: [{ address: "a:443", tls: true, sni: "b" }] },
    'upstreams[0].sni is not a known key; it belongs in "tls", as "serverName"',
  ],
  [
    inPool({ balance: "leastconn" }),
    'upstreams.balance must be one of "round-robin", "random", "least-connections", "p2c", "ewma", "consistent-hash", "fnv-hash", "first", or a function, received "leastconn", did you mean "least-connections"?',
  ],
  [inPool({ lb_policy: "first" }), 'upstreams.lb_policy is not a known key; here it is called "balance"'],
  [
    inPool({ healthCheck: "/health" }),
    'upstreams.healthCheck must be an object such as { type: "http", path: "/health" }, with a "type" (one of "tcp", "tls", "http", "grpc", "custom"), or a function, received "/health"',
  ],
  [
    inPool({ sticky: true }),
    'upstreams.sticky must be an object with "secret", a text of at least 16 characters, received true',
  ],
  [
    { upstreams, limiter: { key: "ip", rate: "10r/s", window: "1s" } },
    'limiter.rate is not a known key; here it is called "limit"',
  ],
  [
    { upstreams, limiter: { keyGenerator: () => "a", max: 100, windowMs: 60_000 } },
    'limiter.keyGenerator is not a known key; here it is called "key"',
    'limiter.max is not a known key; here it is called "limit"',
    'limiter.windowMs is not a known key; here it is called "window"',
  ],
  [
    { upstreams, limiter: { ...policy, key: "$binary_remote_addr" } },
    'limiter.key must be "ip", "path", "host", "certificate:fingerprint", "header:NAME", "cookie:NAME", "query:NAME", an array of these, or a function ("ip" counts by the address of the client), received "$binary_remote_addr"',
  ],
  [
    { upstreams, trustedProxies: true },
    'trustedProxies must be an array of addresses, networks, "loopback", "private" or "unix", or an object such as { from: ["10.0.0.0/8"], field: "forwarded" }, received true',
  ],
  [
    { upstreams, accessLog: "/var/log/access.log" },
    'accessLog must be false, or an object such as { format: "json", to: { file: "access.log" } }, received "/var/log/access.log"',
  ],
  [
    inRoute({ match: "/api/*" }),
    'routes[0].match must be an object such as { path: "/api/*" }, with host, path, method and headers, received "/api/*"',
  ],
  [
    inRoute({ match: { path: "/old" }, redirect: "/new" }),
    "routes[0].redirect is not a known key; there is a filter for it: filters: [redirect(...)]",
  ],
  [{ upstreams, routes: { "/api": "a" } }, "routes must be an array of routes, received an object"],
];

for (const [config, ...messages] of MISTAKES) {
  Deno.test(`resolveConfig() says: ${messages.join("; ").slice(0, 120)}`, () => {
    const { problems } = assertThrows(() => resolveConfig(config), ConfigError);
    assertEquals(problems.map(({ path, message }) => path === "" ? message : `${path} ${message}`), messages);
  });
}

const BAD_FILTERS: readonly (readonly [make: () => unknown, message: string])[] = [
  [
    () => basicAuth({ user: { a: "b" } } as never),
    'Cannot make the filter basicAuth: "user" is not a known key, did you mean "users"?',
  ],
  [
    () => basicAuth({} as never),
    'Cannot make the filter basicAuth: "users" is required: an object of passwords by name, or a function',
  ],
  [
    () => cors({} as never),
    'Cannot make the filter cors: "origins" is required: "*", an array of origins, or a function',
  ],
  [
    () => cors("https://app.example" as never),
    'Cannot make the filter cors: the options must be an object with "origins", received "https://app.example"',
  ],
  [
    () => compress({ minSize: "big" } as never),
    'Cannot make the filter compress: "minSize" must be a size such as "64KiB", "10MB" or a number of bytes, received "big"',
  ],
  [
    () => redirect("/a", "/b", { status: 200 } as never),
    'Cannot make the filter redirect: "status" must be 301, 302, 303, 307 or 308, received 200',
  ],
  [
    () => redirect("/a", "/b", 301 as never),
    'Cannot make the filter redirect: the options must be an object with "status" and "keepQuery", received 301',
  ],
  [
    () => basicAuth({ users: "htpasswd" as never }),
    'Cannot make the filter basicAuth: "users" must be an object of passwords by name, or a function, received a string of 8 characters',
  ],
  [
    () => basicAuth({ users: ["ann:a password"] as never }),
    'Cannot make the filter basicAuth: "users" must be an object of passwords by name, or a function, received an array',
  ],
  [
    () => cors({ origins: "https://app.example" as never }),
    'Cannot make the filter cors: "origins" must be "*", an array of origins, or a function, received "https://app.example"',
  ],
  [
    () => cors({ origins: "*", methods: "GET" as never }),
    'Cannot make the filter cors: "methods" must be an array of methods, received "GET"',
  ],
  [
    () => ipAllow("10.0.0.0/8" as never),
    'Cannot make the filter ipAllow: the networks must be an array such as ["10.0.0.0/8", "::1"], received "10.0.0.0/8"',
  ],
  [
    () => ipDeny(undefined as never),
    'Cannot make the filter ipDeny: the networks must be an array such as ["10.0.0.0/8", "::1"], received undefined',
  ],
];

for (const [make, message] of BAD_FILTERS) {
  Deno.test(`a ready-made filter says: ${message.slice(0, 100)}`, () => {
    assertEquals(assertThrows(make, TypeError).message, message);
  });
}

const GOOD = `export const upstreams = ["127.0.0.1:80"];`;

/** Files, the arguments of the program, and its last line. */
const BAD_RUNS: readonly (readonly [files: Record<string, string>, args: string[], line: string | RegExp])[] =
  [
    [{}, ["proxy.config.js"], "Cannot load proxy.config.js: there is no such file"],
    [
      { "a.js": `${GOOD} export cosnt x = 1;` },
      ["a.js"],
      /^Cannot load a\.js: syntax error: .* \(line 1, column \d+\)$/,
    ],
    [
      { "a.js": `import "./b.js"; ${GOOD}` },
      ["a.js"],
      /^Cannot load a\.js: it imports file:.*b\.js, which does not exist \(line 1, column 8\)$/,
    ],
    [
      { "a.js": `${GOOD} null.x;` },
      ["a.js"],
      /^Cannot load a\.js: it threw TypeError: .* \(line 1, column \d+\)$/,
    ],
    [
      {
        "a.js": `import { basicAuth } from "${
          import.meta.resolve("../../../mod.ts")
        }";\n${GOOD}\nbasicAuth({ user: {} });`,
      },
      ["a.js"],
      'Cannot load a.js: it threw TypeError: Cannot make the filter basicAuth: "user" is not a known key, did you mean "users"? (line 3, column 1)',
    ],
    [{}, [], "Cannot load proxy.config.ts: there is no such file; lbproxy --init writes one"],
    [{}, ["check"], 'Unknown command "check", did you mean --check?'],
    [{}, ["drain", "default", "a:80"], 'Unknown command "drain", did you mean ctl drain?'],
    [
      { "a.js": GOOD },
      ["run", "a.js"],
      'Unknown command "run", lbproxy proxy.config.ts runs a configuration',
    ],
    [{ "a.js": GOOD }, ["a.js", "--chek"], "Unknown option --chek, did you mean --check?"],
    [
      { "a.js": GOOD },
      ["a.js", "--listen", "foo"],
      '--listen must be "host:port", "unix:/path" or a port number, received "foo"',
    ],
    [
      {
        "a.js": `${GOOD} export const limiter = { key: "ip", limit: 1, window: "1s" };`,
        "text.log": "access GET / 200\n",
      },
      ["simulate", "a.js", "text.log"],
      "Cannot replay text.log: line 1: is not JSON; a trace has one JSON object in each line, as a log with --log-format json has",
    ],
  ];

for (const [files, args, line] of BAD_RUNS) {
  Deno.test(`lbproxy ${args.join(" ")} says: ${String(line).slice(0, 90)}`, async () => {
    await using folder = await ProgramFolder.with(files);
    await using program = folder.start(args, ["-A"]);
    const { stderr } = await program.ended;
    const last = stderr.trim().split("\n").at(-1)!;
    if (typeof line === "string") assertEquals(last, line);
    else assertEquals(line.test(last), true, last);
  });
}

Deno.test("resolveConfig() knows every ready-made filter by its name", () => {
  const makers = { basicAuth, bearerAuth, compress, cors, ipAllow, ipDeny, maxBodySize, mirror, requestId };
  for (const name of Object.keys({ ...makers, rewritePath, securityHeaders, setHeaders, removeHeaders })) {
    const { problems } = assertThrows(() => resolveConfig({ upstreams, [name]: true }), ConfigError);
    assertEquals(problems.map(({ message }) => message), [
      `is not a known key; there is a filter for it: filters: [${name}(...)]`,
    ]);
  }
});

Deno.test("serve() and createHandler() say what is wrong with their options, all of it", () => {
  const options = { log: "jsn", observr: {}, random: 1 } as unknown as ServeOptions;
  const error = assertThrows(() => createHandler({ upstreams }, options), TypeError);
  assertEquals(
    error.message,
    'Cannot serve: "log" must be "text", "json" or an observer, received "jsn"; "random" must be a function, received 1; ' +
      '"observr" is not a known key, did you mean "observer"?; "observr" must be an observer with a function event, received an object',
  );
});
