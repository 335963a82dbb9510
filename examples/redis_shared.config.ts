// One limit for all machines: they count in the same Redis (or Valkey). Run it twice, on two ports.
//
// It needs a Redis at 127.0.0.1:6379; without it each proxy grants half of the limit.
//   deno run -A ../mod.ts redis_shared.config.ts --listen 127.0.0.1:6188
//   deno run -A ../mod.ts redis_shared.config.ts --listen 127.0.0.1:6288
// "ratelimit" counts down at both:
//   curl -i "http://127.0.0.1:6188/"
//   curl -i "http://127.0.0.1:6288/"
//
// It needs at least --allow-net --allow-read --ignore-env: the Redis client reads environment variables and then finds none.

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
      // While Redis does not respond, each of the two proxies grants 30.
      onStoreError: "local",
      instances: 2,
    },
  },
});
