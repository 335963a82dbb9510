// Find servers by DNS: SRV records give host, port, weight and priority; servers of a worse priority are backups. The proxy looks them
// up again every ten seconds. A search that fails or finds nothing changes nothing.
//
// It needs SRV records of yours: change the name below first.
//   deno run -A ../mod.ts dns_discovery.config.ts

import { defineConfig } from "@x/lbproxy";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    discovery: { type: "dns", name: "_http._tcp.api.internal", record: "SRV", interval: "10s" },
    healthCheck: { type: "tcp", interval: "1s" },
  },
});
