// Canary: one request in twenty goes to the new version. A user keeps the first version; testers choose theirs.
//
//   deno run -A ../mod.ts canary.config.ts
// One in twenty sees the canary:
//   curl "http://127.0.0.1:6188/"
// Always the same version:
//   curl "http://127.0.0.1:6188/" -H "cookie: user=ada"
// The canary:
//   curl "http://127.0.0.1:6188/" -H "x-canary: 1"
//
// The canary is last in the list of shares, so users who get it keep it when its share grows.

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
    // A request without a user gets a random version.
    { name: "everybody", upstream: { stable: 95, canary: 5 }, splitKey: "cookie:user" },
  ],
});
