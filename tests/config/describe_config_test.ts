import { assertEquals } from "@std/assert";
import { describeConfig } from "../../lib/config/describe_config.ts";
import { describeLimit } from "../../lib/config/describe_limit.ts";
import { resolveConfig } from "../../lib/config/resolve_config.ts";
import { resolvePolicy } from "../../lib/limiter/policy.ts";

const PEM_CERT = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
const PEM_KEY = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n";

Deno.test("describeConfig() shows every part, and no certificate", () => {
  const config = resolveConfig({
    listen: ["[::1]:80", 81],
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
        connections: { maxConnections: 1 },
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
      few: { servers: ["f:80"], connections: { maxConnections: 8, maxQueue: 0 } },
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
listen    0.0.0.0:81
pool      default (for what no filter sends elsewhere)
  server    a:80, plain HTTP
  server    b:443, weight 3, TLS as b, 1 authority of its own, client certificate
  balance   in turn, by weight
  checks    TCP connection to port 9000 every 500ms within 1s; unhealthy after 2 failures, healthy after 1 success
  timeouts  connect 3s, response 1m, idle 1m
  transport http1; keeps 256 idle connections a server for 4s
pool      api
  server    c:443, TLS as c
  balance   in turn, by weight
  checks    none: every server counts as healthy
  timeouts  connect 1s, response 1m, idle 1m, total 5m
  transport http1; at most 1 connection a server, 1024 further requests wait for 10s; keeps 256 idle connections a server for 4s
pool      far
  server    d:443, TLS as d
  balance   in turn, by weight
  checks    none: every server counts as healthy
  timeouts  connect 3s, response 1m, idle 1m
  transport fetch, HTTP/2 through http://***@proxy:3128; keeps 4 idle connections a server for 4s
pool      near
  server    e:80, plain HTTP
  balance   in turn, by weight
  checks    none: every server counts as healthy
  timeouts  connect 3s, response 1m, idle 1m
  transport fetch, HTTP/1.1; keeps all idle connections a server for 1m
pool      few
  server    f:80, plain HTTP
  balance   in turn, by weight
  checks    none: every server counts as healthy
  timeouts  connect 3s, response 1m, idle 1m
  transport http1; at most 8 connections a server, further requests are refused; keeps 256 idle connections a server for 4s
limit     default
  at most 1 request per 1s for each header appid
  requests without header appid are not limited
filters   newContext, logging
shutdown  running requests may take 1m to finish`,
  );
});

Deno.test("describeConfig() shows what is not there", () => {
  const lines = describeConfig(resolveConfig({ upstreams: ["a:80"] })).split("\n");
  assertEquals(lines.slice(-3), [
    "limits    none",
    "filters   none",
    "shutdown  running requests may take 30s to finish",
  ]);
});

Deno.test("describeLimit() says limits in plain words", () => {
  const window = "1m";
  const lines = [
    resolvePolicy({ key: "ip", limit: 60, window }),
    resolvePolicy({ key: ["ip", "query:user"], limit: 2, window: "1500ms", onMissingKey: "reject" }),
    resolvePolicy({ key: "cookie:sid", limit: () => 1, window, onMissingKey: "ip" }),
    resolvePolicy({ key: () => null, limit: 0, window: "1h" }),
    resolvePolicy({ key: "path", limit: 5, window }),
  ].flatMap(describeLimit);
  assertEquals(lines, [
    "at most 60 requests per 1m for each client address",
    "at most 2 requests per 1.5s for each client address and query parameter user",
    "requests without client address and query parameter user are refused",
    "as many requests per 1m as limit() says for each cookie sid",
    "requests without cookie sid are limited for each client address",
    "at most 0 requests per 1h for each key that key() returns",
    "requests without a key are not limited",
    "at most 5 requests per 1m for each path",
  ]);
});
