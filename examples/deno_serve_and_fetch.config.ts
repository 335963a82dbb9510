// The runtime's own HTTP on both sides: Deno.serve towards clients, fetch towards servers.
//
//   deno run -A ../mod.ts deno_serve_and_fetch.config.ts
//   curl -v "http://127.0.0.1:6188/"

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  // Without TLS the proxy's own server, the engine "http1", would listen.
  listen: { hostname: "127.0.0.1", port: 6188, engine: "deno" },
  // Otherwise the proxy's own client, the transport "http1", would send the requests.
  upstreams: { servers: [startDemoUpstream("one"), startDemoUpstream("two")], transport: "fetch" },
});
