// A maintenance page, and an error page of one's own in place of the problem document.
//
//   deno run -A jsr:@x/lbproxy custom_error_page.config.ts
//   curl -v http://127.0.0.1:6188/           # no server listens at port 1: 502, as a page
//   curl -v http://127.0.0.1:6188/closed/    # answered by the proxy itself: 503

import { defineConfig } from "@x/lbproxy";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: ["127.0.0.1:1"],

  requestFilter(_request, ctx) {
    if (!ctx.target.startsWith("/closed/")) return;
    return new Response("Closed for maintenance\n", { status: 503, headers: { "retry-after": "3600" } });
  },

  failToProxy(error) {
    const page =
      `<!doctype html><title>${error.status}</title><h1>Something is out of order</h1><p>We are on it.</p>\n`;
    return new Response(page, {
      status: error.status,
      headers: { "content-type": "text/html; charset=utf-8", "cache-control": "no-store", ...error.headers },
    });
  },
});
