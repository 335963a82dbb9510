// Servers that are reached by address, but whose certificate and Host are for a name.
//
// It needs the internet: the servers are 1.1.1.1 and 1.0.0.1.
//   deno run -A ../mod.ts custom_server_name.config.ts
//   curl -v "http://127.0.0.1:6188/"

import { defineConfig } from "@x/lbproxy";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    servers: ["1.1.1.1:443", "1.0.0.1:443"],
    // For SNI and for the check of the certificate. The default is the address.
    tls: { serverName: "one.one.one.one" },
  },
  // Without this the server gets the Host that the client sent.
  upstreamRequestFilter: (request) => request.headers.set("host", "one.one.one.one"),
});
