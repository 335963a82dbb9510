// TLS and HTTP/2 towards clients, and a listener that redirects plain HTTP to it. The proxy reloads changed files: a renewed
// certificate needs no restart.
//
//   openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
//     -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
//     -keyout key.pem -out cert.pem
//   deno run -A ../mod.ts tls_listener.config.ts
// HTTP/2, and x-forwarded-proto: https at the server:
//   curl -v --cacert cert.pem "https://localhost:6143/"
// 308 to https://localhost:6143/path:
//   curl -v "http://localhost:6188/path"

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: [
    { hostname: "127.0.0.1", port: 6143, tls: { cert: "cert.pem", key: "key.pem" } },
    { hostname: "127.0.0.1", port: 6188, redirect: "https:6143" },
  ],
  upstreams: [startDemoUpstream("one"), startDemoUpstream("two")],
});
