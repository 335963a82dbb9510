// The tutorial's "interval": a check every five seconds in place of every second, and every second for an unhealthy server. Three
// failures in a row take a server out, so one lost packet does not.
//
// Describe the checks:
//   deno run -A ../mod.ts slow_checks.config.ts --check
//   deno run -A ../mod.ts slow_checks.config.ts

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    servers: [startDemoUpstream("one"), startDemoUpstream("two")],
    healthCheck: { type: "tcp", interval: "5s", unhealthyInterval: "1s", timeout: "2s", fall: 3 },
  },
});
