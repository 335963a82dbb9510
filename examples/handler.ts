// Your own server, which responds to some requests itself and passes all others to the proxy.
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
// Optional: without this, early requests wait for the first round of health checks.
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
  // If a response breaks off, the connection to the client is cut off. Without this the runtime prints a stack trace each time.
  onError: () => new Response(null, { status: 500 }),
}, (request, info) => new URL(request.url).pathname === "/servers" ? servers() : handler(request, info));

Deno.addSignalListener("SIGTERM", async () => {
  // Shut down the proxy first, so that running requests and WebSockets end properly.
  await handler.shutdown("SIGTERM");
  await server.shutdown();
  Deno.exit();
});
await server.finished;
