// HTTP/2 towards servers: many requests share one connection. For servers that are far away or have only HTTP/2.
//
//   deno run -A ../mod.ts http2_upstream.config.ts
// HTTP/1.1 to the proxy, HTTP/2 to the server:
//   curl "http://127.0.0.1:6188/"
//
// With "https://" or `tls` the handshake negotiates HTTP/2; without TLS the server must support it.
// `connections: { maxStreams: 8 }` puts fewer requests on each connection.

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    servers: [startDemoUpstream("one"), startDemoUpstream("two")],
    protocol: "h2",
  },
});
