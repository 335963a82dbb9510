// Behind another proxy or a load balancer: who the client is, by the word of those who are trusted, and what servers
// are told of it. What a peer says that is not trusted is dropped.
//
//   deno run -A jsr:@x/lbproxy trusted_proxies.config.ts
// The client is 203.0.113.7:
//   curl "http://127.0.0.1:6188/" -H "x-forwarded-for: 203.0.113.7, 10.0.0.2"
//
// From right to left, as far as addresses are trusted: the first one that is not is the client.

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one")],

  // Addresses and networks, "loopback", "private" (RFC 1918 and RFC 4193), or "unix"; and the field that these add their
  // clients to, "x-forwarded-for" or "forwarded". The other one is dropped, since clients may write it themselves.
  trustedProxies: { from: ["loopback", "10.0.0.0/8"], field: "x-forwarded-for" },

  // X-Forwarded-* are on by default, the one of RFC 7239 and Via are not.
  forwarded: { forwarded: true },

  // Counts clients, and not the proxy in front.
  limiter: { key: "ip", limit: 2, window: "1m" },
});
