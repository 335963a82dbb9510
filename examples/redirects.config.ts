// Redirect clients to new addresses, and rewrite paths that only the server still has.
//
//   deno run -A ../mod.ts redirects.config.ts
// 308 to https://blog.example/2024/a?page=2:
//   curl -v "http://127.0.0.1:6188/blog/2024/a?page=2"
// 301 to /products/7:
//   curl -v "http://127.0.0.1:6188/p/7"
// 308 to http://shop.example/:
//   curl -v "http://127.0.0.1:6188/" -H "host: www.shop.example"
// The server sees GET /catalog/item.php/7:
//   curl -v "http://127.0.0.1:6188/products/7"

import { defineConfig, redirect, rewritePath } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one")],
  filters: [
    // The path itself and all paths below it, with the query.
    redirect("/blog", "https://blog.example", { status: 308 }),
    redirect(/^\/p\/(\d+)$/, "/products/$1", { status: 301 }),
    redirect(
      ({ host, target }) => host.startsWith("www.") ? `http://${host.slice("www.".length)}${target}` : null,
      { status: 308 },
    ),
    // Not a redirect: the client does not see the new path.
    rewritePath("/products", "/catalog/item.php"),
  ],
});
