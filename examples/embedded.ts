// Your own program with the proxy in it. A second server of the program has a limit and shows the state of the proxy.
//
//   deno run -A embedded.ts
// Through the proxy:
//   curl "http://127.0.0.1:6188/"
// The page of the program itself, ten times a minute:
//   curl "http://127.0.0.1:6190/"

import { RateLimiter, serve } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

const [proxyPort = "6188", ownPort = "6190"] = Deno.args;

const proxy = await serve({
  listen: `127.0.0.1:${proxyPort}`,
  upstreams: [startDemoUpstream("one"), startDemoUpstream("two")],
});

using limiter = new RateLimiter({ key: "ip", limit: 10, window: "1m" });

function page(): Response {
  const servers = [...proxy.pools.values()].flatMap((pool) => [...pool.servers]);
  return Response.json(servers.map(({ id, requests, inFlight }) => ({ id, requests, inFlight })));
}

const own = Deno.serve({
  hostname: "127.0.0.1",
  port: Number(ownPort),
  onListen({ port }) {
    // deno-lint-ignore no-console
    console.log(`proxy ${proxy.addresses[0]}, own page 127.0.0.1:${port}`);
  },
}, limiter.wrap(page));

Deno.addSignalListener("SIGTERM", async () => {
  await Promise.all([own.shutdown(), proxy.shutdown("SIGTERM")]);
  Deno.exit();
});
await own.finished;
