// Response fields for browsers: which pages may read the response (CORS), security fields, request ids; and compression.
//
//   deno run -A ../mod.ts response_headers.config.ts
//   curl -v "http://127.0.0.1:6188/"
// May read it:
//   curl -v "http://127.0.0.1:6188/" -H "Origin: https://app.example"
// May not:
//   curl -v "http://127.0.0.1:6188/" -H "Origin: https://evil.example"
// Compressed:
//   curl -v --compressed "http://127.0.0.1:6188/?long=$(seq -s a 1000)"

import {
  compress,
  cors,
  defineConfig,
  removeHeaders,
  requestId,
  securityHeaders,
  setHeaders,
} from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one"), startDemoUpstream("two")],

  // In this order for requests, in reverse order for responses.
  filters: [
    cors({ origins: ["https://app.example"], exposeHeaders: ["x-served-by"] }),
    requestId(),
    securityHeaders({ frameOptions: "DENY" }),
    setHeaders({ response: { "x-served-by": (ctx) => ctx.server?.address ?? null } }),
    removeHeaders({ response: ["x-upstream"] }),
    compress(),
  ],
});
