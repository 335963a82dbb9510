// One limit for all machines: they count in the same Redis (or Valkey). Run it twice, with two ports.
//
//   deno run -A jsr:@x/lbproxy redis_shared.config.ts --listen 127.0.0.1:6188
//   deno run -A jsr:@x/lbproxy redis_shared.config.ts --listen 127.0.0.1:6288
//
// With few permissions: --allow-net --allow-read --ignore-env; the client of Redis wants to read environment variables
// and is shown none.

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one"), startDemoUpstream("two")],
  limiter: {
    key: "ip",
    limit: 60,
    window: "1m",
    store: {
      type: "redis",
      url: "redis://127.0.0.1:6379",
      // While Redis does not respond, each of the two instances grants 30.
      onStoreError: "local",
      instances: 2,
    },
  },
});
