/**
 * The raw relay of `floor_relay.ts`, which also reads from the runtime what every proxy needs of a request, and passes it
 * the fields of the response: the cost of a proxy without any code of its own.
 * `LISTEN_PORT SERVER_PORT...`
 */

const [listenPort, ...ports] = Deno.args.map(Number);
const HEAD = new TextEncoder().encode("GET /12 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
const BODY_BYTES = 12;
const idle: { socket: Deno.Conn; buffer: Uint8Array<ArrayBuffer> }[] = [];
let turn = 0;

Deno.serve({ hostname: "127.0.0.1", port: listenPort!, onListen() {} }, async (request, info) => {
  const asked: string[] = [request.method, request.url, info.remoteAddr.hostname];
  request.headers.forEach((value, name) => asked.push(name, value));
  const kept = idle.pop() ?? {
    socket: await Deno.connect({ hostname: "127.0.0.1", port: ports[turn++ % ports.length]! }),
    buffer: new Uint8Array(16384),
  };
  const read = kept.socket.read(kept.buffer);
  await kept.socket.write(HEAD);
  const count = await read ?? 0;
  const body = kept.buffer.slice(count - BODY_BYTES, count);
  idle.push(kept);
  const headers: Record<string, string> = {};
  headers["server"] = "nginx";
  headers["date"] = "Wed, 25 Nov 2026 00:00:00 GMT";
  headers["content-type"] = "text/plain";
  headers["content-length"] = String(BODY_BYTES);
  return new Response(body, { headers });
});
