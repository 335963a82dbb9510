// Sixty requests a minute for each client address; IPv6 clients count by their /64 network.
//
//   deno run -A jsr:@x/lbproxy per_ip.config.ts
// The last is a 429:
//   for i in $(seq 61); do curl -s -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:6188/"; done

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one"), startDemoUpstream("two")],
  limiter: { key: "ip", limit: 60, window: "1m" },
});
