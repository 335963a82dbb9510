/** What a proxy counts of its requests, servers, limits and connections. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { METRICS } from "../../../lib/observe/metrics/catalog.ts";
import { deadPort } from "../../support/dead_port.ts";
import { ENGINE, OVER_TLS } from "../../support/engine.ts";
import { startProxy, type TestProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { testCa } from "../../support/test_ca.ts";
import { untilTrue } from "../../support/until_still.ts";
import { TEST_WORKERS } from "../../support/test_workers.ts";
import { untilEquals } from "../../support/until_equals.ts";

/** Lines of one metric, without its name. */
function linesOf(proxy: TestProxy, name: string): string[] {
  const lines = proxy.server.metrics().split("\n");
  return lines.filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .map((line) => line.slice(name.length)).sort();
}

Deno.test("metrics(): requests by route, method, code and by who made the response", async () => {
  await using upstream = startUpstream({
    handler: ({ url }) => new Response("x", { status: new URL(url).pathname === "/gone" ? 410 : 200 }),
  });
  await using proxy = await startProxy({
    upstreams: { good: [upstream.address], dead: [`127.0.0.1:${deadPort()}`] },
    routes: [
      {
        name: "own",
        match: { path: "/own" },
        upstream: "good",
        filters: [{ requestFilter: () => new Response("own") }],
      },
      {
        name: "limited",
        match: { path: "/limited" },
        upstream: "good",
        limiter: { name: "none", key: "ip", limit: 1, window: "1h" },
      },
      { name: "dead", match: { path: "/dead" }, upstream: "dead" },
      { name: "all", match: { path: "/all/*" }, upstream: "good" },
      { name: "gone", match: { path: "/gone" }, upstream: "good" },
    ],
  });
  for (const target of ["/own", "/limited", "/limited", "/dead", "/all/1", "/all/2", "/gone", "/nowhere"]) {
    await proxy.ask(`GET ${target}`);
  }
  await proxy.ask("BREW /all/1");
  await proxy.ask("POST /all/1", ["Content-Length: 5"], "12345");
  await proxy.seen.untilEntries(10);
  await untilEquals(() => linesOf(proxy, "lbproxy_requests_total"), [
    '{route="",method="GET",code="404",source="proxy"} 1',
    '{route="all",method="GET",code="200",source="upstream"} 2',
    '{route="all",method="POST",code="200",source="upstream"} 1',
    '{route="all",method="other",code="200",source="upstream"} 1',
    '{route="dead",method="GET",code="502",source="proxy"} 1',
    '{route="gone",method="GET",code="410",source="upstream"} 1',
    '{route="limited",method="GET",code="200",source="upstream"} 1',
    '{route="limited",method="GET",code="429",source="limiter"} 1',
    '{route="own",method="GET",code="200",source="filter"} 1',
  ]);
  await untilEquals(() => linesOf(proxy, "lbproxy_ratelimit_decisions_total"), [
    '{policy="none",decision="allowed"} 1',
    '{policy="none",decision="refused"} 1',
  ]);
  const all = (name: string) => linesOf(proxy, name).find((line) => line.startsWith('{route="all"'));
  await untilEquals(() => all("lbproxy_request_bytes_total"), '{route="all"} 5');
  await untilEquals(() => all("lbproxy_response_bytes_total"), '{route="all"} 4');
  await untilEquals(() => all("lbproxy_request_duration_seconds_count"), '{route="all"} 4');
});

Deno.test("metrics(): content that comes in pieces, and chunked, is counted", async () => {
  await using upstream = startUpstream({
    handler: async (request) => new Response(String((await request.bytes()).length)),
  });
  await using proxy = await startProxy({ upstreams: [upstream.address] });
  await proxy.ask("POST /", ["Transfer-Encoding: chunked"], "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
  await proxy.ask("POST /", ["Content-Length: 100000"], new Uint8Array(100_000));
  await proxy.seen.untilEntries(2);
  await untilEquals(() => linesOf(proxy, "lbproxy_request_bytes_total"), ['{route=""} 100007']);
});

Deno.test("metrics(): servers by what they responded, why they did not, and retries", async () => {
  await using upstream = startUpstream({
    handler: ({ url }) => new Response(null, { status: Number(new URL(url).searchParams.get("s") ?? 200) }),
  });
  const dead = `127.0.0.1:${deadPort()}`;
  await using proxy = await startProxy({
    upstreams: { servers: [dead, upstream.address], balance: "first", ejection: false },
  });
  for (const target of ["/", "/?s=204", "/?s=302", "/?s=404", "/?s=503"]) await proxy.ask(`GET ${target}`);
  await proxy.seen.untilEntries(5);
  const good = `pool="default",server="${upstream.address}"`;
  await untilEquals(
    () => linesOf(proxy, "lbproxy_upstream_responses_total").filter((line) => line.includes(good)),
    ["1xx", "2xx", "3xx", "4xx", "5xx"].map((code, i) => `{${good},code="${code}"} ${[0, 2, 1, 1, 1][i]}`),
  );
  await untilEquals(() => linesOf(proxy, "lbproxy_upstream_errors_total"), [
    `{pool="default",server="${dead}",reason="connection_refused"} 5`,
  ]);
  await untilEquals(() => linesOf(proxy, "lbproxy_retries_total"), [
    '{pool="default",outcome="failed"} 1',
    '{pool="default",outcome="succeeded"} 4',
  ]);
  await untilEquals(() => linesOf(proxy, "lbproxy_upstream_duration_seconds_count").length, 2);
});

Deno.test("metrics(): connections to servers that were opened, kept and closed", async () => {
  await using upstream = startUpstream({
    handler: ({ url }) =>
      new Response("x", { headers: new URL(url).pathname === "/close" ? { connection: "close" } : {} }),
  });
  await using proxy = await startProxy({ upstreams: [upstream.address] });
  // One connection, so that one worker serves all requests.
  using client = await proxy.connect();
  for (const [index, target] of ["/", "/", "/close", "/"].entries()) {
    await client.write(`GET ${target} HTTP/1.1\r\nHost: h\r\n\r\n`);
    await client.readResponse();
    await proxy.seen.untilEntries(index + 1);
  }
  const server = `pool="default",server="${upstream.address}"`;
  await untilEquals(() => linesOf(proxy, "lbproxy_upstream_connections_opened_total"), [`{${server}} 2`]);
  await untilEquals(() => linesOf(proxy, "lbproxy_upstream_connections_reused_total"), [`{${server}} 2`]);
  await untilEquals(() => linesOf(proxy, "lbproxy_upstream_connections_closed_total"), [
    `{${server},reason="not_reusable"} 1`,
  ]);
  await untilEquals(() => linesOf(proxy, "lbproxy_upstream_connect_duration_seconds_count"), [
    `{${server}} 2`,
  ]);
});

Deno.test("metrics(): a request that waits in vain for room is told of", async () => {
  const gate = Promise.withResolvers<void>();
  await using upstream = startUpstream({
    handler: async () => {
      await gate.promise;
      return new Response("x");
    },
  });
  await using proxy = await startProxy({
    upstreams: { servers: [upstream.address], maxInFlight: 1, queue: { size: 1, timeout: "10ms" } },
  });
  const first = proxy.ask();
  await untilTrue("the server has a request", () => upstream.requests > 0);
  assertEquals((await proxy.ask()).status, 503);
  gate.resolve();
  await first;
  await untilEquals(() => linesOf(proxy, "lbproxy_upstream_refusals_total"), [
    '{pool="default",reason="queue_timeout"} 1',
  ]);
  await untilEquals(() => linesOf(proxy, "lbproxy_upstream_queue_duration_seconds_count"), [
    '{pool="default"} 1',
  ]);
});

Deno.test("metrics(): what a policy on a dry run, a missing key and a ban decide", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: [
      { name: "dry", key: () => "all", limit: 1, window: "1h", dryRun: true },
      { name: "app", key: "header:appid", limit: 100, window: "1h", onMissingKey: "reject" },
    ],
  });
  await proxy.ask("GET /", ["appid: x"]);
  await proxy.ask("GET /", ["appid: x"]);
  await proxy.ask("GET /");
  proxy.server.limiter!.ban("x", "1h", "app");
  await proxy.ask("GET /", ["appid: x"]);
  await proxy.seen.untilEntries(4);
  await untilEquals(
    () => linesOf(proxy, "lbproxy_ratelimit_decisions_total").filter((line) => line.includes("app")),
    [
      '{policy="app",decision="allowed"} 2',
      '{policy="app",decision="banned"} 1',
      '{policy="app",decision="missing_key"} 1',
      '{policy="app",decision="refused"} 0',
    ],
  );
  const dry = linesOf(proxy, "lbproxy_ratelimit_decisions_total").filter((line) => line.includes("dry"));
  assertStringIncludes(dry.join("\n"), '{policy="dry",decision="would_refuse"}');
  await untilEquals(() => linesOf(proxy, "lbproxy_ratelimit_table_keys").length, 1);
  await untilEquals(() => Number(linesOf(proxy, "lbproxy_ratelimit_table_keys")[0]), 3);
});

Deno.test("metrics(): health flips and ejections of a server, and nothing of one that was removed", async () => {
  await using upstream = startUpstream();
  const dead = `127.0.0.1:${deadPort()}`;
  await using proxy = await startProxy({
    upstreams: { servers: [upstream.address, dead], healthCheck: { type: "tcp", interval: "1h" } },
  });
  const of = (name: string) => linesOf(proxy, name).filter((line) => line.includes(dead));
  assertEquals(of("lbproxy_upstream_health_changes_total"), [
    `{pool="default",server="${dead}",to="down"} 1`,
  ]);
  assertEquals(of("lbproxy_upstream_ejections_total"), [`{pool="default",server="${dead}"} 0`]);
  await proxy.server.pools.get("default")!.removeServer(dead);
  await untilEquals(
    () => proxy.server.metrics().includes(dead),
    false,
    "a server that was removed is still told of",
  );
  assert(proxy.server.metrics().includes(upstream.address));
});

Deno.test("metrics(): connections of clients, and those that were refused", {
  ignore: ENGINE === "deno" || OVER_TLS,
}, async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    listen: { hostname: "127.0.0.1", port: 0, maxConnectionsPerClient: 1 },
  });
  {
    using first = await proxy.connect();
    await first.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    await first.readResponse();
    await untilEquals(() => linesOf(proxy, "lbproxy_listener_connections"), ['{listener="127.0.0.1:0"} 1']);
    assertEquals((await proxy.ask()).status, 429);
  }
  await untilEquals(() => linesOf(proxy, "lbproxy_listener_connections_accepted_total"), [
    '{listener="127.0.0.1:0"} 2',
  ]);
  await untilEquals(() => linesOf(proxy, "lbproxy_listener_connections_refused_total"), [
    '{listener="127.0.0.1:0",reason="client_limit"} 1',
  ]);
});

Deno.test("metrics: false counts no request, and tells of what costs none anything", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], metrics: false });
  await proxy.ask();
  await proxy.seen.untilEntries(1);
  await untilEquals(() => linesOf(proxy, "lbproxy_requests_received_total"), [" 1"]);
  await untilEquals(() => linesOf(proxy, "lbproxy_upstream_state").length, 6);
  await untilEquals(() => linesOf(proxy, METRICS.requests.name), []);
  await untilEquals(() => linesOf(proxy, "lbproxy_request_duration_seconds_count"), []);
});

Deno.test("metrics(): the process, and what runs", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address] });
  const value = (name: string) => Number(linesOf(proxy, name)[0]!.trim());
  assert(value("lbproxy_process_resident_memory_bytes") > 1e6);
  assert(value("lbproxy_process_cpu_seconds_total") > 0);
  assert(Math.abs(value("lbproxy_process_start_time_seconds") - Date.now() / 1000) < 600);
  await untilEquals(() => [value("lbproxy_config_generation"), value("lbproxy_workers")], [1, TEST_WORKERS]);
  assertStringIncludes(linesOf(proxy, "lbproxy_build_info")[0]!, `deno="${Deno.version.deno}"`);
});

Deno.test("metrics(): until when certificates are good", async () => {
  await using upstream = startUpstream();
  const tls = await (await testCa()).issue({ names: ["localhost"] });
  const listen = { hostname: "127.0.0.1", port: 0, engine: "http1", tls } as const;
  await using proxy = await startProxy({ upstreams: [upstream.address], listen });
  const end = new X509Certificate(tls.cert).validToDate.getTime() / 1000;
  await untilEquals(() => linesOf(proxy, METRICS.certificateEnd.name), [
    `{listener="127.0.0.1:0",certificate="cert"} ${end}`,
  ]);
});
