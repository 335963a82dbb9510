// Your own access log: a JSON object for each request, written when the request is over.
//
// Without the proxy's own access log:
//   deno run -A ../mod.ts access_log.config.ts --log-level warn
//   curl -v "http://127.0.0.1:6188/path"

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one"), "127.0.0.1:1"], // no server listens at port 1: some requests take two attempts
  limiter: { key: "header:appid", limit: 1, window: "1s" },

  // Runs exactly once for every request, also if it failed or was refused.
  logging(ctx, error) {
    const entry = {
      at: new Date().toISOString(),
      id: ctx.requestId,
      client: ctx.client.ip,
      // JSON escapes line breaks: otherwise a client could forge a log line.
      request: `${ctx.method} ${ctx.target}`,
      agent: ctx.request.headers.get("user-agent"),
      status: error?.status ?? ctx.status,
      error: error?.code ?? null,
      bytes: ctx.bytesSent,
      ms: Math.round(ctx.timings.endMs ?? 0),
      upstreamMs: ctx.timings.upstreamHeadMs === null ? null : Math.round(ctx.timings.upstreamHeadMs),
      attempts: ctx.attempts.map(({ address, failure }) => `${address} ${failure ?? "answered"}`),
      remaining: ctx.limits.at(0)?.remaining ?? null,
    };
    // deno-lint-ignore no-console
    console.log(JSON.stringify(entry));
  },
});
