// Behind another proxy or a load balancer: trusted proxies name the client, and the proxy forwards that to servers. Fields of an
// untrusted peer are dropped.
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

  // Addresses and networks, "loopback", "private" (RFC 1918 and RFC 4193), or "unix"; and the field in which these
  // name their clients, "x-forwarded-for" or "forwarded". The other field is dropped, because a client may have written it.
  trustedProxies: { from: ["loopback", "10.0.0.0/8"], field: "x-forwarded-for" },

  // X-Forwarded-* are on by default, `Forwarded` (RFC 7239) and `Via` are not.
  forwarded: { forwarded: true },

  // Counts the clients, not the proxy in front.
  limiter: { key: "ip", limit: 2, window: "1m" },
});
