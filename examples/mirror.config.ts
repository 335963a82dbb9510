// Mirror: a tenth of the requests is copied to the next version. Its responses are dropped.
//
//   deno run -A ../mod.ts mirror.config.ts
// All responses are from the current version:
//   curl -s "http://127.0.0.1:6188/?n=[1-50]" | grep Hello
//
// A copy never delays the request. Only GET requests are copied here: the copy of an order would be a second order.

import { defineConfig, mirror } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    default: [startDemoUpstream("today")],
    next: { servers: [startDemoUpstream("tomorrow")], healthCheck: { type: "tcp", interval: "5s" } },
  },
  filters: [
    // Last, so that copies have the changes of the filters before it.
    mirror({ to: { pool: "next" }, share: 0.1, when: ({ method }) => method === "GET" }),
  ],
});
