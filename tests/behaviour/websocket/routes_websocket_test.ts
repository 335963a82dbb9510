import { assertEquals } from "@std/assert";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { openWebSocket } from "../../support/test_web_socket.ts";

Deno.test("routes take WebSockets as they take requests, with their pool and rewrite", async () => {
  const targets: string[] = [];
  await using chat = startUpstream({
    handler: (request) => {
      const { pathname, search } = new URL(request.url);
      targets.push(pathname + search);
      const { socket, response } = Deno.upgradeWebSocket(request);
      socket.onmessage = ({ data }) => socket.send(`echo ${data}`);
      return response;
    },
  });
  await using other = startUpstream();
  await using proxy = await startProxy({
    upstreams: { chat: { servers: [chat.address] }, other: { servers: [other.address] } },
    routes: [
      { match: { path: "/chat/*" }, upstream: "chat", rewrite: { stripPrefix: "/chat" } },
      { match: { path: "/http" }, upstream: "other" },
    ],
  });

  const client = await openWebSocket(`ws://${proxy.address}/chat/room?a=b`);
  client.socket.send("hello");
  assertEquals([await client.next(), targets], ["echo hello", ["/room?a=b"]]);
  await client.close();
  await proxy.seen.untilEntries(1);

  const nowhere = await proxy.ask("GET /nowhere", [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  ]);
  assertEquals([nowhere.status, other.requests], [404, 0]);
});
