// Rewrite paths before the server gets them: remove a prefix, add another one, keep old names working.
//
//   deno run -A ../mod.ts path_rewrite.config.ts
// The server sees GET /v2/users?page=2:
//   curl "http://127.0.0.1:6188/api/users?page=2"
// The server sees GET /products/7:
//   curl "http://127.0.0.1:6188/shop/item/7"
// Unchanged:
//   curl "http://127.0.0.1:6188/elsewhere"
//
// A rewritten path is sent in its normal form (`/./api//users` is `/api/users`); any other path is sent unchanged.

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one")],
  routes: [
    // "{/*}?": the path itself and all paths below it.
    { match: { path: "/api{/*}?" }, rewrite: { stripPrefix: "/api", prefix: "/v2" } },
    { match: { path: "/shop/item/:id" }, rewrite: { replace: [/^\/shop\/item\//, "/products/"] } },
    // A function gets path and query and returns both.
    { match: { path: "/search/:words" }, rewrite: (target) => `/find?q=${target.slice("/search/".length)}` },
    {},
  ],
});
