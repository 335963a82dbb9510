// HTTP/2 towards the servers: many requests on one connection each, for servers that are far away or speak nothing else.
//
//   deno run -A jsr:@x/lbproxy http2_upstream.config.ts
// HTTP/1.1 to the proxy, HTTP/2 from there:
//   curl "http://127.0.0.1:6188/"
//
// With "https://" or `tls` it is agreed on by the handshake, without TLS it is taken for granted. Many
// requests share a connection; `connections: { maxStreams: 8 }` puts fewer on each.

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    servers: [startDemoUpstream("one"), startDemoUpstream("two")],
    protocol: "h2",
  },
});
