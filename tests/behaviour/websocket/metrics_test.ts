import { assertMatch } from "@std/assert";
import { startProxy } from "../../support/start_proxy.ts";
import { openWebSocket, webSocketUpstream } from "../../support/test_web_socket.ts";

Deno.test("metrics(): WebSockets that are open, and were opened", async () => {
  await using upstream = webSocketUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address] });
  const socket = await openWebSocket(`ws://${proxy.address}/`);
  assertMatch(proxy.server.metrics(), /^lbproxy_websockets_open 1$/m);
  await socket.close();
  await proxy.seen.untilEntries(1);
  assertMatch(proxy.server.metrics(), /^lbproxy_websockets_open 0$/m);
  assertMatch(proxy.server.metrics(), /^lbproxy_websockets_total 1$/m);
  assertMatch(
    proxy.server.metrics(),
    /^lbproxy_requests_total\{route="",method="GET",code="101",source="upstream"\} 1$/m,
  );
});
