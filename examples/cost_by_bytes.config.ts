// A limit of bytes: each client may download a mebibyte a minute. The cost of a response is known when it ends. So the response that
// exceeds the limit still goes out, and the requests after it are refused. A request that reaches no server costs nothing.
//
//   deno run -A ../mod.ts cost_by_bytes.config.ts
// 200, 200, 429:
//   curl -s -o /dev/null -w '%{http_code} %{size_download}\n' "http://127.0.0.1:6188/?n=[1-3]"

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
