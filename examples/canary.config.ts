// A new version for one request in twenty; a user stays with the version that came first, testers choose it.
//
//   deno run -A jsr:@x/lbproxy canary.config.ts
// One in twenty sees the canary:
//   curl "http://127.0.0.1:6188/"
// Always the same:
//   curl "http://127.0.0.1:6188/" -H "cookie: user=ada"
// The canary:
//   curl "http://127.0.0.1:6188/" -H "x-canary: 1"
//
// Whoever sees the canary goes on seeing it while its share grows, because it stands last.

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    stable: { servers: [startDemoUpstream("stable")] },
    canary: { servers: [startDemoUpstream("canary")] },
  },
  routes: [
    { name: "testers", match: { headers: { "x-canary": true } }, upstream: "canary" },
    // Without a user chance decides.
    { name: "everybody", upstream: { stable: 95, canary: 5 }, splitKey: "cookie:user" },
  ],
});
