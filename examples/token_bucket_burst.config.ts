// A token bucket: twenty at once after a pause, then two a second. Good for clients who come in bursts, such as a page
// that loads its parts, and are not to ask much on the whole.
//
//   deno run -A jsr:@x/lbproxy token_bucket_burst.config.ts
//   for i in $(seq 25); do curl -s -o /dev/null -w '%{http_code} ' "http://127.0.0.1:6188/"; done

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one"), startDemoUpstream("two")],
  limiter: { key: "ip", algorithm: "token-bucket", limit: 2, window: "1s", burst: 20 },
});
