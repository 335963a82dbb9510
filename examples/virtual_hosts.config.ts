// Several sites at one address: host, path and method decide, and each site has its own limits and filters.
//
//   deno run -A ../mod.ts virtual_hosts.config.ts
// The shop:
//   curl "http://127.0.0.1:6188/" -H "host: shop.example"
// Its API, 100 requests a second for each address:
//   curl "http://127.0.0.1:6188/api/cart" -H "host: shop.example"
// Pages of users:
//   curl "http://127.0.0.1:6188/" -H "host: eve.pages.example"
// 404:
//   curl "http://127.0.0.1:6188/" -H "host: other.example"

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    shop: { servers: [startDemoUpstream("shop")] },
    api: { servers: [startDemoUpstream("api one"), startDemoUpstream("api two")] },
    pages: { servers: [startDemoUpstream("pages")] },
  },
  // The first route that matches takes the request.
  routes: [
    {
      name: "shop api",
      match: { host: "shop.example", path: "/api/*" },
      upstream: "api",
      limiter: { key: "ip", limit: 100, window: "1s" },
      timeouts: { response: "5s" },
    },
    { name: "shop", match: { host: ["shop.example", "www.shop.example"] }, upstream: "shop" },
    {
      name: "pages",
      // Only GET and HEAD: other methods match no route.
      match: { host: "*.pages.example", method: ["GET", "HEAD"] },
      upstream: "pages",
      filters: [{
        responseFilter(response) {
          response.headers.set("content-security-policy", "sandbox");
        },
      }],
    },
  ],
});
