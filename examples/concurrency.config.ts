// Concurrency: each client may have two requests at the same time, however long they take. A request returns its
// permit when it ends.
//
//   deno run -A ../mod.ts concurrency.config.ts
// Three at once, one of them gets 429:
//   curl -s -Z --parallel-immediate -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:6188/slow?n=[1-3]"

import { defineConfig } from "@x/lbproxy";

/** A slow server. */
const slow = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async () => {
  await new Promise((resolve) => setTimeout(resolve, 500));
  return new Response("at last\n");
});
slow.unref();

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [`127.0.0.1:${slow.addr.port}`],
  limiter: { key: "ip", algorithm: "concurrency", limit: 2 },
});
