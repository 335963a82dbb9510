// Concurrency: at most two requests of a client at the same time, however long they take. A place is given back when its
// request is over, whichever way it ends.
//
//   deno run -A jsr:@x/lbproxy concurrency.config.ts
// One is a 429:
//   for i in 1 2 3; do curl -s -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:6188/slow" & done; wait

import { defineConfig } from "@x/lbproxy";

/** A server that takes its time. */
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
