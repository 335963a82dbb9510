// HTTP health checks: a server is healthy when GET /health gets 200 and "ok". Two failures in a row take it out, three successes in
// a row bring it back; then its share grows from a tenth for ten seconds.
//
// Describe the checks:
//   deno run -A ../mod.ts http_health_check.config.ts --check
//   deno run -A ../mod.ts http_health_check.config.ts
//   curl "http://127.0.0.1:6188/"

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
      // An unhealthy server is checked more often, so that it is back sooner.
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
