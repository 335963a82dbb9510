// TLS towards clients, HTTP/2 with it, and a listener that sends those who come without to the right place. The files
// are read again when they change, so whatever renews the certificate has nothing to restart.
//
//   openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
//     -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
//     -keyout key.pem -out cert.pem
//   deno run -A jsr:@x/lbproxy tls_listener.config.ts
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
