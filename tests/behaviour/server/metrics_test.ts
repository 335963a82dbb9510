import { assert, assertEquals } from "@std/assert";
import { deadPort } from "../../support/dead_port.ts";
import { startProxy, type TestProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { untilEquals } from "../../support/until_equals.ts";

/** The value of one series. */
function valueOf(proxy: TestProxy, series: string): number | undefined {
  const line = proxy.server.metrics().split("\n").find((each) => each.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}

Deno.test("ProxyServer.metrics() tells of requests and servers", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address] });
  for (let n = 0; n < 3; n++) await proxy.ask();
  await proxy.seen.untilEntries(3);
  const server = `pool="default",server="${upstream.address}"`;
  await untilEquals(() => valueOf(proxy, "lbproxy_requests_received_total"), 3);
  await untilEquals(() => valueOf(proxy, "lbproxy_requests_in_flight"), 0);
  await untilEquals(() => valueOf(proxy, `lbproxy_upstream_requests_total{${server}}`), 3);
  await untilEquals(() => valueOf(proxy, `lbproxy_upstream_state{${server},state="up"}`), 1);
  proxy.server.pools.get("default")!.setDraining(upstream.address, true);
  await untilEquals(() => valueOf(proxy, `lbproxy_upstream_state{${server},state="up"}`), 0);
  await untilEquals(() => valueOf(proxy, `lbproxy_upstream_state{${server},state="draining"}`), 1);
});

Deno.test("ProxyServer.metrics() tells of panic", async () => {
  await using upstream = startUpstream();
  const dead = [1, 2].map(() => `127.0.0.1:${deadPort()}`);
  await using proxy = await startProxy({
    upstreams: {
      servers: [upstream.address, ...dead],
      healthCheck: { type: "tcp", interval: "1h" },
      panicThreshold: 0.5,
    },
  });
  assertEquals((await proxy.ask()).status, 200);
  await untilEquals(() => valueOf(proxy, 'lbproxy_panic{pool="default"}'), 1);
  assertEquals(proxy.seen.eventsOf("panic").map(({ panic }) => panic), [true]);
});

Deno.test("ProxyServer.metrics() tells of searches for servers that failed", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: {
      servers: [upstream.address],
      discovery: { type: "custom", discover: () => Promise.reject(new Error("no")), interval: "1h" },
    },
  });
  await untilEquals(() => valueOf(proxy, 'lbproxy_discovery_failures_total{pool="default"}'), 1);
});

Deno.test("ProxyServer.metrics() tells of keys that do not fit the table", async () => {
  await using upstream = startUpstream();
  const limiter = { name: "app", key: "header:appid", limit: 5, window: "1h", maxKeys: 1 } as const;
  await using proxy = await startProxy({ upstreams: [upstream.address], limiter });
  const series = 'lbproxy_ratelimit_overflows_total{policy="app"}';
  await untilEquals(() => valueOf(proxy, series), 0);
  using client = await proxy.connect();
  // A table for one key has room for some hundred.
  for (let n = 0; n < 2000 && valueOf(proxy, series) === 0; n++) {
    await client.write(`GET / HTTP/1.1\r\nHost: h\r\nappid: key${n}\r\n\r\n`);
    await client.readResponse();
  }
  assert(valueOf(proxy, series)! > 0);
});
