import { WORKERS_EXPECTED } from "../../../lib/config/process_options.ts";
import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../../lib/config/config_error.ts";
import { resolveConfig } from "../../../lib/config/resolve_config.ts";

const DURATION = 'a duration such as "250ms", "5s", "1m", "1h" or a number of milliseconds';
const KEY =
  '"ip", "path", "host", "certificate:fingerprint", "header:NAME", "cookie:NAME", "query:NAME", an array of these, or a function';
const BALANCES =
  '"round-robin", "random", "least-connections", "p2c", "ewma", "consistent-hash", "fnv-hash", "first"';
const limiter = { key: "ip", limit: 1, window: "1s" };
const upstreams = ["a:80"];
const PEM_CERT = "-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n";
const PEM_KEY = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";

/** What is wrong, the configuration, and the one message that it gives after "Cannot load configuration: ". */
const BAD: readonly [what: string, config: unknown, message: string][] = [
  // Found by `deno task fuzz`
  [
    "TLS of one of several listeners that is null",
    { upstreams, listen: [1, { port: 2, tls: null }] },
    'listen[1].tls must be an object with "cert" and "key" (paths or PEM texts), or "certificates", received null',
  ],
  [
    "store that JSON has no word for",
    { upstreams, limiter: [{ ...limiter, store: { type: "redis", url: 10n } }] },
    'limiter[0].store.url must be "redis://host:port" or "rediss://host:port", or an array of them, received something else',
  ],
  [
    "pool whose name is a book",
    { upstreams: { a: upstreams, default: upstreams }, routes: [{ upstream: "x".repeat(1000) }] },
    `routes[0].upstream must be a pool, one of "a", "default", received "${"x".repeat(60)}..."`,
  ],
  [
    "pool with a name of every object",
    { upstreams: { default: upstreams, constructor: null } },
    "upstreams.constructor is not a name for a pool",
  ],
  [
    "list with a place that was left out",
    // deno-lint-ignore no-sparse-arrays
    { upstreams, limiter: [, limiter] },
    'limiter[0] must be an object with "key", "limit" and "window", received undefined',
  ],
  [
    "key by a field whose name is a book",
    { upstreams, limiter: { ...limiter, key: `header:${"x_".repeat(500)}` } },
    `limiter.key must not name the field "${
      "x_".repeat(30)
    }...", which listeners drop unless they say underscores: "pass"`,
  ],
  // The whole
  ["no object", 5, 'the configuration must be an object with "upstreams", received 5'],
  ["null", null, 'the configuration must be an object with "upstreams", received null'],
  ["an array", [], 'the configuration must be an object with "upstreams", received an empty array'],
  [
    "nothing in it",
    {},
    'upstreams is required: an array of "host:port", an object with "servers", or either by name',
  ],
  ["misspelt key", { upstreams, limitter: limiter }, 'limitter is not a known key, did you mean "limiter"?'],
  [
    "key in another case",
    { upstreams, grace_period: "1s" },
    'grace_period is not a known key, did you mean "gracePeriod"?',
  ],
  [
    "key that is like no other",
    { upstreams, helper: true },
    'helper is not a known key; known are "listen", "upstreams", "limiter", "trustedProxies", "forwarded", "paths", "forward", "overload", "tracing", "serverTiming", "accessLog", "metrics", "admin", "gracePeriod", "webSocketGrace", "shutdownDelay", "workers", "rollback", "onListen", "routes", "filters", "newContext", "requestFilter", "requestBodyFilter", "upstreamPeer", "upstreamRequestFilter", "failToConnect", "upstreamResponseFilter", "responseFilter", "responseBodyFilter", "failToProxy", "localReplyFilter", "logging"',
  ],
  ["filter that is no function", { upstreams, logging: true }, "logging must be a function, received true"],
  [
    "filter sets that are no array",
    { upstreams, filters: {} },
    "filters must be an array of objects with phases, received an object",
  ],
  [
    "filter set with a misspelt phase",
    { upstreams, filters: [{ requestFilter() {} }, { responsFilter() {} }] },
    'filters[1].responsFilter is not a known key, did you mean "responseFilter"?',
  ],
  [
    "filter set with a phase that is no function",
    { upstreams, filters: [{ logging: 1 }] },
    "filters[0].logging must be a function, received 1",
  ],
  ["grace period without unit", {
    upstreams,
    gracePeriod: "30",
  }, `gracePeriod must be ${DURATION}, received "30"`],
  [
    "a unix socket that other processes are to listen at",
    { upstreams, listen: { unix: "/a", reusePort: true } },
    'listen.reusePort must not be used with "unix", which a unix socket does not have',
  ],
  ["grace of WebSockets without unit", {
    upstreams,
    webSocketGrace: "5",
  }, `webSocketGrace must be ${DURATION}, received "5"`],
  ["shutdown delay that is no duration", {
    upstreams,
    shutdownDelay: -1,
  }, `shutdownDelay must be ${DURATION}, received -1`],
  [
    "rollback at more than all requests",
    { upstreams, rollback: { errorRate: 2, within: "10s" } },
    "rollback.errorRate must be a number from 0 to 1, received 2",
  ],
  [
    "rollback without a time",
    { upstreams, rollback: { errorRate: 0.1 } },
    'rollback.within is required: a duration such as "250ms", "5s", "1m", "1h" or a number of milliseconds',
  ],
  [
    "rollback after no request",
    { upstreams, rollback: { errorRate: 0.1, within: "10s", minRequests: 0 } },
    "rollback.minRequests must be a whole number of at least 1, received 0",
  ],
  // workers
  ["no worker", { upstreams, workers: 0 }, `workers must be ${WORKERS_EXPECTED}, received 0`],
  ["many workers", { upstreams, workers: 33 }, `workers must be ${WORKERS_EXPECTED}, received 33`],
  ["half a worker", { upstreams, workers: 1.5 }, `workers must be ${WORKERS_EXPECTED}, received 1.5`],
  ["workers as a text", { upstreams, workers: "4" }, `workers must be ${WORKERS_EXPECTED}, received "4"`],
  // paths
  [
    "a way of comparing paths that there is not",
    { upstreams, paths: "normalise" },
    'paths must be one of "normalize", "refuse", "raw", received "normalise", did you mean "normalize"?',
  ],
  [
    "a way of comparing the paths of a route that there is not",
    { upstreams, routes: [{ paths: "Raw" }] },
    'routes[0].paths must be one of "normalize", "refuse", "raw", received "Raw", did you mean "raw"?',
  ],
  [
    "a path to forward that there is not",
    { upstreams, forward: true },
    'forward must be "received" or "normalized", received true',
  ],
  [
    "a path for a route to forward that there is not",
    { upstreams, routes: [{ forward: "raw" }] },
    'routes[0].forward must be "received" or "normalized", received "raw"',
  ],
  [
    "a normal form that is forwarded, but not compared",
    { upstreams, paths: "raw", forward: "normalized" },
    'forward must not be "normalized" where "paths" is "raw": route and server would see different paths',
  ],
  [
    "a normal form that a route forwards, but does not compare",
    { upstreams, paths: "raw", routes: [{ forward: "received" }, { forward: "normalized" }] },
    'routes[1].forward must not be "normalized" where "paths" is "raw": route and server would see different paths',
  ],
  // routes
  [
    "routes that are no array",
    { upstreams, routes: {} },
    "routes must be an array of routes, received an object",
  ],
  ["no routes", { upstreams, routes: [] }, "routes must have at least one route"],
  [
    "route that is no object",
    { upstreams, routes: ["/a"] },
    'routes[0] must be an object of a route, received "/a"',
  ],
  [
    "route option misspelt",
    { upstreams, routes: [{ upstreams: "a" }] },
    'routes[0].upstreams is not a known key, did you mean "upstream"?',
  ],
  [
    "route condition misspelt",
    { upstreams, routes: [{ match: { hosts: "a" } }] },
    'routes[0].match.hosts is not a known key, did you mean "host"?',
  ],
  [
    "route path without slash",
    { upstreams, routes: [{ match: { path: "api/*" } }] },
    'routes[0].match.path must be a pattern for paths such as "/api/*", received "api/*"',
  ],
  [
    "route path that is no pattern",
    { upstreams, routes: [{ match: { path: ["/a", "/(("] } }] },
    'routes[0].match.path[1] must be a pattern for paths such as "/api/*", received "/(("',
  ],
  [
    "route host with port",
    { upstreams, routes: [{ match: { host: "a:80" } }] },
    'routes[0].match.host must be a pattern for hosts such as "*.shop.example", without port, received "a:80"',
  ],
  [
    "route method in small letters",
    { upstreams, routes: [{ match: { method: "get" } }] },
    'routes[0].match.method must be a method in capitals such as "GET", received "get"',
  ],
  [
    "route without any method",
    { upstreams, routes: [{ match: { method: [] } }] },
    'routes[0].match.method must be a method in capitals such as "GET", or an array of at least one, received an empty array',
  ],
  [
    "route field that is no field",
    { upstreams, routes: [{ match: { headers: { "a b": "1" } } }] },
    'routes[0].match.headers["a b"] is not a name for a field',
  ],
  [
    "route field with a number",
    { upstreams, routes: [{ match: { headers: { a: 1 } } }] },
    "routes[0].match.headers.a must be a text, a regular expression, true (any value) or false (none), received 1",
  ],
  ["route to no pool", {
    upstreams: { a: { servers: ["a:80"] }, b: { servers: ["b:80"] } },
    routes: [{ upstream: "c" }],
  }, 'routes[0].upstream must be a pool, one of "a", "b", received "c"'],
  ["split to no pool", {
    upstreams: { a: { servers: ["a:80"] }, b: { servers: ["b:80"] } },
    routes: [{ upstream: { a: 1, c: 2 } }],
  }, 'routes[0].upstream must be a pool, one of "a", "b", received "c"'],
  [
    "route without upstream nor default",
    {
      upstreams: { a: { servers: ["a:80"] }, b: { servers: ["b:80"] } },
      routes: [{}],
    },
    'routes[0] must name an upstream, one of "a", "b", even where a filter responds: none is named "default"',
  ],
  [
    "split without shares",
    { upstreams, routes: [{ upstream: { default: 0 } }] },
    "routes[0].upstream must have a pool with a share above 0",
  ],
  [
    "split with a share below 0",
    { upstreams, routes: [{ upstream: { default: -1 } }] },
    "routes[0].upstream.default must be a number of at least 0, received -1",
  ],
  [
    "split by no key",
    { upstreams, routes: [{ splitKey: "user" }] },
    `routes[0].splitKey must be ${KEY} ("header:user" counts by a field), received "user"`,
  ],
  [
    "rewrite that is a text",
    { upstreams, routes: [{ rewrite: "/a" }] },
    'routes[0].rewrite must be an object with stripPrefix, replace and prefix, or a function, received "/a"',
  ],
  [
    "rewrite with a prefix without slash",
    { upstreams, routes: [{ rewrite: { prefix: "v2" } }] },
    'routes[0].rewrite.prefix must be a path such as "/api", beginning with a slash, received "v2"',
  ],
  [
    "rewrite with a line break",
    { upstreams, routes: [{ rewrite: { prefix: "/a\r\nx: y" } }] },
    'routes[0].rewrite.prefix must be a path such as "/api", beginning with a slash, received "/a\\r\\nx: y"',
  ],
  [
    "rewrite with half a replacement",
    { upstreams, routes: [{ rewrite: { replace: ["/a"] } }] },
    "routes[0].rewrite.replace must be [text or regular expression, replacement], received an array",
  ],
  [
    "route timeout without unit",
    { upstreams, routes: [{ timeouts: { idle: "5" } }] },
    `routes[0].timeouts.idle must be ${DURATION}, received "5"`,
  ],
  [
    "retries that are no options",
    { upstreams: { servers: ["a:1"], retries: true } },
    "upstreams.retries must be false, a function, or an object such as { attempts: 2 }, received true",
  ],
  [
    "retries on words and statuses that do not exist",
    { upstreams: { servers: ["a:1"], retries: { on: ["reset", "refused", 503] } } },
    'upstreams.retries.on[1] must be "connect", "reset", "timeout" or a status from 400 to 599, received "refused"',
  ],
  [
    "more retries than a request could want",
    { upstreams, routes: [{ retries: { attempts: 1000 } }] },
    "routes[0].retries.attempts must be a whole number from 0 to 100, received 1000",
  ],
  [
    "a budget below nothing",
    { upstreams: { servers: ["a:1"], retries: { budget: { percent: -1 } } } },
    "upstreams.retries.budget.percent must be a number of at least 0, received -1",
  ],
  [
    "a backoff without unit",
    { upstreams: { servers: ["a:1"], retries: { backoff: { base: "25" } } } },
    `upstreams.retries.backoff.base must be ${DURATION}, received "25"`,
  ],
  [
    "tracing of more than everything",
    { upstreams, tracing: { sample: 2 } },
    "tracing.sample must be a share from 0 to 1, received 2",
  ],
  [
    "tracing for somebody else",
    { upstreams, tracing: { continue: "always" } },
    'tracing.continue must be one of "anyone", "trusted", "nobody", received "always"',
  ],
  [
    "tracing by a word",
    { upstreams, tracing: "on" },
    'tracing must be true, false, or an object with sample and continue, received "on"',
  ],
  [
    "serverTiming that is neither on nor off",
    { upstreams, serverTiming: "on" },
    'serverTiming must be true or false, received "on"',
  ],
  [
    "metrics that is neither on nor off",
    { upstreams, metrics: "on" },
    'metrics must be true or false, received "on"',
  ],
  [
    "access log by a word",
    { upstreams, accessLog: "json" },
    'accessLog must be false, or an object such as { format: "json", to: { file: "access.log" } }, received "json"',
  ],
  [
    "access log in a format that there is not",
    { upstreams, accessLog: { format: "clf" } },
    'accessLog.format must be one of "text", "json", "combined", or a function, received "clf"',
  ],
  [
    "access log to a place that there is not",
    { upstreams, accessLog: { to: "syslog" } },
    'accessLog.to must be "stdout", "stderr", or an object with "file", received "syslog"',
  ],
  [
    "access log to no file",
    { upstreams, accessLog: { to: {} } },
    "accessLog.to.file is required: the path of a file",
  ],
  [
    "access log to a file without a name",
    { upstreams, accessLog: { to: { file: "" } } },
    'accessLog.to.file must be the path of a file, received ""',
  ],
  [
    "access log in tiny files",
    { upstreams, accessLog: { to: { file: "a", maxSize: 10 } } },
    'accessLog.to.maxSize must be a size such as "64KiB", "10MB" or a number of bytes, from 1024 to 9007199254740991, received 10',
  ],
  [
    "access log that keeps no file",
    { upstreams, accessLog: { to: { file: "a", keep: 0 } } },
    "accessLog.to.keep must be a whole number from 1 to 1000, received 0",
  ],
  [
    "access log of no request",
    { upstreams, accessLog: { sample: 0 } },
    "accessLog.sample must be a share above 0, at most 1, received 0",
  ],
  [
    "access log with a field that there is not",
    { upstreams, accessLog: { fields: ["statu"] } },
    'accessLog.fields[0] must be "header:NAME" or one of "requestId", "traceId", "client", "peer", "method", "host", "target", "protocol", "tls", "referer", "userAgent", "status", "route", "server", "pool", "durationMs", "queueMs", "connectMs", "firstByteMs", "bytes", "bytesReceived", "attempts", "tries", "limits", "limited", "wouldLimit", "error", "end", received "statu", did you mean "status"?',
  ],
  [
    "access log with fields in a format that says itself what stands in it",
    { upstreams, accessLog: { format: "combined", fields: ["status"] } },
    'accessLog must have no "fields" with this format, which says itself what stands in a line',
  ],
  [
    "access log that redacts everything",
    { upstreams, accessLog: { redact: true } },
    "accessLog.redact must be false, or an array of names, received true",
  ],
  [
    "overload without room",
    { upstreams, overload: { maxInFlight: 0 } },
    "overload.maxInFlight must be a whole number of at least 1, or Infinity, received 0",
  ],
  // admin
  [
    "admin listener at no place",
    { upstreams, admin: "here" },
    'admin must be "host:port", "unix:/path" or a port number, true, false or an object with "listen", "tokens", "read", "hosts", "readyz" and "tls", received "here"',
  ],
  [
    "admin listener where everybody reaches it",
    { upstreams, admin: "0.0.0.0:6189" },
    'admin needs "tokens" at an address that other machines can reach',
  ],
  [
    "admin listener where everybody reaches it, without a token",
    { upstreams, admin: { listen: "[::]:6189", tokens: {} } },
    'admin needs "tokens" at an address that other machines can reach',
  ],
  [
    "admin listener that tells everybody everything",
    { upstreams, admin: { listen: "10.0.0.1:1", read: "anyone", tokens: { ops: { env: "TOKEN" } } } },
    'admin.read must be "token" where others than this machine can reach it',
  ],
  [
    "admin listener that nobody may read",
    { upstreams, admin: { read: "token" } },
    'admin.read must not be "token" without "tokens"',
  ],
  [
    "admin token that can be guessed",
    { upstreams, admin: { tokens: { ops: "swordfish" } } },
    'admin.tokens.ops must be { file: "PATH" }, { env: "NAME" } or the text of a token of at least 16 characters, received a string of 9 characters',
  ],
  [
    "admin token of nobody",
    { upstreams, admin: { tokens: { "a b": { file: "token" } } } },
    'admin.tokens["a b"] must be named with letters, digits and ._@- only, 64 at most',
  ],
  [
    "admin readiness by a pool that there is not",
    { upstreams, admin: { readyz: { pools: ["api"] } } },
    'admin.readyz.pools[0] must be a pool, one of "default", received "api"',
  ],
  [
    "admin TLS without a key",
    { upstreams, admin: { tls: { cert: "cert.pem" } } },
    "admin.tls.key is required: the PEM text of a private key, or the path of a file with it",
  ],
  [
    "admin TLS that is none",
    { upstreams, admin: { tls: true } },
    'admin.tls must be an object with "cert" and "key", received true',
  ],
  [
    "admin TLS with what is listen's alone",
    { upstreams, admin: { tls: { cert: "cert.pem", key: "key.pem", minVersion: "1.3" } } },
    'admin.tls.minVersion is not a known key; known are "cert", "key"',
  ],
  [
    "admin TLS on a unix socket",
    { upstreams, admin: { listen: "unix:/run/lbproxy.sock", tls: { cert: "cert.pem", key: "key.pem" } } },
    "admin.tls needs a host and a port",
  ],
  [
    "admin host with a port",
    { upstreams, admin: { hosts: ["proxy.example:80"] } },
    'admin.hosts[0] must be a host name without port, received "proxy.example:80"',
  ],
  [
    "route filter misspelt",
    { upstreams, routes: [{ filters: [{ loging() {} }] }] },
    'routes[0].filters[0].loging is not a known key, did you mean "logging"?',
  ],
  [
    "two routes of one name",
    { upstreams, routes: [{ name: "a" }, {}, { name: "a" }] },
    "routes[2].name is that of [0]",
  ],
  [
    "two policies of one name in routes",
    {
      upstreams,
      limiter,
      routes: [{ limiter: { ...limiter, name: "a" } }, { limiter: { ...limiter, name: "a" } }],
    },
    'routes[1].limiter has the name "a" of another policy, and would count with it',
  ],
  [
    "store of a route",
    { upstreams, routes: [{ limiter: { ...limiter, store: { type: "redis", url: "redis://localhost" } } }] },
    "routes[0].limiter must not have a store: limits of routes are counted where those of the configuration are",
  ],
  [
    "more policies than can be counted",
    { upstreams, routes: Array.from({ length: 129 }, () => ({ limiter: { ...limiter } })) },
    "routes must have at most 128 policies together, have 129",
  ],
  // listen
  [
    "listen without port",
    { upstreams, listen: "localhost" },
    'listen must be "host:port", "unix:/path" or a port number, received "localhost"',
  ],
  [
    "listen at a broken IPv4",
    { upstreams, listen: "0.0.0:80" },
    'listen must be "host:port", "unix:/path" or a port number, received "0.0.0:80"',
  ],
  [
    "listen at port 70000",
    { upstreams, listen: 70000 },
    "listen must be a port number from 0 to 65535, received 70000",
  ],
  [
    "listen at half a port",
    { upstreams, listen: 80.5 },
    "listen must be a port number from 0 to 65535, received 80.5",
  ],
  [
    "listen nowhere",
    { upstreams, listen: [] },
    "listen must be at least one place to listen at, received an empty array",
  ],
  [
    "listen at a function",
    { upstreams, listen: () => {} },
    'listen must be "host:port", "unix:/path" or a port number, received a function',
  ],
  [
    "listen option misspelt",
    { upstreams, listen: { host: "::" } },
    'listen.host is not a known key; here it is called "hostname"',
  ],
  [
    "listen port as text",
    { upstreams, listen: { port: "80" } },
    'listen.port must be a whole number from 0 to 65535, received "80"',
  ],
  [
    "listen twice at one place",
    { upstreams, listen: [80, "[::]:80", "0.0.0.0:80"] },
    "listen[2] is the same address as [0]",
  ],
  [
    "listen with a key that is nothing",
    { upstreams, listen: { tls: { cert: PEM_CERT, key: 5 } } },
    "listen.tls.key must be the PEM text of a private key, or the path of a file with it, received 5",
  ],
  [
    "listen with key and certificate mixed up",
    { upstreams, listen: { tls: { cert: PEM_KEY, key: PEM_KEY } } },
    `listen.tls.cert must be the PEM text of a certificate, or the path of a file with it, received a string of ${PEM_KEY.length} characters`,
  ],
  [
    "listen with half of tls",
    { upstreams, listen: { tls: { cert: PEM_CERT } } },
    "listen.tls.key is required",
  ],
  [
    "listen with tls as true",
    { upstreams, listen: { tls: true } },
    'listen.tls must be an object with "cert" and "key" (paths or PEM texts), or "certificates", received true',
  ],
  [
    "listen with a name of two certificates",
    {
      upstreams,
      listen: {
        engine: "http1",
        tls: {
          certificates: [
            { names: ["a.example"], cert: PEM_CERT, key: PEM_KEY },
            { names: ["A.example"], cert: PEM_CERT, key: PEM_KEY },
          ],
        },
      },
    },
    'listen.tls.certificates[1] names "A.example", which [0] does too',
  ],
  [
    "listen with client certificates that nobody judges",
    {
      upstreams,
      listen: {
        engine: "http1",
        tls: { cert: PEM_CERT, key: PEM_KEY, clientCertificates: { ca: [], mode: "request" } },
      },
    },
    'listen.tls.clientCertificates needs "ca" or "verify": nothing else says whose certificates count',
  ],
  [
    "listen with client certificates on the server of the runtime",
    {
      upstreams,
      listen: { engine: "deno", tls: { cert: PEM_CERT, key: PEM_KEY, clientCertificates: { ca: PEM_CERT } } },
    },
    'listen.tls.clientCertificates is for the engine "http1" only, and "deno" is the engine here',
  ],
  [
    "listen with names on the server of the runtime",
    { upstreams, listen: { engine: "deno", tls: { certificates: [{ cert: PEM_CERT, key: PEM_KEY }] } } },
    'listen.tls.certificates is for the engine "http1" only, and "deno" is the engine here',
  ],
  [
    "listen at a relative socket",
    { upstreams, listen: { unix: "a.sock" } },
    'listen.unix must be a path that begins with a slash, received "a.sock"',
  ],
  [
    "listen at a socket and a port",
    { upstreams, listen: { unix: "/a.sock", port: 80 } },
    'listen.port must not be used with "unix", which a unix socket does not have',
  ],
  [
    "listen twice at one socket",
    { upstreams, listen: ["unix:/a.sock", { unix: "/a.sock" }] },
    "listen[1] is the same address as [0]",
  ],
  [
    "redirect to somewhere",
    { upstreams, listen: { redirect: "http" } },
    'listen.redirect must be "https" or "https:PORT", received "http"',
  ],
  [
    "no word for underscores",
    { upstreams, listen: { underscores: true } },
    'listen.underscores must be one of "drop", "refuse", "pass", received true',
  ],
  [
    "listen by an engine that there is not",
    { upstreams, listen: { engine: "http2" } },
    'listen.engine must be one of "auto", "http1", "deno", received "http2"',
  ],
  [
    "PROXY protocol, version 3",
    { upstreams: { servers: upstreams, sendProxyProtocol: 3 } },
    "upstreams.sendProxyProtocol must be 1 or 2, received 3",
  ],
  ...[
    [{ transport: "fetch" }, '"transport" is "fetch"'],
    [{ proxy: "http://p:1" }, 'there is a "proxy"'],
  ].map(([options, why]): [string, unknown, string] => [
    `PROXY protocol where ${why}`,
    { upstreams: { servers: upstreams, sendProxyProtocol: 1, ...options as object } },
    `upstreams.sendProxyProtocol must not stand where ${why}: "fetch" sends no PROXY headers`,
  ]),
  [
    "PROXY protocol with client certificate",
    { upstreams: { servers: upstreams, sendProxyProtocol: 1, tls: { cert: PEM_CERT, key: PEM_KEY } } },
    'upstreams.servers[0] must not have "tls.cert" where there is "sendProxyProtocol", since nothing can be sent in front of such a handshake',
  ],
  ...[0, "64K"].map((bufferRequests): [string, unknown, string] => [
    `content held back up to ${bufferRequests}`,
    { upstreams: { servers: upstreams, bufferRequests } },
    `upstreams.bufferRequests must be a size such as "64KiB", "10MB" or a number of bytes, from 1 to 67108864, received ${
      JSON.stringify(bufferRequests)
    }`,
  ]),
  [
    "PROXY protocol with TLS",
    {
      upstreams,
      listen: {
        engine: "http1",
        tls: { cert: PEM_CERT, key: PEM_KEY },
        proxyProtocol: { from: ["private"] },
      },
    },
    'listen.proxyProtocol must not be used with "tls", since nothing is read in front of a handshake',
  ],
  [
    "timeouts of clients with TLS",
    { upstreams, listen: { timeouts: {}, engine: "deno", tls: { cert: PEM_CERT, key: PEM_KEY } } },
    'listen.timeouts is for the engine "http1" only, and "deno" is the engine here',
  ],
  [
    "HTTP/2 that is neither on nor off",
    { upstreams, listen: { http2: "h2c" } },
    'listen.http2 must be true or false, received "h2c"',
  ],
  [
    "HTTP/2 of a listener with TLS in the wrong place",
    { upstreams, listen: { http2: true, tls: { cert: PEM_CERT, key: PEM_KEY } } },
    'listen.http2 must not be used with "tls", where "tls.http2" says it',
  ],
  [
    "TLS without HTTP/2 by the engine of the runtime",
    { upstreams, listen: { engine: "deno", tls: { http2: false, cert: PEM_CERT, key: PEM_KEY } } },
    'listen.tls.http2 is for the engine "http1" only, and "deno" is the engine here',
  ],
  [
    "PROXY protocol by the engine of the runtime",
    { upstreams, listen: { proxyProtocol: { from: ["private"] }, engine: "deno" } },
    'listen.proxyProtocol is for the engine "http1" only, and "deno" is the engine here',
  ],
  [
    "PROXY protocol from no network",
    { upstreams, listen: { proxyProtocol: { from: ["10/8"] } } },
    'listen.proxyProtocol.from[0] must be "loopback", "private", "unix", an address or a network such as "192.0.2.1", "10.0.0.0/8", "2001:db8::/32", received "10/8"',
  ],
  [
    "PROXY protocol from nobody",
    { upstreams, listen: { proxyProtocol: {} } },
    'listen.proxyProtocol.from is required: an array of addresses, networks, "loopback", "private" or "unix"',
  ],
  [
    "PROXY protocol from everybody",
    { upstreams, listen: { proxyProtocol: true } },
    'listen.proxyProtocol must be an object with "from", received true',
  ],
  [
    "timeout of clients without unit",
    { upstreams, listen: { timeouts: { head: "10" } } },
    `listen.timeouts.head must be ${DURATION}, received "10"`,
  ],
  [
    "timeout of clients that is nothing",
    { upstreams, listen: { timeouts: { write: 0 } } },
    "listen.timeouts.write must be longer than 0, received 0",
  ],
  [
    "timeout of clients that there is not",
    { upstreams, listen: { timeouts: { header: "1s" } } },
    'listen.timeouts.header is not a known key, did you mean "head"?',
  ],
  [
    "rate of content that is no size",
    { upstreams, listen: { minContentRate: -1 } },
    'listen.minContentRate must be a size such as "64KiB", "10MB" or a number of bytes, from 0 to 1048576, received -1',
  ],
  [
    "heads of half a line",
    { upstreams, listen: { maxHeadBytes: 100 } },
    'listen.maxHeadBytes must be a size such as "64KiB", "10MB" or a number of bytes, from 1024 to 1048576, received 100',
  ],
  [
    "no fields",
    { upstreams, listen: { maxFields: 0 } },
    "listen.maxFields must be a whole number from 1 to 10000, received 0",
  ],
  ...["maxConnections", "maxConnectionsPerClient", "maxRequestsPerConnection"].map(
    (key): [string, unknown, string] => [
      `${key} of nothing`,
      { upstreams, listen: { [key]: 0 } },
      `listen.${key} must be a whole number of at least 1, or Infinity, received 0`,
    ],
  ),
  [
    "redirect with underscores",
    { upstreams, listen: { redirect: "https", underscores: "pass" } },
    'listen.underscores must not be used with "redirect", since nothing is forwarded there',
  ],
  ...([
    ["limiter.key", {
      limiter: { ...limiter, key: "header:x_id" },
      listen: [{ port: 1, underscores: "pass" }, 2],
    }],
    ["limiter[1].key[1]", { limiter: [limiter, { ...limiter, key: ["ip", "header:x_id"] }] }],
    ["upstreams.key", {
      upstreams: { servers: upstreams, balance: "fnv-hash", key: "header:x_id" },
      listen: { underscores: "refuse" },
    }],
    ["upstreams.a.key", {
      upstreams: { a: { servers: upstreams, balance: "fnv-hash", key: "header:x_id" }, default: upstreams },
    }],
    ["routes[0].limiter.key", { routes: [{ limiter: { ...limiter, key: "header:x_id" } }] }],
    ["routes[0].splitKey", {
      upstreams: { a: upstreams, default: upstreams },
      routes: [{ upstream: { a: 1, default: 1 }, splitKey: "header:x_id" }],
    }],
    ["routes[0].match.headers.x_id", { routes: [{ match: { headers: { x_id: "1" } } }] }],
  ] as const).map(([path, config]): [string, unknown, string] => [
    `field that is dropped, at ${path}`,
    { upstreams, ...config },
    `${path} must not name the field "x_id", which listeners drop unless they say underscores: "pass"`,
  ]),
  [
    "redirect with tls",
    { upstreams, listen: { redirect: "https", tls: { cert: PEM_CERT, key: PEM_KEY } } },
    'listen.tls must not be used with "redirect", since it is clients without TLS that are sent elsewhere',
  ],
  [
    "names that are not checked, by fetch",
    { upstreams: { servers: ["a:443"], tls: { verifyHostname: false }, transport: "fetch" } },
    'upstreams.servers[0] must not have "tls.verifyHostname" false where "fetch" is the transport, which always checks the name',
  ],
  [
    "verifyHostname as text",
    { upstreams: { servers: ["a:443"], tls: { verifyHostname: "no" } } },
    'upstreams.tls.verifyHostname must be true or false, received "no"',
  ],
  // upstreams
  [
    "upstreams as text",
    { upstreams: "a:80" },
    'upstreams must be an array of "host:port", an object with "servers", or either by name, received "a:80"',
  ],
  [
    "a bad server of a pool that is an array",
    { upstreams: { default: ["a:80"], next: ["b:80", "c"] } },
    'upstreams.next[1] must be "host:port", received "c"',
  ],
  [
    "no server",
    { upstreams: [] },
    "upstreams must be an array of at least one server, received an empty array",
  ],
  ["no pool", { upstreams: {} }, "upstreams must have at least one pool"],
  ["server without port", { upstreams: ["a:80", "foo"] }, 'upstreams[1] must be "host:port", received "foo"'],
  [
    "server with port 0",
    { upstreams: ["a:0"] },
    'upstreams[0] must be "host:port" with a port from 1 to 65535, received "a:0"',
  ],
  [
    "server with port 65536",
    { upstreams: ["a:65536"] },
    'upstreams[0] must be "host:port" with a port from 1 to 65535, received "a:65536"',
  ],
  [
    "IPv6 without brackets",
    { upstreams: ["::1:80"] },
    'upstreams[0] must be "host:port" with an IPv6 address in brackets ("[::1]:80"), received "::1:80"',
  ],
  [
    "IPv4 that is none",
    { upstreams: ["10.0.0.256:80"] },
    'upstreams[0] must be "host:port" with a whole IPv4 address or a name, received "10.0.0.256:80"',
  ],
  [
    "server with a path",
    { upstreams: ["http://a/b"] },
    'upstreams[0] must be "host:port" without a path, received "http://a/b"',
  ],
  [
    "server with another scheme",
    { upstreams: ["ftp://a:21"] },
    'upstreams[0] must be "host:port", "http://..." or "https://...", received "ftp://a:21"',
  ],
  [
    "server with a password",
    { upstreams: ["https://me:hunter2@a"] },
    'upstreams[0] must be "host:port" without user name and password, received "https://***@a"',
  ],
  [
    "relative unix socket",
    { upstreams: ["unix:run/a.sock"] },
    'upstreams[0] must be "unix:/path" with an absolute path, received "unix:run/a.sock"',
  ],
  [
    "server that is a number",
    { upstreams: [8080] },
    'upstreams[0] must be "host:port" or an object with "address", received 8080',
  ],
  ["server without address", { upstreams: [{ weight: 2 }] }, 'upstreams[0].address is required: "host:port"'],
  [
    "server option misspelt",
    { upstreams: [{ address: "a:80", wieght: 2 }] },
    'upstreams[0].wieght is not a known key, did you mean "weight"?',
  ],
  [
    "server twice",
    { upstreams: ["a:80", { address: "http://A:80" }] },
    "upstreams[1] is the same server as [0]",
  ],
  [
    "negative weight",
    { upstreams: [{ address: "a:80", weight: -1 }] },
    "upstreams[0].weight must be a whole number from 0 to 65535, received -1",
  ],
  [
    "weight as text",
    { upstreams: [{ address: "a:80", weight: "2" }] },
    'upstreams[0].weight must be a whole number from 0 to 65535, received "2"',
  ],
  [
    "no weight at all",
    { upstreams: [{ address: "a:80", weight: 0 }] },
    "upstreams must have a server with a weight above 0",
  ],
  [
    "pool without servers",
    { upstreams: { tls: true } },
    'upstreams.servers is required where there is no "discovery"',
  ],
  [
    "pool option misspelt",
    { upstreams: { servers: upstreams, healthcheck: { type: "tcp" } } },
    'upstreams.healthcheck is not a known key, did you mean "healthCheck"?',
  ],
  [
    "several pools, none the default",
    { upstreams: { a: { servers: upstreams }, b: { servers: upstreams } } },
    'upstreams must have a pool named "default" in addition to "a", "b", or routes',
  ],
  [
    "pool with a strange name",
    { upstreams: { "a b": { servers: upstreams } } },
    'upstreams["a b"] is not a name for a pool: letters, digits, "-", "_" and "." are',
  ],
  [
    "pool that is none",
    { upstreams: { default: { servers: upstreams }, api: "a:80" } },
    'upstreams.api must be an object with "servers", received "a:80"',
  ],
  // timeouts
  [
    "timeout of nothing",
    { upstreams: { servers: upstreams, timeouts: { connect: "0s" } } },
    'upstreams.timeouts.connect must be longer than 0, received "0s"',
  ],
  [
    "total time of nothing",
    { upstreams: { servers: upstreams, timeouts: { total: 0 } } },
    "upstreams.timeouts.total must be longer than 0, received 0",
  ],
  [
    "timeout option misspelt",
    { upstreams: { servers: upstreams, timeouts: { respone: 1 } } },
    'upstreams.timeouts.respone is not a known key, did you mean "response"?',
  ],
  // transport
  [
    "transport that there is not",
    { upstreams: { servers: upstreams, transport: "http2" } },
    'upstreams.transport must be one of "auto", "http1", "fetch", received "http2"',
  ],
  [
    "protocol that there is not",
    { upstreams: { servers: upstreams, protocol: "h3" } },
    'upstreams.protocol must be "http1" or "h2", received "h3"',
  ],
  [
    "proxy without port",
    { upstreams: { servers: upstreams, proxy: "http://proxy" } },
    'upstreams.proxy must be "http://host:port" or "socks5://host:port", received "http://proxy"',
  ],
  [
    "proxy with port 0",
    { upstreams: { servers: upstreams, proxy: "http://proxy:0" } },
    'upstreams.proxy must be "http://host:port" or "socks5://host:port", received "http://proxy:0"',
  ],
  [
    "proxy of another kind, without showing its password",
    { upstreams: { servers: upstreams, proxy: "https://me:hunter2@proxy:1" } },
    'upstreams.proxy must be "http://host:port" or "socks5://host:port", received "https://***@proxy:1"',
  ],
  ...[`${"u".repeat(256)}:p`, `u:${"%C3%A9".repeat(128)}`].map((credentials): [string, unknown, string] => [
    `SOCKS proxy with ${credentials.length} characters of user and password`,
    { upstreams: { servers: upstreams, proxy: `socks5://${credentials}@proxy:1` } },
    'upstreams.proxy must be "socks5://user:password@host:port" with at most 255 bytes each of user and password, received "socks5://***@proxy:1"',
  ]),
  [
    "server behind a SOCKS proxy whose name is a book",
    { upstreams: { servers: [`${"x".repeat(256)}:80`], proxy: "socks5://proxy:1" } },
    'upstreams.servers[0] must not have a name of more than 255 bytes where the "proxy" is SOCKS',
  ],
  [
    "HTTP/2 by the transport for HTTP/1.1",
    { upstreams: { servers: upstreams, transport: "http1", protocol: "h2" } },
    'upstreams.transport must not be "http1" where "protocol" is "h2"; leave it out',
  ],
  [
    "a proxy by a transport that knows none",
    { upstreams: { servers: upstreams, transport: "http1", proxy: "socks5://proxy:1080" } },
    'upstreams.transport must not be "http1" where there is a "proxy", which takes "fetch"; leave it out or set it to "fetch"',
  ],
  [
    "limit of connections, which is one of requests",
    { upstreams: { servers: upstreams, connections: { maxIdle: 1, maxConnections: 8 } } },
    'upstreams.connections.maxConnections is not an option any more: "maxInFlight" of a server, or of the pool, limits its requests and with them its connections',
  ],
  [
    "queue for connections",
    { upstreams: { servers: upstreams, connections: { maxQueue: 1 } } },
    'upstreams.connections.maxQueue is not an option any more: requests wait in the "queue" of the pool, and its "size" is how many',
  ],
  [
    "waiting for a connection",
    { upstreams: { servers: upstreams, connections: { queueTimeout: "1s" } } },
    'upstreams.connections.queueTimeout is not an option any more: requests wait in the "queue" of the pool, and its "timeout" is how long',
  ],
  [
    "fewer connections than none kept",
    { upstreams: { servers: upstreams, connections: { maxIdle: -1 } } },
    "upstreams.connections.maxIdle must be a whole number of at least 0, or Infinity, received -1",
  ],
  [
    "connections as a number",
    { upstreams: { servers: upstreams, connections: 8 } },
    'upstreams.connections must be an object with "maxIdle", "idleTimeout" and "maxStreams", received 8',
  ],
  [
    "no request on a connection",
    { upstreams: { servers: upstreams, protocol: "h2", connections: { maxStreams: 0 } } },
    "upstreams.connections.maxStreams must be a whole number of at least 1, or Infinity, received 0",
  ],
  ...[{}, { protocol: "h2", transport: "fetch" }].map((options): [string, unknown, string] => [
    `requests at the same time on a connection, with ${JSON.stringify(options)}`,
    { upstreams: { servers: upstreams, connections: { maxStreams: 8 }, ...options } },
    'upstreams.connections must not have "maxStreams" unless "protocol" is "h2", without "fetch" or a "proxy"',
  ]),
  [
    "option of connections misspelt",
    { upstreams: { servers: upstreams, connections: { maxIdel: 8 } } },
    'upstreams.connections.maxIdel is not a known key, did you mean "maxIdle"?',
  ],
  [
    "unix socket through a proxy",
    { upstreams: { servers: ["unix:/a"], proxy: "http://p:1" } },
    'upstreams.servers[0] must not be a unix socket where there is a "proxy"',
  ],
  [
    "plain HTTP/2 through a proxy",
    { upstreams: { servers: upstreams, protocol: "h2", proxy: "http://p:1" } },
    'upstreams.servers[0] must have "tls" where "protocol" is "h2" and there is a "proxy"',
  ],
  [
    "port that fetch refuses through a proxy",
    { upstreams: { servers: ["https://a:6000", "b:6000"], proxy: "http://p:1" } },
    'upstreams.servers[1] must not have the port 6000, which "fetch" refuses, where there is a "proxy"',
  ],
  // webSocket
  [
    "webSocket as true",
    { upstreams: { servers: ["a:80"], webSocket: true } },
    'upstreams.webSocket must be false or an object such as { idleTimeout: "5m" }; WebSockets are forwarded without it, received true',
  ],
  [
    "webSocket option misspelt",
    { upstreams: { servers: ["a:80"], webSocket: { idleTimout: "1s" } } },
    'upstreams.webSocket.idleTimout is not a known key, did you mean "idleTimeout"?',
  ],
  [
    "ping without pause",
    { upstreams: { servers: ["a:80"], webSocket: { pingInterval: 0 } } },
    "upstreams.webSocket.pingInterval must be longer than 0, received 0",
  ],
  [
    "messages beyond what the runtime takes",
    { upstreams: { servers: ["a:80"], webSocket: { maxMessageSize: "64MiB" } } },
    'upstreams.webSocket.maxMessageSize must be less than "64MiB", received "64MiB"',
  ],
  [
    "buffer of nothing",
    { upstreams: { servers: ["a:80"], webSocket: { maxBuffered: "much" } } },
    'upstreams.webSocket.maxBuffered must be a size such as "64KiB", "10MB" or a number of bytes above 0, received "much"',
  ],
  [
    "webSocket through a proxy",
    { upstreams: { servers: ["a:80"], proxy: "http://p:3128", webSocket: {} } },
    'upstreams.webSocket must be left out or false where there is a "proxy", through which WebSockets are not forwarded',
  ],
  // tls
  [
    "tls as text",
    { upstreams: { servers: upstreams, tls: "yes" } },
    'upstreams.tls must be true, false or an object with TLS options, received "yes"',
  ],
  [
    "server name with port",
    { upstreams: { servers: upstreams, tls: { serverName: "a:443" } } },
    'upstreams.tls.serverName must be a host name without port, received "a:443"',
  ],
  [
    "certificate without key",
    { upstreams: { servers: upstreams, tls: { cert: PEM_CERT } } },
    'upstreams.tls.key is required with "cert"',
  ],
  [
    "key without certificate",
    { upstreams: { servers: upstreams, tls: { key: PEM_KEY } } },
    'upstreams.tls.cert is required with "key"',
  ],
  [
    "name of a file for a certificate",
    { upstreams: { servers: upstreams, tls: { caCerts: ["./ca.pem"] } } },
    "upstreams.tls.caCerts[0] must be the PEM text of a certificate, as Deno.readTextFileSync(PATH) reads it, received a string of 8 characters",
  ],
  [
    "one certificate for an array",
    { upstreams: { servers: upstreams, tls: { caCerts: PEM_CERT } } },
    `upstreams.tls.caCerts must be an array of PEM texts, received a string of ${PEM_CERT.length} characters`,
  ],
  [
    "key for a certificate",
    { upstreams: { servers: upstreams, tls: { cert: PEM_KEY, key: PEM_KEY } } },
    `upstreams.tls.cert must be the PEM text of a certificate, as Deno.readTextFileSync(PATH) reads it, received a string of ${PEM_KEY.length} characters`,
  ],
  [
    "https without TLS",
    { upstreams: { servers: ["https://a"], tls: false } },
    'upstreams.servers[0] must not be "https://" where "tls" is false',
  ],
  [
    "http with TLS",
    { upstreams: { servers: ["http://a"], tls: true } },
    'upstreams.servers[0] must not be "http://" where "tls" is on; leave the scheme out, or set "tls" to false',
  ],
  [
    "https without TLS for itself",
    { upstreams: [{ address: "https://a", tls: false }] },
    'upstreams[0] must not be "https://" where "tls" is false',
  ],
  [
    "TLS on a unix socket",
    { upstreams: [{ address: "unix:/a", tls: true }] },
    'upstreams[0] must have "tls.serverName", since a unix socket has no host name',
  ],
  // healthCheck
  [
    "check without type",
    { upstreams: { servers: upstreams, healthCheck: {} } },
    'upstreams.healthCheck.type is required: one of "tcp", "tls", "http", "grpc", "custom"',
  ],
  [
    "check of another type",
    { upstreams: { servers: upstreams, healthCheck: { type: "udp" } } },
    'upstreams.healthCheck.type must be one of "tcp", "tls", "http", "grpc", "custom", received "udp"',
  ],
  [
    "check as text",
    { upstreams: { servers: upstreams, healthCheck: "tcp" } },
    'upstreams.healthCheck must be an object such as { type: "http", path: "/health" }, with a "type" (one of "tcp", "tls", "http", "grpc", "custom"), or a function, received "tcp"',
  ],
  [
    "health check by gRPC of no service",
    { upstreams: { servers: upstreams, healthCheck: { type: "grpc", service: 5 } } },
    'upstreams.healthCheck.service must be a service such as "package.Service", received 5',
  ],
  [
    "health check by gRPC with an option of HTTP",
    { upstreams: { servers: upstreams, healthCheck: { type: "grpc", path: "/" } } },
    'upstreams.healthCheck.path is not a known key; known are "type", "interval", "unhealthyInterval", "timeout", "rise", "fall", "jitter", "port", "initial", "service", "host"',
  ],
  [
    "check that never fails",
    { upstreams: { servers: upstreams, healthCheck: { type: "tcp", fall: 0 } } },
    "upstreams.healthCheck.fall must be a whole number of at least 1, received 0",
  ],
  ["check with too much jitter", {
    upstreams: { servers: upstreams, healthCheck: { type: "tcp", jitter: 2 } },
  }, "upstreams.healthCheck.jitter must be a number from 0 to 1, received 2"],
  [
    "check at port 0",
    { upstreams: { servers: upstreams, healthCheck: { type: "tcp", port: 0 } } },
    "upstreams.healthCheck.port must be a whole number from 1 to 65535, received 0",
  ],
  [
    "check without pause",
    { upstreams: { servers: upstreams, healthCheck: { type: "tcp", interval: 0 } } },
    "upstreams.healthCheck.interval must be longer than 0, received 0",
  ],
  // trustedProxies, forwarded
  [
    "trusted proxy that is no network",
    { upstreams, trustedProxies: ["loopback", "10.0.0.1/8"] },
    'trustedProxies[1] must be "loopback", "private", "unix", a network without bits beyond its prefix, "10.0.0.0/8" or the address alone, received "10.0.0.1/8"',
  ],
  [
    "trusted proxies that are no array",
    { upstreams, trustedProxies: "loopback" },
    'trustedProxies must be an array of addresses, networks, "loopback", "private" or "unix", or an object such as { from: ["10.0.0.0/8"], field: "forwarded" }, received "loopback"',
  ],
  [
    "trusted proxies without networks",
    { upstreams, trustedProxies: { field: "forwarded" } },
    'trustedProxies.from is required: an array of addresses, networks, "loopback", "private" or "unix"',
  ],
  [
    "trusted proxy that is no network, in an object",
    { upstreams, trustedProxies: { from: ["loopback", "10.0.0.1/8"] } },
    'trustedProxies.from[1] must be "loopback", "private", "unix", a network without bits beyond its prefix, "10.0.0.0/8" or the address alone, received "10.0.0.1/8"',
  ],
  [
    "networks of trusted proxies that are no array",
    { upstreams, trustedProxies: { from: "loopback" } },
    'trustedProxies.from must be an array of addresses, networks, "loopback", "private" or "unix", received "loopback"',
  ],
  [
    "field of trusted proxies that is none of them",
    { upstreams, trustedProxies: { from: [], field: "X-Forwarded-For" } },
    'trustedProxies.field must be "x-forwarded-for" or "forwarded", received "X-Forwarded-For", did you mean "x-forwarded-for"?',
  ],
  [
    "option of trusted proxies misspelt",
    { upstreams, trustedProxies: { from: [], fields: "forwarded" } },
    'trustedProxies.fields is not a known key, did you mean "field"?',
  ],
  [
    "forwarded with a misspelt field",
    { upstreams, forwarded: { xforwarded: true } },
    'forwarded.xforwarded is not a known key, did you mean "xForwarded"?',
  ],
  [
    "forwarded with a name for loops",
    { upstreams, forwarded: { cdnLoop: "me" } },
    'forwarded.cdnLoop must be true or false, received "me"',
  ],
  // sticky
  [
    "sticky without secret",
    { upstreams: { servers: upstreams, sticky: {} } },
    "upstreams.sticky.secret is required: a text of at least 16 characters, which signs the cookies (openssl rand -hex 16 makes one)",
  ],
  [
    "sticky with a short secret, which is not shown",
    { upstreams: { servers: upstreams, sticky: { secret: "short" } } },
    "upstreams.sticky.secret must be a text of at least 16 characters, which signs the cookies (openssl rand -hex 16 makes one), received a string of 5 characters",
  ],
  [
    "sticky with a secret that is no text",
    { upstreams: { servers: upstreams, sticky: { secret: 5 } } },
    "upstreams.sticky.secret must be a text of at least 16 characters, which signs the cookies (openssl rand -hex 16 makes one), received 5",
  ],
  [
    "sticky with a cookie that is no name",
    { upstreams: { servers: upstreams, sticky: { secret: "0123456789abcdef", cookie: "a b" } } },
    'upstreams.sticky.cookie must be a cookie name: letters, digits and any of !#$%&\'*+-.^_`|~, received "a b"',
  ],
  [
    "check with options of another type",
    { upstreams: { servers: upstreams, healthCheck: { type: "tls", path: "/" } } },
    'upstreams.healthCheck.path is not a known key; known are "type", "interval", "unhealthyInterval", "timeout", "rise", "fall", "jitter", "port", "initial"',
  ],
  [
    "check that begins with a strange belief",
    { upstreams: { servers: upstreams, healthCheck: { type: "tcp", initial: "unknown" } } },
    'upstreams.healthCheck.initial must be one of "checking", "up", "down", received "unknown"',
  ],
  [
    "check of servers that are down without pause",
    { upstreams: { servers: upstreams, healthCheck: { type: "tcp", unhealthyInterval: "0s" } } },
    'upstreams.healthCheck.unhealthyInterval must be longer than 0, received "0s"',
  ],
  [
    "check of a path that is none",
    { upstreams: { servers: upstreams, healthCheck: { type: "http", path: "health" } } },
    'upstreams.healthCheck.path must be a path such as "/health", received "health"',
  ],
  [
    "check with a method that would break the request",
    { upstreams: { servers: upstreams, healthCheck: { type: "http", method: "GET /" } } },
    'upstreams.healthCheck.method must be a method such as "GET", received "GET /"',
  ],
  [
    "check with a host that would break the request",
    { upstreams: { servers: upstreams, healthCheck: { type: "http", host: "a\r\nb: c" } } },
    'upstreams.healthCheck.host must be a host such as "api.example", received "a\\r\\nb: c"',
  ],
  [
    "check with fields that are none",
    { upstreams: { servers: upstreams, healthCheck: { type: "http", headers: { "a b": "c" } } } },
    "upstreams.healthCheck.headers must be an object of field names and their values, received an object",
  ],
  [
    "check with a field value that no request can have",
    { upstreams: { servers: upstreams, healthCheck: { type: "http", headers: { "x-probe": "a\x01" } } } },
    "upstreams.healthCheck.headers must be an object of field names and their values, received an object",
  ],
  [
    "check with statuses that are none",
    { upstreams: { servers: upstreams, healthCheck: { type: "http", expectedStatuses: ["2xx"] } } },
    'upstreams.healthCheck.expectedStatuses must be an array of statuses such as 200 or "200-299", received an array',
  ],
  [
    "check of content that is no test",
    { upstreams: { servers: upstreams, healthCheck: { type: "http", body: 5 } } },
    "upstreams.healthCheck.body must be a text, a regular expression or a function, received 5",
  ],
  [
    "check of content that never comes",
    { upstreams: { servers: upstreams, healthCheck: { type: "http", method: "HEAD", body: "ok" } } },
    'upstreams.healthCheck.body is not possible where "method" is "HEAD", whose responses have none',
  ],
  [
    "check of no content",
    { upstreams: { servers: upstreams, healthCheck: { type: "http", maxBodyBytes: 0 } } },
    "upstreams.healthCheck.maxBodyBytes must be a whole number of at least 1, received 0",
  ],
  [
    "check over a strange connection",
    { upstreams: { servers: upstreams, healthCheck: { type: "http", reuseConnection: "keep" } } },
    'upstreams.healthCheck.reuseConnection must be true or false, received "keep"',
  ],
  [
    "check by a function that is none",
    { upstreams: { servers: upstreams, healthCheck: { type: "custom", check: true } } },
    "upstreams.healthCheck.check must be a function, received true",
  ],
  [
    "check by a function that is missing",
    { upstreams: { servers: upstreams, healthCheck: { type: "custom" } } },
    "upstreams.healthCheck.check is required: a function",
  ],
  [
    "callback that is never called",
    { upstreams: { servers: upstreams, onHealthChange: () => {} } },
    'upstreams.onHealthChange is never called without a "healthCheck"',
  ],
  [
    "callback that is no function",
    { upstreams: { servers: upstreams, healthCheck: { type: "tcp" }, onHealthChange: "log" } },
    'upstreams.onHealthChange must be a function, received "log"',
  ],
  // balance
  [
    "balance that there is not",
    { upstreams: { servers: upstreams, balance: "roundrobin" } },
    `upstreams.balance must be one of ${BALANCES}, or a function, received "roundrobin", did you mean "round-robin"?`,
  ],
  [
    "hash without key",
    { upstreams: { servers: upstreams, balance: "consistent-hash" } },
    'upstreams.key is required where "balance" is "consistent-hash"',
  ],
  [
    "hash of a key that is none",
    { upstreams: { servers: upstreams, balance: "fnv-hash", key: "uri" } },
    `upstreams.key must be ${KEY} ("header:uri" counts by a field), received "uri"`,
  ],
  [
    "key that nothing hashes",
    { upstreams: { servers: upstreams, key: "ip" } },
    'upstreams.key is only for "balance": "consistent-hash" or "fnv-hash"',
  ],
  [
    "load factor that leaves no room",
    { upstreams: { servers: upstreams, balance: "consistent-hash", key: "ip", loadFactor: 1 } },
    "upstreams.loadFactor must be a number above 1, received 1",
  ],
  [
    "load factor that nothing reads",
    { upstreams: { servers: upstreams, balance: "p2c", loadFactor: 2 } },
    'upstreams.loadFactor is only for "balance": "consistent-hash"',
  ],
  [
    "ejection as true",
    { upstreams: { servers: upstreams, ejection: true } },
    "upstreams.ejection must be false or an object with options of ejection, received true",
  ],
  [
    "ejection after no failure",
    { upstreams: { servers: upstreams, ejection: { consecutiveFailures: 0 } } },
    "upstreams.ejection.consecutiveFailures must be a whole number of at least 1, or Infinity, received 0",
  ],
  [
    "ejection at no failure rate",
    { upstreams: { servers: upstreams, ejection: { failureRate: 0 } } },
    "upstreams.ejection.failureRate must be a number above 0; above 1 never counts the rate, received 0",
  ],
  [
    "ejection of more than all",
    { upstreams: { servers: upstreams, ejection: { maxEjectedPercent: 101 } } },
    "upstreams.ejection.maxEjectedPercent must be a number from 0 to 100, received 101",
  ],
  [
    "ejection for no time",
    { upstreams: { servers: upstreams, ejection: { baseTime: 0 } } },
    "upstreams.ejection.baseTime must be longer than 0, received 0",
  ],
  [
    "slow start without duration",
    { upstreams: { servers: upstreams, slowStart: {} } },
    'upstreams.slowStart.duration is required: a duration such as "250ms", "5s", "1m", "1h" or a number of milliseconds',
  ],
  [
    "slow start from nothing",
    { upstreams: { servers: upstreams, slowStart: { duration: "1m", floor: 0 } } },
    "upstreams.slowStart.floor must be a number above 0 and at most 1, received 0",
  ],
  [
    "panic in percent",
    { upstreams: { servers: upstreams, panicThreshold: 50 } },
    "upstreams.panicThreshold must be a number from 0 to 1, received 50",
  ],
  [
    "pool with no room",
    { upstreams: { servers: upstreams, maxInFlight: 0 } },
    "upstreams.maxInFlight must be a whole number of at least 1, or Infinity, received 0",
  ],
  [
    "server with no room",
    { upstreams: [{ address: "a:80", maxInFlight: 0.5 }] },
    "upstreams[0].maxInFlight must be a whole number of at least 1, or Infinity, received 0.5",
  ],
  [
    "backup as text",
    { upstreams: [{ address: "a:80", backup: "yes" }] },
    'upstreams[0].backup must be true or false, received "yes"',
  ],
  [
    "one tag for an array",
    { upstreams: [{ address: "a:80", tags: "blue" }] },
    'upstreams[0].tags must be an array of words, received "blue"',
  ],
  [
    "queue without end",
    { upstreams: { servers: upstreams, queue: { size: Infinity } } },
    "upstreams.queue.size must be a whole number of at least 1, received Infinity",
  ],
  [
    "queue as a number",
    { upstreams: { servers: upstreams, queue: 10 } },
    'upstreams.queue must be an object with "size" and "timeout", received 10',
  ],
  // discovery
  [
    "discovery as text",
    { upstreams: { discovery: "dns" } },
    'upstreams.discovery must be an object with a "type" ("dns" or "custom") or a function, received "dns"',
  ],
  [
    "discovery of another type",
    { upstreams: { discovery: { type: "consul", name: "a" } } },
    'upstreams.discovery.type must be "dns" or "custom", received "consul"',
  ],
  [
    "discovery without a record",
    { upstreams: { api: { discovery: { type: "dns", name: "a", port: 80 } } } },
    'upstreams.api.discovery.record is required: one of "A", "AAAA", "SRV"',
  ],
  [
    "discovery of addresses without a port",
    { upstreams: { discovery: { type: "dns", name: "a", record: "A" } } },
    'upstreams.discovery.port is required where "record" is "A"',
  ],
  [
    "discovery of SRV records with a port",
    { upstreams: { discovery: { type: "dns", name: "a", record: "SRV", port: 80 } } },
    'upstreams.discovery.port is not possible where "record" is "SRV", which tells the ports',
  ],
  [
    "discovery of a name that is none",
    { upstreams: { discovery: { type: "dns", name: "a:80", record: "A", port: 80 } } },
    'upstreams.discovery.name must be a name such as "api.internal", received "a:80"',
  ],
  [
    "discovery from a resolver that is none",
    { upstreams: { discovery: { type: "dns", name: "a", record: "SRV", resolver: "dns.internal" } } },
    'upstreams.discovery.resolver must be a resolver such as "10.0.0.53:53", received "dns.internal"',
  ],
  [
    "discovery without pause",
    { upstreams: { discovery: { type: "dns", name: "a", record: "SRV", interval: 0 } } },
    "upstreams.discovery.interval must be longer than 0, received 0",
  ],
  [
    "discovery by a function that is missing",
    { upstreams: { discovery: { type: "custom" } } },
    "upstreams.discovery.discover is required: a function",
  ],
  [
    "no server beside a discovery",
    { upstreams: { servers: [], discovery: () => Promise.resolve([]) } },
    "upstreams.servers must be an array of at least one server, received an empty array",
  ],
  // limiter
  [
    "limiter without anything",
    { upstreams, limiter: 10 },
    'limiter must be an object with "key", "limit" and "window", or an array of these, received 10',
  ],
  ["limiter without window", { upstreams, limiter: { key: "ip", limit: 1 } }, "limiter.window is required"],
  [
    "limiter with a misspelt key",
    { upstreams, limiter: { ...limiter, key: "appid" } },
    `limiter.key must be ${KEY} ("header:appid" counts by a field), received "appid"`,
  ],
  [
    "limiter with an unknown store",
    { upstreams, limiter: { ...limiter, store: "redis" } },
    'limiter.store must be "memory" or { type: "redis", url: "redis://host:6379" }, received "redis"',
  ],
  [
    "limiter with a store of another kind",
    { upstreams, limiter: { ...limiter, store: { type: "memcached", url: "redis://a" } } },
    'limiter.store.type must be "redis", received "memcached"',
  ],
  [
    "limiter with a store without a URL",
    { upstreams, limiter: { ...limiter, store: { type: "redis" } } },
    'limiter.store.url is required: "redis://host:port" or "rediss://host:port", or an array of them',
  ],
  [
    "limiter with a store's URL that is none, which may have a password in it",
    { upstreams, limiter: { ...limiter, store: { type: "redis", url: "http://:hunter2@a" } } },
    'limiter.store.url must be "redis://host:port" or "rediss://host:port", or an array of them, received another text',
  ],
  [
    "limiter with a store's URL that says more than it may",
    { upstreams, limiter: { ...limiter, store: { type: "redis", url: ["redis://:hunter2@a?family=6"] } } },
    'limiter.store.url must be "redis://host:port" or "rediss://host:port", or an array of them, received something else',
  ],
  [
    "limiter with a store at no URL",
    { upstreams, limiter: { ...limiter, store: { type: "redis", url: [] } } },
    'limiter.store.url must be "redis://host:port" or "rediss://host:port", or an array of them, received something else',
  ],
  [
    "limiter with a store at URLs with different passwords",
    { upstreams, limiter: { ...limiter, store: { type: "redis", url: ["redis://:a@a", "redis://:b@b"] } } },
    "limiter.store.url[1] must differ from [0] in host and port only",
  ],
  [
    "limiter with a store with TLS options and no TLS",
    { upstreams, limiter: { ...limiter, store: { type: "redis", url: "redis://a", tls: {} } } },
    'limiter.store.tls is only for "rediss://"',
  ],
  [
    "limiter with a store with TLS options that are none",
    { upstreams, limiter: { ...limiter, store: { type: "redis", url: "rediss://a", tls: true } } },
    "limiter.store.tls must be an object with TLS options, received true",
  ],
  [
    "limiter with a store with the name of a file for a certificate",
    {
      upstreams,
      limiter: { ...limiter, store: { type: "redis", url: "rediss://a", tls: { caCerts: ["ca.pem"] } } },
    },
    "limiter.store.tls.caCerts[0] must be the PEM text of a certificate, as Deno.readTextFileSync(PATH) reads it, received a string of 6 characters",
  ],
  [
    "limiter with a store with a key of nothing",
    {
      upstreams,
      limiter: { ...limiter, store: { type: "redis", url: "rediss://a", tls: { key: PEM_KEY } } },
    },
    'limiter.store.tls.cert is required with "key"',
  ],
  [
    "limiter with a store with a misspelt TLS option",
    { upstreams, limiter: { ...limiter, store: { type: "redis", url: "rediss://a", tls: { ca: "" } } } },
    'limiter.store.tls.ca is not a known key; known are "serverName", "caCerts", "cert", "key"',
  ],
  [
    "limiter with a prefix that is a hash tag already",
    { upstreams, limiter: { ...limiter, store: { type: "redis", url: "redis://a", prefix: "{a}" } } },
    'limiter.store.prefix must be from 1 to 64 printable ASCII characters without spaces and braces, received "{a}"',
  ],
  [
    "limiter with a store that may take for ever",
    { upstreams, limiter: { ...limiter, store: { type: "redis", url: "redis://a", timeout: "1h" } } },
    `limiter.store.timeout must be ${DURATION}, from 1ms to 10s, received "1h"`,
  ],
  [
    "limiter with a store that does something else on errors",
    { upstreams, limiter: { ...limiter, store: { type: "redis", url: "redis://a", onStoreError: "fail" } } },
    'limiter.store.onStoreError must be one of "open", "closed", "local", received "fail"',
  ],
  [
    "limiter with no instances",
    { upstreams, limiter: { ...limiter, store: { type: "redis", url: "redis://a", instances: 0 } } },
    "limiter.store.instances must be a whole number of at least 1, received 0",
  ],
  [
    "limiter with a prefetch of nothing",
    { upstreams, limiter: { ...limiter, store: { type: "redis", url: "redis://a", prefetch: 0 } } },
    "limiter.store.prefetch must be a whole number from 1 to 1000, received 0",
  ],
  [
    "limiter with a misspelt option of its store",
    { upstreams, limiter: { ...limiter, store: { type: "redis", url: "redis://a", time: "1s" } } },
    'limiter.store.time is not a known key, did you mean "timeout"?',
  ],
  [
    "tiers with different stores",
    {
      upstreams,
      limiter: [{ ...limiter, store: { type: "redis", url: "redis://a" } }, { ...limiter, name: "b" }],
    },
    "limiter[1].store must be like that of [0]: all policies of a limiter are decided about in one place",
  ],
  [
    "limiter with an impossible header",
    { upstreams, limiter: { ...limiter, key: "header:app id" } },
    `limiter.key must be ${KEY}, received "header:app id"`,
  ],
  [
    "limiter with half a request",
    { upstreams, limiter: { ...limiter, limit: 0.5 } },
    "limiter.limit must be a whole number from 0 to 1000000000, or a function, received 0.5",
  ],
  [
    "limiter with a limit as text",
    { upstreams, limiter: { ...limiter, limit: "10" } },
    'limiter.limit must be a whole number from 0 to 1000000000, or a function, received "10"',
  ],
  [
    "limiter with a bare window",
    { upstreams, limiter: { ...limiter, window: "1" } },
    `limiter.window must be ${DURATION}, received "1"`,
  ],
  [
    "limiter option misspelt",
    { upstreams, limiter: { ...limiter, onMissingkey: "ip" } },
    'limiter.onMissingkey is not a known key, did you mean "onMissingKey"?',
  ],
  ["no tiers", { upstreams, limiter: [] }, "limiter must have from 1 to 30 policies, has 0"],
  [
    "too many tiers",
    { upstreams, limiter: Array.from({ length: 31 }, () => limiter) },
    "limiter must have from 1 to 30 policies, has 31",
  ],
  [
    "tier without window",
    { upstreams, limiter: [limiter, { key: "ip", limit: 1 }] },
    "limiter[1].window is required",
  ],
  [
    "tier that is none",
    { upstreams, limiter: [limiter, "10/s"] },
    'limiter[1] must be an object with "key", "limit" and "window", received "10/s"',
  ],
  [
    "two tiers of one name",
    { upstreams, limiter: [{ ...limiter, name: "default-2" }, limiter] },
    'limiter[1].name is "default-2", like that of [0]',
  ],
  [
    "limiter by another name",
    { upstreams, limiter: { ...limiter, name: "na\u00efve" } },
    'limiter.name must be a name of at most 64 printable ASCII characters, received "na\u00efve"',
  ],
  [
    "limiter by an unknown algorithm",
    { upstreams, limiter: { ...limiter, algorithm: "leaky-bucket" } },
    'limiter.algorithm must be one of "fixed-window", "sliding-window", "token-bucket", "concurrency", received "leaky-bucket"',
  ],
  [
    "limiter with a window of nothing",
    { upstreams, limiter: { ...limiter, window: 0 } },
    "limiter.window must be from 1ms to 366 days long, received 0",
  ],
  [
    "burst of a window",
    { upstreams, limiter: { ...limiter, burst: 5 } },
    'limiter.burst is only for the algorithm "token-bucket"',
  ],
  [
    "burst of nothing",
    { upstreams, limiter: { ...limiter, algorithm: "token-bucket", burst: 0 } },
    "limiter.burst must be a whole number from 1 to 1000000000, or a function, received 0",
  ],
  [
    "limiter with a negative cost",
    { upstreams, limiter: { ...limiter, cost: -1 } },
    "limiter.cost must be a whole number from 0 to 1000000000, or a function, received -1",
  ],
  [
    "limiter with a cost that never fits",
    { upstreams, limiter: { ...limiter, cost: 5 } },
    "limiter.cost is 5 and never fits a limit of 1",
  ],
  [
    "limiter that charges a number",
    { upstreams, limiter: { ...limiter, charge: 5 } },
    "limiter.charge must be a function, received 5",
  ],
  [
    "limiter that keeps connections sometimes",
    { upstreams, limiter: { ...limiter, keepAlive: "5s" } },
    'limiter.keepAlive must be true or false, received "5s"',
  ],
  [
    "concurrency that charges",
    { upstreams, limiter: { key: "ip", limit: 5, algorithm: "concurrency", charge: () => 1 } },
    "limiter.charge is not for concurrency, which gives its permits back by itself",
  ],
  [
    "concurrency that penalizes",
    { upstreams, limiter: { key: "ip", limit: 5, algorithm: "concurrency", penalize: true } },
    "limiter.penalize is not for concurrency: a refused request holds no permit",
  ],
  [
    "limiter that does something else without a key",
    { upstreams, limiter: { ...limiter, onMissingKey: "ignore" } },
    'limiter.onMissingKey must be one of "skip", "reject", "ip", received "ignore"',
  ],
  [
    "limiter that exempts everybody",
    { upstreams, limiter: { ...limiter, exempt: true } },
    "limiter.exempt must be a function or an array of networks, received true",
  ],
  [
    "limiter that exempts an octal address",
    { upstreams, limiter: { ...limiter, exempt: ["10.0.0.0/8", "010.0.0.1"] } },
    'limiter.exempt[1] must be an address or a network such as "192.0.2.1", "10.0.0.0/8", "2001:db8::/32", received "010.0.0.1"',
  ],
  [
    "limiter that exempts half a network",
    { upstreams, limiter: { ...limiter, exempt: ["10.0.0.1/8"] } },
    'limiter.exempt[0] must be a network without bits beyond its prefix, "10.0.0.0/8" or the address alone, received "10.0.0.1/8"',
  ],
  [
    "limiter on a dry run perhaps",
    { upstreams, limiter: { ...limiter, dryRun: "yes" } },
    'limiter.dryRun must be true or false, received "yes"',
  ],
  [
    "limiter with an unknown style",
    { upstreams, limiter: { ...limiter, headers: ["draft-3"] } },
    'limiter.headers[0] must be one of "x-rate-limit", "draft-11", "draft-7", "draft-6", "x-ratelimit", received "draft-3"',
  ],
  [
    "limiter with two drafts",
    { upstreams, limiter: { ...limiter, headers: ["draft-6", "draft-7"] } },
    "limiter.headers must name one draft at most: they use the same fields differently",
  ],
  [
    "tiers with two drafts",
    { upstreams, limiter: [limiter, { ...limiter, headers: ["draft-6"] }] },
    'limiter[1].headers names "draft-6", and [0] "draft-11": they use the same fields differently',
  ],
  [
    "limiter by the bits of no address",
    { upstreams, limiter: { ...limiter, ipv6Prefix: 129 } },
    "limiter.ipv6Prefix must be a whole number from 1 to 128, received 129",
  ],
  [
    "limiter of more keys than there is room for",
    { upstreams, limiter: { ...limiter, maxKeys: 1e9 } },
    "limiter.maxKeys must be a whole number from 1 to 16777216, received 1000000000",
  ],
  [
    "limiters of more keys than there is room for together",
    { upstreams, limiter: [{ ...limiter, maxKeys: 1e7 }, { ...limiter, maxKeys: 1e7 }] },
    "limiter must have at most 16777216 keys together (maxKeys), has 20000000",
  ],
  [
    "limiter with a response that is no function",
    { upstreams, limiter: { ...limiter, response: new Response() } },
    "limiter.response must be a function, received a Response",
  ],
];

for (const [what, config, message] of BAD) {
  Deno.test(`resolveConfig() refuses ${what}`, () => {
    const error = assertThrows(() => resolveConfig(config), ConfigError);
    assertEquals(error.message, `Cannot load configuration: ${message}`);
    assertEquals(error.problems.length, 1);
  });
}

/** Configurations with several problems, and all of them. */
const WORSE: typeof BAD = [
  [
    "two policies whose name is a book",
    {
      upstreams,
      limiter: [{ ...limiter, name: "x".repeat(1000) }, { ...limiter, name: "x".repeat(1000) }],
    },
    `limiter[0].name must be a name of at most 64 printable ASCII characters, received "${"x".repeat(60)}..."
  limiter[1].name must be a name of at most 64 printable ASCII characters, received "${"x".repeat(60)}..."
  limiter[1].name is "${"x".repeat(60)}...", like that of [0]`,
  ],
  [
    "listen with no certificate in tls",
    { upstreams, listen: { tls: { minVersion: "1.2" }, engine: "http1" } },
    "listen.tls.cert is required\n  listen.tls.key is required",
  ],
  [
    "listen with certificates by wrong names",
    {
      upstreams,
      listen: {
        engine: "http1",
        tls: {
          certificates: [
            { names: ["a.example", "*"], cert: PEM_CERT, key: PEM_KEY },
            { names: ["b.*.example"], cert: PEM_CERT, key: PEM_KEY },
            { names: [], cert: PEM_CERT, key: PEM_KEY },
            { names: "c.example", cert: PEM_CERT, key: PEM_KEY },
            { cert: PEM_CERT },
            5,
          ],
        },
      },
    },
    [
      'listen.tls.certificates[0].names[1] must be a host name, or one behind "*.", received "*"',
      'listen.tls.certificates[1].names[0] must be a host name, or one behind "*.", received "b.*.example"',
      "listen.tls.certificates[2].names must be at least one name; without names those in the certificate count, received an empty array",
      'listen.tls.certificates[3].names must be an array of host names, received "c.example"',
      "listen.tls.certificates[4].key is required: the PEM text of a private key, or the path of a file with it",
      'listen.tls.certificates[5] must be an object with "cert" and "key", received 5',
    ].join("\n  "),
  ],
  [
    "listen with client certificates of wrong kinds",
    {
      upstreams,
      listen: {
        engine: "http1",
        tls: {
          cert: PEM_CERT,
          key: PEM_KEY,
          clientCertificates: { ca: [PEM_KEY, 5], mode: "optional", verify: "no", crl: "x" },
        },
      },
    },
    [
      `listen.tls.clientCertificates.ca[0] must be the PEM text of a certificate, or the path of a file with it, received a string of ${PEM_KEY.length} characters`,
      "listen.tls.clientCertificates.ca[1] must be the PEM text of a certificate, or the path of a file with it, received 5",
      'listen.tls.clientCertificates.mode must be "require" or "request", received "optional"',
      'listen.tls.clientCertificates.verify must be a function, received "no"',
      'listen.tls.clientCertificates.crl is not read by the runtime: check revocation in "verify"',
    ].join("\n  "),
  ],
  [
    "listen with other options of tls that are none",
    {
      upstreams,
      listen: {
        engine: "http1",
        tls: {
          cert: PEM_CERT,
          key: PEM_KEY,
          certificates: "x",
          unknownNames: "drop",
          minVersion: 1.2,
          ciphers: "HIGH",
        },
      },
    },
    [
      'listen.tls.certificates must be an array of { names, cert, key }, or a function, received "x"',
      'listen.tls.unknownNames must be "default" or "refuse", received "drop"',
      'listen.tls.minVersion must be "1.2" or "1.3", received 1.2',
      "listen.tls.ciphers cannot be chosen: the runtime uses AES-GCM and ChaCha20-Poly1305 with ECDHE",
    ].join("\n  "),
  ],
];

for (const [what, config, message] of WORSE) {
  Deno.test(`resolveConfig() refuses ${what}`, () => {
    const error = assertThrows(() => resolveConfig(config), ConfigError);
    assertEquals(error.message, `Cannot load configuration: ${error.problems.length} problems\n  ${message}`);
  });
}

Deno.test("resolveConfig() lists all problems of a configuration at once", () => {
  const config = {
    listen: ["0.0.0.0:80", "80"],
    upstreams: {
      default: {
        servers: ["a:80", "a:80", "b"],
        tls: { serverNmae: "x" },
        healthCheck: { type: "tcp", rise: 0 },
      },
      api: { server: ["c:80"] },
    },
    limiter: { key: "header:appid", limits: 1, window: "1 s" },
    responsefilter: () => {},
  };
  const error = assertThrows(() => resolveConfig(config, "proxy.config.ts"), ConfigError);
  assertEquals(
    error.message,
    `Cannot load proxy.config.ts: 9 problems
  listen[1] must be "host:port", "unix:/path" or a port number, received "80"
  upstreams.default.servers[2] must be "host:port", received "b"
  upstreams.default.servers[1] is the same server as [0]
  upstreams.default.tls.serverNmae is not a known key, did you mean "serverName"?
  upstreams.default.healthCheck.rise must be a whole number of at least 1, received 0
  upstreams.api.server is not a known key, did you mean "servers"?
  limiter.window must be ${DURATION}, received "1 s"
  limiter.limits is not a known key, did you mean "limit"?
  responsefilter is not a known key, did you mean "responseFilter"?`,
  );
});

Deno.test("resolveConfig() never shows certificates, keys and passwords", () => {
  const secrets = [PEM_KEY, "hunter2", "a@hunter2", "a/hunter2", "a/b@hunter2", "a /hunter2"];
  const places: ((secret: string) => unknown)[] = [
    (secret) => ({ servers: upstreams, tls: secret }),
    (secret) => ({ servers: upstreams, tls: { key: `x${secret}` } }),
    (secret) => ({ servers: upstreams, proxy: `ftp://me:${secret}@p:1` }),
    (secret) => ({ servers: ["unix:/a"], proxy: `http://me:${secret}@p:1` }),
    (secret) => ({ servers: upstreams, proxy: `socks5://me:${secret}${"x".repeat(256)}@p:1` }),
    (secret) => ({ servers: [`http://me:${secret}@a:80`] }),
    (secret) => ({ servers: [{ address: "a:80", tls: { cert: secret, key: secret, caCerts: secret } }] }),
  ];
  for (const secret of secrets) {
    for (const place of places) {
      // A text there is shown, unless it is PEM.
      if (secret !== PEM_KEY && place === places[0]) continue;
      const error = assertThrows(() => resolveConfig({ upstreams: place(secret) }), ConfigError);
      assertEquals(
        error.message.includes("hunter2") || error.message.includes("c2VjcmV0"),
        false,
        error.message,
      );
    }
  }
});
