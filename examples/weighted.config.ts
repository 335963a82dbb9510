// Weights: the large server gets three requests of four, in an even mix; the backup only when both others are out.
//
//   deno run -A jsr:@x/lbproxy weighted.config.ts
//   for i in $(seq 8); do curl -s "http://127.0.0.1:6188/" | head -1; done

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
