// A configuration for a real service: TLS and a redirect, two pools with health checks and retries, routes, an API with keys and
// limits by plan, compression, a JSON access log, and an admin listener with a dashboard and metrics.
// Write your own servers into the two lists below.
//
//   openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
//     -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
//     -keyout key.pem -out cert.pem
//   export LBPROXY_ADMIN_TOKEN=a-token-of-16-characters
//   deno run -A ../mod.ts real_service.config.ts
// The site, compressed:
//   curl --cacert cert.pem --compressed "https://localhost:6143/"
// 401: the API needs a key:
//   curl -i --cacert cert.pem "https://localhost:6143/api/orders"
// 200, and the server gets the owner of the key; the sixth request within a second gets 429:
//   curl -i --cacert cert.pem "https://localhost:6143/api/orders" -H "x-api-key: key-of-ann"
// The state of the proxy, and metrics for Prometheus:
//   curl "http://127.0.0.1:6189/status"
//   curl "http://127.0.0.1:6189/metrics"

import { compress, defineConfig, maxBodySize, requestId, securityHeaders } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

const API_SERVERS = [startDemoUpstream("api-1"), startDemoUpstream("api-2")]; // "10.0.0.1:8080", "10.0.0.2:8080"
const SITE_SERVERS = [startDemoUpstream("site")]; // "10.0.0.3:3000"

// Requests a second for each customer. A real program reads this from a database at its start, and again when it changes.
const CUSTOMERS = new Map([
  ["key-of-ann", { name: "ann", perSecond: 5 }],
  ["key-of-bob", { name: "bob", perSecond: 50 }],
]);

export default defineConfig({
  listen: [
    { hostname: "127.0.0.1", port: 6143, tls: { cert: "cert.pem", key: "key.pem" } },
    { hostname: "127.0.0.1", port: 6188, redirect: "https:6143" },
  ],

  upstreams: {
    api: {
      servers: API_SERVERS,
      balance: "least-connections",
      healthCheck: { type: "http", path: "/health", interval: "2s", fall: 2 },
      slowStart: { duration: "30s" },
      timeouts: { connect: "1s", response: "10s", total: "30s" },
      retries: { attempts: 1, on: ["connect", "reset", 503] },
      maxInFlight: 200,
      queue: { size: 100, timeout: "2s" },
    },
    site: {
      servers: SITE_SERVERS,
      healthCheck: { type: "tcp" },
    },
  },

  routes: [
    {
      name: "api",
      match: { path: "/api/*" },
      upstream: "api",
      limiter: {
        name: "plan",
        key: "header:x-api-key",
        algorithm: "token-bucket",
        limit: (key) => CUSTOMERS.get(key)?.perSecond ?? 0,
        window: "1s",
      },
      filters: [{
        requestFilter: (request) => {
          const key = request.headers.get("x-api-key");
          return key !== null && CUSTOMERS.has(key)
            ? undefined
            : Response.json({ error: "This needs a valid x-api-key" }, { status: 401 });
        },
        upstreamRequestFilter: ({ headers }) => {
          headers.set("x-customer", CUSTOMERS.get(headers.get("x-api-key") ?? "")?.name ?? "");
          headers.delete("x-api-key");
        },
      }],
    },
    { name: "site", upstream: "site", filters: [compress()] },
  ],

  // Limits clients that invent keys.
  limiter: { name: "client", key: "ip", limit: 600, window: "1m", algorithm: "sliding-window" },
  overload: { maxInFlight: 2000, queue: { size: 500, timeout: "1s" } },
  filters: [requestId(), securityHeaders(), maxBodySize("10MB")],

  accessLog: { format: "json" },
  admin: {
    listen: "127.0.0.1:6189",
    tokens: { ops: { env: "LBPROXY_ADMIN_TOKEN" } },
    readyz: { pools: ["api"] },
  },
  rollback: { errorRate: 0.2, within: "30s" },
  gracePeriod: "30s",
});
