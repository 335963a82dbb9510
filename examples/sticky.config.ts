// Sticky sessions: a client stays with the server that responded first, by a signed cookie.
//
//   deno run -A jsr:@x/lbproxy sticky.config.ts
// Always the same server, again and again:
//   curl -s -c jar -b jar "http://127.0.0.1:6188/"
// In turn, without the jar:
//   curl -s "http://127.0.0.1:6188/"
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
      // The same in every proxy in front of these servers; in earnest, from where you keep secrets.
      secret: "only for trying it out",
      maxAge: "8h",
    },
  },
});
