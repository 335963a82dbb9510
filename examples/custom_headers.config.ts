// Add, change and remove header fields of requests and responses, and log your own line for each request.
//
//   deno run -A ../mod.ts custom_headers.config.ts
//   curl -v "http://127.0.0.1:6188/"

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one"), startDemoUpstream("two")],

  // The state of a request: the same object in every filter up to `logging`.
  newContext: () => ({ startedAt: Date.now() }),

  // Edits the request to the server.
  upstreamRequestFilter(request, ctx) {
    request.headers.set("x-request-id", ctx.requestId);
    request.headers.delete("cookie");
  },

  // Edits the response to the client.
  responseFilter(response, ctx) {
    response.headers.set("x-served-by", ctx.server?.address ?? "nobody");
    response.headers.append("server-timing", `proxy;dur=${Date.now() - ctx.state.startedAt}`);
    response.headers.delete("x-upstream");
  },

  logging(ctx, error) {
    // deno-lint-ignore no-console
    console.log(`${ctx.method} ${ctx.target} -> ${ctx.status}`, error?.code ?? "");
  },
});
