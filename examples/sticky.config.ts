// Sticky sessions: a signed cookie keeps a client with the server that responded first.
//
//   deno run -A ../mod.ts sticky.config.ts
// The same server three times:
//   curl -s -c jar -b jar "http://127.0.0.1:6188/?n=[1-3]" | grep Hello
// In turn, without the cookie:
//   curl -s "http://127.0.0.1:6188/?n=[1-2]" | grep Hello
//
// When that server is down or drains, the client goes to another one and stays there.

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    servers: [startDemoUpstream("one"), startDemoUpstream("two")],
    sticky: {
      cookie: "at",
      // Every proxy in front of these servers needs the same secret. Do not write a real one into this file.
      secret: "only for trying it out",
      maxAge: "8h",
    },
  },
});
