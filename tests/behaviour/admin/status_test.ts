import { assert, assertEquals, assertMatch } from "@std/assert";
import type { ServerStatus, Status } from "../../../lib/admin/status.ts";
import { ADMIN, AdminClient } from "../../support/admin_client.ts";
import { deadPort } from "../../support/dead_port.ts";
import { Gate } from "../../support/gate.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

function serverOf({ pools }: Status, address: string): ServerStatus {
  return pools.flatMap(({ servers }) => servers).find((server) => server.address === address)!;
}

Deno.test("GET /status tells of requests, servers and the configuration", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], admin: ADMIN });
  const admin = new AdminClient(proxy);
  for (let n = 0; n < 3; n++) await proxy.ask();
  await proxy.seen.untilEntries(3);
  const status = await admin.status();
  assertEquals([status.state, status.ready, status.requests.arrived], ["serving", true, 3]);
  assertEquals(status.addresses, proxy.server.addresses);
  assertMatch(status.configuration.hash, /^[0-9a-f]{64}$/);
  assertEquals(status.configuration.generation, 1);
  const { state, requests, failures, weight, reason } = serverOf(status, upstream.address);
  assertEquals({ state, requests, failures, weight, reason }, {
    state: "up",
    requests: 3,
    failures: 0,
    weight: 1,
    reason: null,
  });
  assertEquals(status.requests.total, { 200: 3 });
  assertEquals(serverOf(status, upstream.address).codes, { "2xx": 3 });
  assertEquals(status.limits, []);
  assertEquals(status.table, null);
});

Deno.test("GET /status tells since when and why a server is down, and what its last check found", async () => {
  await using upstream = startUpstream();
  const dead = `127.0.0.1:${deadPort()}`;
  await using proxy = await startProxy({
    upstreams: { servers: [upstream.address, dead], healthCheck: { type: "tcp", interval: "1h" } },
    admin: ADMIN,
  });
  const status = await new AdminClient(proxy).status();
  const { state, since, reason, lastCheck } = serverOf(status, dead);
  assertEquals([state, lastCheck?.passed], ["unhealthy", false]);
  assertMatch(reason ?? "", /refused/i);
  assertMatch(lastCheck?.text ?? "", /refused/i);
  assert(Date.parse(since) >= Date.parse(status.startedAt) && Date.parse(since) <= Date.parse(status.time));
  assertEquals(serverOf(status, upstream.address).lastCheck?.passed, true);
});

Deno.test("GET /status tells of the limits with the keys that have used most, by their names", async () => {
  await using upstream = startUpstream();
  const limiter = { name: "app", key: "header:appid", limit: 4, window: "1h" } as const;
  await using proxy = await startProxy({ upstreams: [upstream.address], limiter, admin: ADMIN });
  const admin = new AdminClient(proxy);
  for (const [appid, times] of [["few", 1], ["<b>many</b>", 6], ["some", 3]] as const) {
    for (let n = 0; n < times; n++) await proxy.ask("GET /", [`appid: ${appid}`]);
  }
  const { limits: [policy], table } = await admin.status();
  assertEquals(policy?.hottest.map(({ key, used, limit, share }) => [key, used, limit, share]), [
    ["<b>many</b>", 4, 4, 1],
    ["some", 3, 4, 0.75],
    ["few", 1, 4, 0.25],
  ]);
  assertEquals(policy?.decisions, { allowed: 8, refused: 2 });
  assertEquals(table?.keys, 3);
  const near = await admin.get("/limits/app/keys?near=0.7&top=1");
  assertEquals(near.json.keys.map(({ key }: { key: string }) => key), ["<b>many</b>"]);
  assertEquals((await admin.get("/limits/nothing/keys")).status, 404);
  assertEquals((await admin.get("/limits/app/keys?near=2")).status, 400);
});

Deno.test("GET /events sends the status again and again, what happens, and what was missed", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], admin: ADMIN });
  const admin = new AdminClient(proxy);
  let lastId: string | null;
  {
    await using events = await admin.events();
    assertEquals((await events.next())?.event, "history");
    const listening = await events.until(({ event }) => event === "log");
    assertMatch(listening.data.message, /Admin page at http:/);
    const first = await events.until(({ event }) => event === "status");
    const second = await events.until(({ event }) => event === "status");
    assert(Date.parse(second.data.time) > Date.parse(first.data.time));
    await admin.post(`/pools/default/servers/${upstream.address}/drain`);
    const drained = await events.until(({ event }) => event === "log");
    assertMatch(drained.data.message, /^tester: drain server/);
    lastId = drained.id;
    const seen = await events.until(({ event }) => event === "status");
    assertEquals(serverOf(seen.data, upstream.address).state, "draining");
    assertEquals(serverOf(seen.data, upstream.address).reason, "drain by tester");
  }
  await admin.post(`/pools/default/servers/${upstream.address}/ready`);
  await using again = await admin.events({ "last-event-id": lastId! });
  const missed = await again.until(({ event }) => event === "log");
  assertMatch(missed.data.message, /^tester: ready server/);
});

Deno.test("GET /readyz says no while a pool that it rests on has too few servers, and while the proxy stops", async () => {
  await using gate = new Gate();
  const { address } = gate.upstream;
  const proxy = await startProxy({
    upstreams: [address],
    admin: { ...ADMIN, readyz: { pools: ["default"] } },
  });
  const admin = new AdminClient(proxy);
  assertEquals((await admin.get("/readyz")).json, { ready: true, reason: null });
  proxy.server.pools.get("default")!.setDraining(address, true);
  const short = await admin.get("/readyz");
  assertEquals([short.status, short.json], [503, { ready: false, reason: "Too few servers in default" }]);
  proxy.server.pools.get("default")!.setDraining(address, false);
  const running = proxy.ask();
  await gate.untilWaiting(1);
  const stopped = proxy[Symbol.asyncDispose]();
  await proxy.seen.until(() => proxy.seen.eventsOf("shutdown").length > 0);
  const stopping = await admin.get("/readyz");
  assertEquals([stopping.status, stopping.json.reason], [503, "The proxy stops"]);
  assertEquals((await admin.get("/healthz")).status, 200);
  assertEquals((await admin.status()).state, "stopping");
  gate.answer();
  await running;
  await stopped;
});

Deno.test("GET /metrics, /config and /limits tell what they are named by", async () => {
  await using upstream = startUpstream();
  const limiter = { name: "app", key: "ip", limit: 4, window: "1h" } as const;
  await using proxy = await startProxy({ upstreams: [upstream.address], limiter, admin: ADMIN });
  const admin = new AdminClient(proxy);
  const metrics = await admin.get("/metrics");
  assertMatch(metrics.text, /^lbproxy_requests_received_total 0$/m);
  assertMatch(metrics.headers.get("content-type")!, /^text\/plain; version=0\.0\.4/);
  const open = await admin.get("/metrics", { accept: "application/openmetrics-text" });
  assertMatch(open.headers.get("content-type")!, /^application\/openmetrics-text; version=1\.0\.0/);
  assertMatch(open.text, /# EOF\n$/);
  assertMatch((await admin.get("/config")).json.text, /^limit +app$/m);
  assertEquals((await admin.get("/limits")).json.policies[0].limit, 4);
});

Deno.test("An admin listener ends its streams when the proxy stops, and its address is free then", async () => {
  await using upstream = startUpstream();
  const proxy = await startProxy({ upstreams: [upstream.address], admin: ADMIN });
  const admin = new AdminClient(proxy);
  await using events = await admin.events();
  await events.until(({ event }) => event === "status");
  await proxy[Symbol.asyncDispose]();
  while (await events.next() !== null);
  const next = await startProxy({ upstreams: [upstream.address], admin: `127.0.0.1:${admin.port}` });
  await next[Symbol.asyncDispose]();
});

Deno.test("An admin listener whose address is taken keeps the proxy from starting", async () => {
  await using upstream = startUpstream();
  let message = "";
  try {
    await using _ = await startProxy({ upstreams: [upstream.address], admin: upstream.address });
  } catch (error) {
    message = (error as Error).message;
  }
  assertEquals(message, `Cannot listen at ${upstream.address}: the address is in use`);
});
