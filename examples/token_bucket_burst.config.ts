// A token bucket: twenty requests at once after a pause, then two a second. For clients that send bursts but few requests overall,
// such as a page that loads its parts.
//
//   deno run -A ../mod.ts token_bucket_burst.config.ts
// 200 twenty times, then 429:
//   curl -s -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:6188/?n=[1-25]"

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one"), startDemoUpstream("two")],
  limiter: { key: "ip", algorithm: "token-bucket", limit: 2, window: "1s", burst: 20 },
});
