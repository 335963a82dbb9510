import { assert, assertEquals, assertRejects } from "@std/assert";
import { tcpCheck } from "../../../lib/health/probe.ts";
import { Pool } from "../../../lib/upstream/pool.ts";
import type { Server } from "../../../lib/upstream/server.ts";

function serverAt(address: string): Server {
  return new Pool({ name: "test", servers: [address] }).servers[0]!;
}

Deno.test("tcpCheck() passes when the port is open, and closes its connection", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const check = tcpCheck()(serverAt(`127.0.0.1:${listener.addr.port}`), new AbortController().signal);
  using connection = await listener.accept();
  await check;
  assertEquals(await connection.read(new Uint8Array(1)), null);
});

Deno.test("tcpCheck() fails when the port is closed", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const server = serverAt(`127.0.0.1:${listener.addr.port}`);
  listener.close();
  await assertRejects(() => tcpCheck()(server, new AbortController().signal), Deno.errors.ConnectionRefused);
});

Deno.test("tcpCheck() goes to another port when told", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const check = tcpCheck(listener.addr.port)(serverAt("127.0.0.1:1"), new AbortController().signal);
  using _connection = await listener.accept();
  await check;
});

Deno.test("tcpCheck() goes to a unix socket", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/server.sock`;
  {
    using listener = Deno.listen({ transport: "unix", path });
    const check = tcpCheck()(serverAt(`unix:${path}`), new AbortController().signal);
    using _connection = await listener.accept();
    await check;
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("tcpCheck() gives up a connection that does not come when the signal says so", async () => {
  // With a backlog of one that is taken, further connections are left to wait.
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 1 });
  const { port } = listener.addr;
  const waiting = new AbortController();
  const fillers = Array.from({ length: 8 }, () => {
    return Deno.connect({ hostname: "127.0.0.1", port, signal: waiting.signal }).catch(() => null);
  });
  const first = await Promise.race(fillers);
  assert(first !== null);
  const controller = new AbortController();
  const check = tcpCheck()(serverAt(`127.0.0.1:${port}`), controller.signal);
  controller.abort(new Error("late"));
  await assertRejects(() => check);
  waiting.abort();
  for (const connection of await Promise.all(fillers)) connection?.close();
});
