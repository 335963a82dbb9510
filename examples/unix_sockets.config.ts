// No ports: clients (nginx, for example) connect to a unix socket, and so does the proxy to the server.
//
//   deno run -A ../mod.ts unix_sockets.config.ts
//   curl --unix-socket lbproxy.sock "http://localhost/"
//
// A client of a unix socket has no address: a limit by "ip" skips it, unless a trusted proxy names the address.

import { defineConfig } from "@x/lbproxy";

const here = Deno.cwd();

export default defineConfig({
  listen: `unix:${here}/lbproxy.sock`,
  upstreams: [startServer(`${here}/server.sock`)],
  trustedProxies: ["unix"],
});

/** Starts a server at a unix socket and returns its address. */
function startServer(path: string): string {
  try {
    Deno.removeSync(path); // left by a server that did not remove it
  } catch {
    // There was none.
  }
  const server = Deno.serve({ path, onListen: () => {} }, ({ headers }) => {
    return new Response(`Hello, ${headers.get("x-forwarded-for") ?? "nobody"}\n`);
  });
  server.unref();
  return `unix:${path}`;
}
