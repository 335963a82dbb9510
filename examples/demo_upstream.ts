/** A server to try the examples with: its response is its name and the request that it received. */

/**
 * Starts a demo server on a free port of this machine and returns its address.
 *
 * The server does not keep the process alive; the proxy does.
 */
export function startDemoUpstream(name: string): string {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const { pathname, search } = new URL(request.url);
    const lines = [
      `Hello from ${name}`,
      `${request.method} ${pathname}${search}`,
      ...Array.from(request.headers, ([field, value]) => `${field}: ${value}`),
    ];
    return new Response(lines.join("\n") + "\n", { headers: { "x-upstream": name } });
  });
  server.unref();
  return `127.0.0.1:${server.addr.port}`;
}
