// The tutorial's "interval": checks every five seconds in place of every one, and every second for a server that is
// down. Three failures in a row take a server out, so that one lost packet does not.
//
//   deno run -A jsr:@x/lbproxy slow_checks.config.ts --log-level info

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    servers: [startDemoUpstream("one"), startDemoUpstream("two")],
    healthCheck: { type: "tcp", interval: "5s", unhealthyInterval: "1s", timeout: "2s", fall: 3 },
  },
});
