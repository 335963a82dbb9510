// Servers without TLS: an address without a scheme means plain HTTP, and so does `http://`.
//
//   deno run -A ../mod.ts no_tls.config.ts
//   curl -v "http://127.0.0.1:6188/"

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one"), `http://${startDemoUpstream("two")}`],
});
