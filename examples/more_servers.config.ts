// The tutorial's "add more servers": as many as there are, each in turn.
//
//   deno run -A jsr:@x/lbproxy more_servers.config.ts
//   for i in 1 2 3; do curl -s "http://127.0.0.1:6188/" | head -1; done

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    servers: [startDemoUpstream("one"), startDemoUpstream("two"), startDemoUpstream("three")],
    healthCheck: { type: "tcp", interval: "1s" },
  },
});
