// Canary: one request in twenty goes to the new version. A user keeps the version that came first; testers choose theirs.
//
//   deno run -A ../mod.ts canary.config.ts
// One in twenty sees the canary:
//   curl "http://127.0.0.1:6188/"
// Always the same version:
//   curl "http://127.0.0.1:6188/" -H "cookie: user=ada"
// The canary:
//   curl "http://127.0.0.1:6188/" -H "x-canary: 1"
//
// The canary stands last in the list of shares, so those who see it still see it when its share grows.

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
