// Least connections: each request goes to the server with the fewest running ones for its weight, so a server that is
// slow at the moment gets less. At most fifty at once for each; what is more waits for a second in a queue.
//
//   deno run -A jsr:@x/lbproxy least_connections.config.ts
//   for i in $(seq 6); do curl -s "http://127.0.0.1:6188/" | head -1 & done; wait

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
