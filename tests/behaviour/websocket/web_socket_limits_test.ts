import { assertEquals } from "@std/assert";
import { latin1Text } from "../../support/raw_connection.ts";
import { rawUpstream } from "../../support/raw_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";
import {
  acceptSwitch,
  openWebSocket,
  readFrame,
  type TestWebSocket,
  upgradeHead,
  webSocketUpstream,
} from "../../support/test_web_socket.ts";
import { TEST_WORKERS } from "../../support/test_workers.ts";
import { untilStill } from "../../support/until_still.ts";
import { frame } from "../../support/web_socket_frames.ts";

Deno.test("proxy forwards 1,000 WebSockets at once, and keeps none of them", async () => {
  await using server = webSocketUpstream();
  await using proxy = await startProxy({ upstreams: [server.address] });
  const before = openSockets();
  const clients: TestWebSocket[] = [];
  for (let i = 0; i < 1000; i += 100) {
    const opened = Array.from({ length: 100 }, () => openWebSocket(`ws://${proxy.address}/`));
    clients.push(...await Promise.all(opened));
  }
  clients.forEach((client, i) => client.socket.send(`message ${i}`));
  const echoes = await Promise.all(clients.map((client) => client.next()));
  assertEquals(echoes, clients.map((_, i) => `message ${i}`));
  assertEquals(proxy.servers[0]!.inFlight, 1000);
  // Both ends of both connections of each are in this process, those of workers are not.
  if (before !== null) assertEquals(openSockets()! - before, TEST_WORKERS === 1 ? 4000 : 2000);
  // Half of them closed by the clients, half by the server.
  clients.forEach((client, i) => i % 2 === 0 ? client.socket.close(1000) : undefined);
  server.sockets.forEach((socket) =>
    socket.socket.readyState === WebSocket.OPEN && socket.socket.close(1000)
  );
  await Promise.all(clients.map((client) => client.closed));
  await Promise.all(server.sockets.map((socket) => socket.closed));
  await proxy.seen.untilEntries(1000);
  assertEquals(proxy.servers[0]!.inFlight, 0);
  if (before !== null) assertEquals(await untilStill(() => openSockets()!) - before, 0);
});

Deno.test("proxy closes both sides with 1001 after idleTimeout without a message", async () => {
  await using server = webSocketUpstream();
  await using proxy = await startProxy({
    upstreams: { servers: [server.address], webSocket: { idleTimeout: "300ms" } },
  });
  const opened = server.next();
  const client = await openWebSocket(`ws://${proxy.address}/`);
  const socket = await opened;
  assertEquals(await client.closed, [1001, "idle for too long"]);
  assertEquals((await socket.closed)[0], 1001);
  assertEquals((await proxy.seen.untilEntries(1)).error, null);
});

Deno.test("proxy does not take responses to its own pings for activity", async () => {
  await using server = webSocketUpstream();
  await using proxy = await startProxy({
    upstreams: { servers: [server.address], webSocket: { idleTimeout: "300ms", pingInterval: "100ms" } },
  });
  const client = await openWebSocket(`ws://${proxy.address}/`);
  assertEquals(await client.closed, [1001, "idle for too long"]);
  await proxy.seen.untilEntries(1);
});

Deno.test("proxy cuts off a server that does not answer pings, and closes its client", async () => {
  const lost = Promise.withResolvers<void>();
  await using server = rawUpstream(async (connection) => {
    await acceptSwitch(connection);
    await connection.untilClosed();
    lost.resolve();
  });
  await using proxy = await startProxy({
    upstreams: { servers: [server.address], webSocket: { pingInterval: "100ms" } },
  });
  const client = await openWebSocket(`ws://${proxy.address}/`);
  assertEquals((await client.closed)[0], 1011);
  await lost.promise;
});

Deno.test("proxy keeps a silent WebSocket whose sides answer pings, and drops a client that does not", async () => {
  await using server = webSocketUpstream();
  await using proxy = await startProxy({
    upstreams: { servers: [server.address], webSocket: { pingInterval: "100ms" } },
  });
  const alive = await openWebSocket(`ws://${proxy.address}/`);
  using dead = await proxy.connect();
  await dead.write(upgradeHead());
  await dead.readHead();
  await proxy.seen.untilEntries(1);
  alive.socket.send("still here");
  assertEquals(await Promise.race([alive.next(), alive.closed]), "still here");
  await alive.close();
});

Deno.test("proxy makes a server wait for a client that takes messages slowly", async () => {
  let sent = 0;
  const piece = new Uint8Array(64 * 1024 + 10);
  piece.set([0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
  await using server = rawUpstream(async (connection) => {
    await acceptSwitch(connection);
    try {
      for (let i = 0; i < 2000; i++) {
        await connection.write(piece);
        sent += piece.length;
      }
    } catch {
      // The client has gone.
    }
  });
  await using proxy = await startProxy({ upstreams: [server.address] });
  {
    using client = await proxy.connect();
    await client.write(upgradeHead());
    await client.readHead();
    const waiting = await untilStill(() => sent);
    // What the proxy keeps, and the sockets between: far from the 131 MB that there are.
    assertEquals([waiting > 1_000_000, waiting < 40_000_000], [true, true], String(waiting));
    // Whoever reads gets the rest.
    let left = 80_000_000;
    while (left > 0) left -= (await client.read(1 << 20))!.length;
    assertEquals(sent > waiting, true);
  }
  await proxy.seen.untilEntries(1);
});

Deno.test("proxy closes when more of a client's messages wait for the server than maxBuffered", async () => {
  const done = Promise.withResolvers<void>();
  await using server = rawUpstream(async (connection) => {
    await acceptSwitch(connection);
    await done.promise;
  });
  using finish = new DisposableStack();
  finish.defer(done.resolve);
  await using proxy = await startProxy({
    // Elsewhere it waits until the server takes them.
    listen: { hostname: "127.0.0.1", port: 0, engine: "deno" },
    upstreams: { servers: [server.address], webSocket: { maxBuffered: "1MiB" } },
  });
  using client = await proxy.connect();
  await client.write(upgradeHead());
  await client.readHead();
  const message = new Uint8Array(14 + (1 << 20));
  message.set([0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0]);
  // Whatever comes behind the message that is one too many is read and dropped: a client that has more to say is no
  // reason to cut it off before it has read why.
  for (let sent = 0; sent < 32; sent++) await client.write(message);
  const { opcode, payload } = await readFrame(client);
  assertEquals([opcode, payload[0]! * 256 + payload[1]!], [0x8, 1013]);
  assertEquals(latin1Text(payload.slice(2)), "the server takes messages too slowly");
  await client.write(Uint8Array.from(frame(0x8, payload, { mask: [1, 2, 3, 4] })));
  assertEquals((await client.readToEnd()).length, 0);
  done.resolve();
  assertEquals((await proxy.seen.untilEntries(1)).error, "connection_terminated");
  assertEquals(
    proxy.seen.eventsOf("request_failure").map(({ message }) => message),
    ["The WebSocket to the server broke off: the server takes messages too slowly"],
  );
  assertEquals(proxy.servers[0]!.inFlight, 0);
});

Deno.test("ProxyServer.shutdown() closes WebSockets on both sides with 1001 once their grace is over", async () => {
  await using server = webSocketUpstream();
  await using proxy = await startProxy({ upstreams: [server.address], gracePeriod: "1h" });
  const client = await openWebSocket(`ws://${proxy.address}/`);
  const down = proxy.server.shutdown("test");
  assertEquals(await client.closed, [1001, "the proxy stops"]);
  assertEquals(await server.sockets[0]!.closed, [1001, "the proxy stops"]);
  await down;
  assertEquals(proxy.seen.entries.map(({ status, error }) => [status, error]), [[101, null]]);
  assertEquals(proxy.seen.eventsOf("stopped").map(({ abandonedRequests }) => abandonedRequests), [0]);
});

Deno.test("ProxyServer.shutdown() refuses a WebSocket that a server has not agreed to yet", async () => {
  const asked = Promise.withResolvers<void>();
  await using server = rawUpstream(async (connection) => {
    await connection.readRequest();
    asked.resolve();
    await connection.untilClosed();
  });
  await using proxy = await startProxy({ upstreams: [server.address], gracePeriod: "1h" });
  using client = await proxy.connect();
  await client.write(upgradeHead());
  await asked.promise;
  const down = proxy.server.shutdown("test");
  assertEquals((await client.readResponse()).status, 503);
  await down;
  assertEquals(proxy.seen.entries.map(({ target, status }) => [target, status]), [["/ws", 503]]);
});

Deno.test("ProxyServer.shutdown() does not wait for sides that do not answer a closing", async () => {
  await using server = rawUpstream(async (connection) => {
    await acceptSwitch(connection);
    await connection.untilClosed();
  });
  await using proxy = await startProxy({ upstreams: [server.address], gracePeriod: "1h" });
  using client = await proxy.connect();
  await client.write(upgradeHead());
  await client.readHead();
  const [only] = proxy.servers;
  await proxy.server.shutdown("test");
  assertEquals([only!.inFlight, proxy.seen.entries.length], [0, 1]);
});

/** How many sockets the process has; `null` where the system does not tell. */
function openSockets(): number | null {
  if (Deno.build.os !== "linux") return null;
  let count = 0;
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    try {
      if (Deno.readLinkSync(`/proc/self/fd/${name}`).startsWith("socket:")) count++;
    } catch {
      // The one that the list was read by.
    }
  }
  return count;
}
