// The tutorial's "different window": a minute in place of a second.
//
//   deno run -A ../mod.ts rate_limit_per_minute.config.ts
// The second one within a minute gets 429:
//   curl -i "http://127.0.0.1:6188/" -H "appid: myclient"
//   curl -i "http://127.0.0.1:6188/" -H "appid: myclient"

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one"), startDemoUpstream("two")],
  limiter: { key: "header:appid", limit: 1, window: "1m" },
});
