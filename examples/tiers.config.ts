// Tiers: five a second, a hundred a minute and a thousand a day, all at once. A request that one of them refuses does not count
// in the others.
//
//   deno run -A ../mod.ts tiers.config.ts
// 200 five times, 429 twice:
//   curl -s -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:6188/?n=[1-7]"

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one"), startDemoUpstream("two")],
  limiter: [
    { name: "second", key: "ip", limit: 5, window: "1s" },
    // The sliding window holds over any minute. A fixed window allows twice the limit around its end.
    { name: "minute", key: "ip", limit: 100, window: "1m", algorithm: "sliding-window" },
    { name: "day", key: "ip", limit: 1000, window: "24h" },
  ],
});
