// Take a server out for maintenance while the proxy runs: drain it (it finishes its requests and gets no new ones), disable it, enable
// it again. POST from this machine, at /-/drain, /-/disable and /-/enable.
//
//   deno run -A ../mod.ts runtime_changes.config.ts
//   curl -X POST "http://127.0.0.1:6188/-/drain?server=0"
//   curl -X POST "http://127.0.0.1:6188/-/enable?server=0"
//
// dynamic_upstreams.config.ts adds and removes servers, blue_green.config.ts moves weights.

import { defineConfig, type Pool } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

let pool: Pool | undefined;

function change(pool: Pool, action: string, index: number): Response {
  const server = pool.servers[index];
  if (server === undefined) return new Response("there is no such server\n", { status: 404 });
  if (action === "drain") pool.setDraining(server, true);
  else if (action === "disable") pool.setEnabled(server, false);
  else if (action === "enable") {
    pool.setDraining(server, false);
    pool.setEnabled(server, true);
  } else return new Response("drain, disable or enable\n", { status: 404 });
  return new Response(`${server.id}: ${server.ineligibility ?? "in use"}\n`);
}

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [startDemoUpstream("one"), startDemoUpstream("two")],
  onListen: (_addresses, pools) => void (pool = pools.get("default")),
  requestFilter(request, { target, client }) {
    if (pool === undefined || request.method !== "POST" || !target.startsWith("/-/")) return;
    if (client.ip !== "127.0.0.1") return new Response(null, { status: 403 });
    const url = new URL(request.url);
    return change(pool, url.pathname.slice("/-/".length), Number(url.searchParams.get("server") ?? -1));
  },
});
