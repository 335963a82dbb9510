import { startProxy } from "../../support/start_proxy.ts";
import { openWebSocket, webSocketUpstream } from "../../support/test_web_socket.ts";
import { untilEquals } from "../../support/until_equals.ts";

Deno.test("metrics(): WebSockets that are open, and were opened", async () => {
  await using upstream = webSocketUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address] });
  const lines = () =>
    proxy.server.metrics().split("\n").filter((line) =>
      /^lbproxy_(websockets_\w+|requests_total\{.*\}) /.test(line)
    );
  const socket = await openWebSocket(`ws://${proxy.address}/`);
  await untilEquals(
    () => lines().find((line) => line.startsWith("lbproxy_websockets_open")),
    "lbproxy_websockets_open 1",
  );
  await socket.close();
  await proxy.seen.untilEntries(1);
  await untilEquals(() => lines().sort(), [
    'lbproxy_requests_total{route="",method="GET",code="101",source="upstream"} 1',
    "lbproxy_websockets_open 0",
    "lbproxy_websockets_total 1",
  ]);
});
