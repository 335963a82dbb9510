// Find servers by DNS: SRV records have host, port, weight and priority. Servers without the best priority are backups.
// The proxy resolves the name again every ten seconds. A lookup that fails or finds no server changes nothing.
//
// It needs your own SRV records: change the name below first.
//   deno run -A ../mod.ts dns_discovery.config.ts

import { defineConfig } from "@x/lbproxy";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    discovery: { type: "dns", name: "_http._tcp.api.internal", record: "SRV", interval: "10s" },
    healthCheck: { type: "tcp", interval: "1s" },
  },
});
