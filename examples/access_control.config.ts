// Access control: the admin pages need an address of an inside network and a password. The size of uploads is limited.
//
//   deno run -A ../mod.ts access_control.config.ts
// 401, with a challenge:
//   curl -v "http://127.0.0.1:6188/admin/"
// 200, and the server sees x-user: root:
//   curl -v "http://127.0.0.1:6188/admin/" -u root:secret
// 413, more than 1 KiB:
//   curl -v "http://127.0.0.1:6188/upload" -d "$(seq 1000)"
// 401: this is the same path:
//   curl -v --path-as-is "http://127.0.0.1:6188/x/../%61dmin/"
// 400: a server could take this path for /admin/:
//   curl -v "http://127.0.0.1:6188/admin%2f"
//
// Behind another proxy set `trustedProxies`; otherwise all clients have the address of that proxy (trusted_proxies.config.ts).

import { basicAuth, defineConfig, ipAllow, ipDeny, maxBodySize } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one")],

  // Routes compare the normal form of a path. The server gets that form too, so it cannot read another path in it.
  forward: "normalized",

  // For all requests. Filters of a route run after these.
  filters: [ipDeny(["192.0.2.0/24", "2001:db8::/32"])],

  routes: [
    {
      match: { path: "/admin{/*}?" },
      filters: [
        ipAllow(["127.0.0.1", "::1", "10.0.0.0/8"]),
        // Keep the password in the environment. `forward: false` does not send it to the server.
        basicAuth({ users: { root: "secret" }, realm: "admin", userHeader: "x-user", forward: false }),
      ],
    },
    { match: { path: "/upload", method: ["POST", "PUT"] }, filters: [maxBodySize("1KiB")] },
    {},
  ],
});
