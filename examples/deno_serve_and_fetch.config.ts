// The runtime's own HTTP on both sides: Deno.serve towards clients, fetch towards servers.
//
//   deno run -A ../mod.ts deno_serve_and_fetch.config.ts
//   curl -v "http://127.0.0.1:6188/"

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  // The default is the proxy's own server, "http1".
  listen: { hostname: "127.0.0.1", port: 6188, engine: "deno" },
  // The default is the proxy's own client, "http1".
  upstreams: { servers: [startDemoUpstream("one"), startDemoUpstream("two")], transport: "fetch" },
});
