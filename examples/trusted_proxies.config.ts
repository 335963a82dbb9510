// Behind another proxy or a load balancer: trusted proxies say who the client is, and servers are told it. What an untrusted peer says
// is dropped.
//
//   deno run -A ../mod.ts trusted_proxies.config.ts
// The log says client=203.0.113.7:
//   curl "http://127.0.0.1:6188/" -H "x-forwarded-for: 203.0.113.7, 10.0.0.2"
//
// The list is read from right to left. The first address that is not trusted is the client.

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
