// A function chooses where a request goes: paying customers have their own servers, and a request with a ticket for a rehearsal
// goes to one server. A request that costs money is not sent a second time.
//
//   deno run -A ../mod.ts choose_upstream.config.ts
// Hello from shared:
//   curl "http://127.0.0.1:6188/"
// Hello from gold:
//   curl "http://127.0.0.1:6188/" -H "x-plan: gold"
// Hello from rehearsal:
//   curl "http://127.0.0.1:6188/" -H "x-rehearsal: 1"
//
// If host, path, method or fields decide, `routes` are faster and shorter (virtual_hosts.config.ts).

import { defineConfig } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

const plans = new Map([["gold", "gold"], ["silver", "gold"]]);
const rehearsal = startDemoUpstream("rehearsal");

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    default: ["127.0.0.1:1", startDemoUpstream("shared")], // no server listens at port 1
    gold: [startDemoUpstream("gold")],
  },

  upstreamPeer(request) {
    // A server that is in no pool. Add `tls` if the server needs it.
    if (request.headers.has("x-rehearsal")) return { address: rehearsal };
    // The name of a pool, or `undefined` for the default pool.
    return plans.get(request.headers.get("x-plan") ?? "");
  },

  // No byte of the request was sent, so the proxy tries another server unless this forbids it.
  failToConnect(error, ctx) {
    ctx.log.warn(`${ctx.server?.address} cannot be reached: ${error.code}`);
    if (ctx.target.startsWith("/payments")) ctx.retry(false);
  },
});
