// Servers by the DNS: SRV records say host, port, weight and priority; those of a worse priority are backups. They are
// looked up again every ten seconds; a search that fails or finds nothing changes nothing.
//
//   deno run -A jsr:@x/lbproxy dns_discovery.config.ts

import { defineConfig } from "@x/lbproxy";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    discovery: { type: "dns", name: "_http._tcp.api.internal", record: "SRV", interval: "10s" },
    healthCheck: { type: "tcp", interval: "1s" },
  },
});
