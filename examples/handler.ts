// A server of your own that responds to some requests itself, and passes all others to the proxy.
//
//   deno run -A handler.ts
// Through the proxy:
//   curl "http://127.0.0.1:6188/"
// The page of the server itself:
//   curl "http://127.0.0.1:6188/servers"

import { createHandler } from "@x/lbproxy";
import { startDemoUpstream } from "./demo_upstream.ts";

const [port = "6188"] = Deno.args;

const handler = createHandler({
  upstreams: { servers: [startDemoUpstream("one"), startDemoUpstream("two")], healthCheck: { type: "tcp" } },
});
// Nobody has to wait for it; whoever comes sooner waits for the first round of checks.
await handler.ready;

function servers(): Response {
  const all = [...handler.pools.values()].flatMap((pool) => [...pool.servers]);
  return Response.json(all.map(({ id, healthy, requests }) => ({ id, healthy, requests })));
}

const server = Deno.serve({
  hostname: "127.0.0.1",
  port: Number(port),
  onListen({ hostname, port }) {
    // deno-lint-ignore no-console
    console.log(`listening at ${hostname}:${port}`);
  },
  // A response that breaks off midway is cut off at the client; without this the runtime prints a stack for each.
  onError: () => new Response(null, { status: 500 }),
}, (request, info) => new URL(request.url).pathname === "/servers" ? servers() : handler(request, info));

Deno.addSignalListener("SIGTERM", async () => {
  // First the proxy, so that requests and WebSockets that run end properly.
  await handler.shutdown("SIGTERM");
  await server.shutdown();
  Deno.exit();
});
await server.finished;
