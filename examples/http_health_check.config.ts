// HTTP health checks: a server is up when GET /health gives 200 and says "ok". It is taken out after two failures in a
// row and let in again after three passes, and then begins with a tenth of its share for ten seconds.
//
//   deno run -A jsr:@x/lbproxy http_health_check.config.ts

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    servers: [startDemoUpstream("ok one"), startDemoUpstream("ok two")],
    healthCheck: {
      type: "http",
      path: "/health",
      expectedStatuses: [200],
      body: "ok",
      interval: "2s",
      // Whoever is down is looked at more often, to be back sooner.
      unhealthyInterval: "500ms",
      timeout: "1s",
      fall: 2,
      rise: 3,
    },
    slowStart: { duration: "10s" },
    onHealthChange(server, healthy, reason) {
      // deno-lint-ignore no-console
      console.log(`${server.id} is ${healthy ? "up" : `down: ${reason}`}`);
    },
  },
});
