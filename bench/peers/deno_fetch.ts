/** A plain proxy with `Deno.serve` and `fetch`, without a library: `LISTEN_PORT SERVER_PORT...`. */

const [listenPort, ...ports] = Deno.args.map(Number);
let turn = 0;

Deno.serve({ hostname: "127.0.0.1", port: listenPort!, onListen() {} }, async (request) => {
  const { pathname, search } = new URL(request.url);
  const { method, headers, body } = request;
  const port = ports[turn++ % ports.length];
  const answer = await fetch(`http://127.0.0.1:${port}${pathname}${search}`, {
    method,
    headers,
    body,
    redirect: "manual",
  });
  return new Response(answer.body, { status: answer.status, headers: answer.headers });
});
