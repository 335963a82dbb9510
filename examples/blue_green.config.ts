// Blue and green: the new version runs beside the old one, and gets as large a share as you say. Weights move from code;
// no connection is dropped on the way there or back.
//
//   deno run -A jsr:@x/lbproxy blue_green.config.ts
//   curl -X POST "http://127.0.0.1:6188/-/green?percent=10"
//   curl -X POST "http://127.0.0.1:6188/-/green?percent=100"

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
