// The next version sees a tenth of the requests, and nobody sees its responses: a rehearsal with real traffic.
//
//   deno run -A jsr:@x/lbproxy mirror.config.ts
// Always from the version of today:
//   for n in $(seq 50); do curl -s "http://127.0.0.1:6188/" | head -1; done
//
// A copy never slows the request that it is of. Only what may be asked twice is copied here: a second order is an order.

import { defineConfig, mirror } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    default: [startDemoUpstream("today")],
    next: { servers: [startDemoUpstream("tomorrow")], healthCheck: { type: "tcp", interval: "5s" } },
  },
  filters: [
    // Last, so that it copies what the filters before it have made.
    mirror({ to: { pool: "next" }, share: 0.1, when: ({ method }) => method === "GET" }),
  ],
});
