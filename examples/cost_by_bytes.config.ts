// Cost by bytes: each client may download a mebibyte a minute. What a response costs is known when it is over, so one that
// is too large still goes out, and the next ones wait for it. A request that no server was reached for costs nothing.
//
//   deno run -A jsr:@x/lbproxy cost_by_bytes.config.ts
//   for i in 1 2 3; do curl -s -o /dev/null -w '%{http_code} %{size_download}\n' "http://127.0.0.1:6188/"; done

import { defineConfig } from "@x/lbproxy";

/** A server whose responses are 600 KiB. */
const large = Deno.serve(
  { hostname: "127.0.0.1", port: 0, onListen: () => {} },
  () => new Response(new Uint8Array(600 * 1024)),
);
large.unref();

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [`127.0.0.1:${large.addr.port}`],
  limiter: {
    name: "bytes",
    key: "ip",
    limit: 1024 * 1024,
    window: "1m",
    charge: (ctx) => ctx.bytesSent,
  },
});
