/** Cost of `Deno.serve` alone: a constant response, without servers. `LISTEN_PORT`. */

const BODY = new TextEncoder().encode("Hello world\n");

Deno.serve(
  { hostname: "127.0.0.1", port: Number(Deno.args[0]), onListen() {} },
  () => new Response(BODY, { headers: [["server", "nginx"], ["content-type", "text/plain"]] }),
);
