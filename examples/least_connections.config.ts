// Least connections: each request goes to the server with the fewest running requests for its weight, so a slow server gets fewer.
// Each server has at most fifty at once; further requests wait in a queue for up to a second.
//
//   deno run -A ../mod.ts least_connections.config.ts
// Six at once:
//   curl -s -Z --parallel-immediate "http://127.0.0.1:6188/?n=[1-6]" | grep Hello

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    servers: [
      { address: startDemoUpstream("one"), maxInFlight: 50 },
      { address: startDemoUpstream("two"), maxInFlight: 50 },
    ],
    balance: "least-connections",
    queue: { size: 200, timeout: "1s" },
  },
});
