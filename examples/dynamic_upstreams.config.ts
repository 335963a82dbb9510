// Add and remove servers while the proxy runs: POST and DELETE at /-/servers, from this machine only. A removed server gets no new
// requests and finishes the running ones.
//
//   deno run -A ../mod.ts dynamic_upstreams.config.ts
//   curl -X POST "http://127.0.0.1:6188/-/servers?address=127.0.0.1:9001"
//   curl -X DELETE "http://127.0.0.1:6188/-/servers?address=127.0.0.1:9001"

import { defineConfig, type Pool } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

let pool: Pool | undefined;

function changeServers(pool: Pool, method: string, address: string): Response {
  try {
    if (method === "POST") pool.addServer(address);
    else if (method === "DELETE") pool.removeServer(address);
  } catch (error) {
    return new Response(`${error instanceof Error ? error.message : error}\n`, { status: 400 });
  }
  return Response.json(pool.servers.map(({ id, inFlight, requests }) => ({ id, inFlight, requests })));
}

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one"), startDemoUpstream("two")],
  onListen: (_addresses, pools) => void (pool = pools.get("default")),
  requestFilter(request, { target, client }) {
    if (pool === undefined || !target.startsWith("/-/servers")) return;
    if (client.ip !== "127.0.0.1") return new Response(null, { status: 403 });
    return changeServers(pool, request.method, new URL(request.url).searchParams.get("address") ?? "");
  },
});
