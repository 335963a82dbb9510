// Your own error pages and a maintenance page: they replace the problem documents of the proxy and the error pages of servers.
//
//   deno run -A ../mod.ts custom_error_page.config.ts
// 502 as a page (no server listens at port 1):
//   curl -v "http://127.0.0.1:6188/dead"
// 500 as a page without its stack (the server fails):
//   curl -v "http://127.0.0.1:6188/broken"
// 503, from the proxy itself:
//   curl -v "http://127.0.0.1:6188/closed/"

import { defineConfig } from "@x/lbproxy";

function page(status: number, headers: Readonly<Record<string, string>> = {}): Response {
  const text =
    `<!doctype html><title>${status}</title><h1>Something is out of order</h1><p>We are on it.</p>\n`;
  return new Response(text, {
    status,
    headers: { "content-type": "text/html; charset=utf-8", "cache-control": "no-store", ...headers },
  });
}

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: { dead: ["127.0.0.1:1"], broken: [startBrokenServer()] },
  routes: [{ match: { path: "/broken" }, upstream: "broken" }, { upstream: "dead" }],

  requestFilter(_request, ctx) {
    if (!ctx.target.startsWith("/closed/")) return;
    return new Response("Closed for maintenance\n", { status: 503, headers: { "retry-after": "3600" } });
  },

  // For responses of servers.
  upstreamResponseFilter: (response) => response.status >= 500 ? page(response.status) : undefined,

  // The proxy has no response of a server. Keep the fields of the error, such as `Retry-After`.
  failToProxy: (error) => page(error.status, error.headers),

  // For responses that are not from a server: of `requestFilter`, `failToProxy` and limits, and 404 if no route matches.
  localReplyFilter: (response) => response.headers.set("x-content-type-options", "nosniff"),
});

/** Starts a server whose responses show a stack trace, and returns its address. */
function startBrokenServer(): string {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
    return new Response("TypeError: undefined is not a function\n    at secret.ts:7", { status: 500 });
  });
  server.unref();
  return `127.0.0.1:${server.addr.port}`;
}
