// Blue and green: the new version runs beside the old one and gets the share of requests that you set. Code changes the weights.
// No connection is dropped in either direction.
//
//   deno run -A ../mod.ts blue_green.config.ts
// Hello from blue:
//   curl "http://127.0.0.1:6188/"
// Ten requests of a hundred go to green:
//   curl -X POST "http://127.0.0.1:6188/-/green?percent=10"
// All of them:
//   curl -X POST "http://127.0.0.1:6188/-/green?percent=100"
// Hello from green:
//   curl "http://127.0.0.1:6188/"

import { defineConfig, type Pool } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

const blue = startDemoUpstream("blue");
const green = startDemoUpstream("green");
let pool: Pool | undefined;

function moveTo(pool: Pool, percent: number): Response {
  if (!(percent >= 0 && percent <= 100)) return new Response("percent must be 0 to 100\n", { status: 400 });
  pool.setWeight(blue, 100 - percent);
  pool.setWeight(green, percent);
  return new Response(`green gets ${percent} %\n`);
}

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: [{ address: blue, weight: 100 }, { address: green, weight: 0 }],
  onListen: (_addresses, pools) => void (pool = pools.get("default")),
  requestFilter(request, { target, client }) {
    if (pool === undefined || request.method !== "POST" || !target.startsWith("/-/green?")) return;
    if (client.ip !== "127.0.0.1") return new Response(null, { status: 403 });
    return moveTo(pool, Number(new URL(request.url).searchParams.get("percent") ?? NaN));
  },
});
