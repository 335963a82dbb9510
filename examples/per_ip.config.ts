// A limit for each client address: sixty requests a minute. IPv6 clients count by their /64 network.
//
//   deno run -A ../mod.ts per_ip.config.ts
// The last one gets 429:
//   curl -s -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:6188/?n=[1-61]"

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one"), startDemoUpstream("two")],
  limiter: { key: "ip", limit: 60, window: "1m" },
});
