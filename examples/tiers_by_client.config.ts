// The tutorial's `get_client_limit`: ten requests a second for the premium user, one for everybody else.
//
//   deno run -A jsr:@x/lbproxy tiers_by_client.config.ts
//   for i in $(seq 11); do curl -s -o /dev/null -w '%{http_code}\n' -H 'appid: premium_user' "http://127.0.0.1:6188/"; done

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

function limitOf(appid: string): number {
  switch (appid) {
    case "premium_user":
      return 10;
    default:
      return 1;
  }
}

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one"), startDemoUpstream("two")],
  limiter: { key: "header:appid", limit: limitOf, window: "1s" },
});
