// The tutorial's "add more servers": a list of any length; the servers take turns.
//
//   deno run -A ../mod.ts more_servers.config.ts
// one, two, three:
//   curl -s "http://127.0.0.1:6188/?n=[1-3]" | grep Hello

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    servers: [startDemoUpstream("one"), startDemoUpstream("two"), startDemoUpstream("three")],
    healthCheck: { type: "tcp", interval: "1s" },
  },
});
