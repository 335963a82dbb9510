// Weights: the large server gets three requests of four, evenly mixed. The backup gets requests only when both others are down.
//
//   deno run -A ../mod.ts weighted.config.ts
// large six times, small twice:
//   curl -s "http://127.0.0.1:6188/?n=[1-8]" | grep Hello

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [
    { address: startDemoUpstream("large"), weight: 3 },
    { address: startDemoUpstream("small"), weight: 1 },
    { address: startDemoUpstream("spare"), backup: true },
  ],
});
