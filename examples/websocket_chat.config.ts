// WebSockets: a chat with at most three connections for each address. The server chooses the subprotocol, and refuses clients that
// do not offer it.
//
//   deno run -A ../mod.ts websocket_chat.config.ts
// In two terminals:
//   deno repl
// In each of them:
//   > const chat = new WebSocket("ws://127.0.0.1:6188/", "chat"); chat.onmessage = (event) => console.log(event.data);
//   > chat.send("hello")

import { defineConfig } from "@x/lbproxy";

export default defineConfig({
  listen: "127.0.0.1:6188",
  upstreams: {
    servers: [startChat()],
    webSocket: { idleTimeout: "10m", pingInterval: "20s", maxMessageSize: "64KiB" },
  },
  // A WebSocket takes a permit when it opens and returns it when it closes.
  limiter: { key: "ip", algorithm: "concurrency", limit: 3 },
  gracePeriod: "5s",
});

/** Starts a server that sends each message to all clients, and returns its address. */
function startChat(): string {
  const everybody = new Set<WebSocket>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const protocols = request.headers.get("sec-websocket-protocol") ?? "";
    if (!protocols.split(", ").includes("chat")) return new Response("This is a chat\n", { status: 400 });
    const { socket, response } = Deno.upgradeWebSocket(request, { protocol: "chat" });
    socket.onopen = () => everybody.add(socket);
    socket.onclose = () => everybody.delete(socket);
    socket.onmessage = ({ data }) => {
      for (const each of everybody) if (each.readyState === WebSocket.OPEN) each.send(data);
    };
    return response;
  });
  server.unref();
  return `127.0.0.1:${server.addr.port}`;
}
