// The tutorial's `get_client_limit`: ten requests a second for the premium user, one for everybody else.
//
//   deno run -A ../mod.ts tiers_by_client.config.ts
// 200 ten times, 429 once:
//   curl -s -o /dev/null -w '%{http_code}\n' -H "appid: premium_user" "http://127.0.0.1:6188/?n=[1-11]"

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
