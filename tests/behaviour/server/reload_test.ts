import { assert, assertEquals, assertMatch } from "@std/assert";
import type { LimiterPolicy } from "../../../lib/limiter/policy.ts";
import { deadPort } from "../../support/dead_port.ts";
import { ENGINE } from "../../support/engine.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { Gate } from "../../support/gate.ts";
import type { RawConnection } from "../../support/raw_connection.ts";
import { type Answer, askAt, readAnswer, startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { openWebSocket, upgradeHead, webSocketUpstream } from "../../support/test_web_socket.ts";
import { untilRefused } from "../../support/until_refused.ts";
import { untilTrue } from "../../support/until_still.ts";
import { untilEquals } from "../../support/until_equals.ts";

const LISTEN = { hostname: "127.0.0.1", port: 0, engine: ENGINE } as const;
const BASE = { listen: LISTEN, upstreams: ["127.0.0.1:1"] };

async function askOn(connection: RawConnection, path = "/"): Promise<Answer> {
  await connection.write(`GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`);
  return await readAnswer(connection);
}

Deno.test("ProxyServer.reload() has new requests served by the new configuration, on connections that are open too", async () => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using proxy = await startProxy({ listen: LISTEN, upstreams: [a.address] });
  using open = await proxy.connect();
  assertEquals((await askOn(open)).text, "a");
  const { addresses } = proxy.server;
  const before = proxy.server.configuration;
  const outcome = await proxy.server.reload({ listen: LISTEN, upstreams: [b.address] });
  assertEquals([outcome.applied, outcome.generation, outcome.problems], [true, 2, []]);
  assertEquals([(await askOn(open)).text, (await proxy.ask()).text], ["b", "b"]);
  assertEquals(proxy.server.addresses, addresses);
  const { generation, hash } = proxy.server.configuration;
  assertEquals([before.generation, generation], [1, 2]);
  assertMatch(hash, /^[0-9a-f]{64}$/);
  assert(hash !== before.hash);
  const [event] = proxy.seen.eventsOf("reload");
  assertEquals([event?.outcome, event?.trigger, event?.hash], ["applied", "reload()", hash]);
});

Deno.test("ProxyServer.reload() lets requests of the configuration before finish, and then lets go of it", async () => {
  await using gate = new Gate();
  await using b = startUpstream("b");
  await using proxy = await startProxy({ listen: LISTEN, upstreams: [gate.upstream.address] });
  const running = proxy.ask();
  await gate.untilWaiting(1);
  await proxy.server.reload({ listen: LISTEN, upstreams: [b.address] });
  assertEquals(proxy.server.drainingConfigurations, 1);
  assertEquals((await proxy.ask()).text, "b");
  gate.answer("late");
  assertEquals((await running).text, "late");
  await untilTrue("no configuration drains", () => proxy.server.drainingConfigurations === 0);
  assertEquals(proxy.seen.entries.map(({ status }) => status), [200, 200]);
});

Deno.test("ProxyServer.reload() changes nothing when anything is wrong with the new configuration", async () => {
  await using a = startUpstream("a");
  await using other = startUpstream();
  await using proxy = await startProxy({ listen: LISTEN, upstreams: [a.address] });
  const taken = { ...LISTEN, port: other.port };
  const broken: [unknown, RegExp][] = [
    [{ upstreams: ["nowhere"] }, /^upstreams\[0\] must be "host:port", received "nowhere"$/],
    [{ listen: [LISTEN, taken], upstreams: [a.address] }, /^Cannot listen at \S+: the address is in use$/],
    [
      {
        listen: { ...LISTEN, engine: "http1", tls: { cert: "/none", key: "/none" } },
        upstreams: [a.address],
      },
      /^listen\.tls\.cert names "\/none", which cannot be read: there is no such file$/,
    ],
    [
      {
        upstreams: [a.address],
        accessLog: { to: { file: "/none/access.log" } },
        rollback: { errorRate: 0.5, within: "1h", minRequests: 1 },
      },
      /\/none\/access\.log/,
    ],
    [undefined, /^there is no file to read: call reload\(\) with a configuration$/],
  ];
  for (const [config, problem] of broken) {
    const outcome = await proxy.server.reload(config as Parameters<typeof proxy.server.reload>[0]);
    assertEquals([outcome.applied, outcome.generation], [false, 1]);
    assertMatch(outcome.problems[0]!, problem);
    assertEquals((await proxy.ask()).text, "a");
  }
  assertEquals(proxy.seen.eventsOf("reload").map(({ outcome }) => outcome), broken.map(() => "rejected"));
  assertEquals(proxy.server.addresses.length, 1);
});

Deno.test("ProxyServer.reload() keeps the counts of policies, however many there are and whatever room they have", async () => {
  await using a = startUpstream("a");
  const policy: LimiterPolicy = { name: "each", key: "header:user", limit: 3, window: "1h" };
  const config = (limiter: LimiterPolicy[]) => ({ listen: LISTEN, upstreams: [a.address], limiter });
  await using proxy = await startProxy(config([policy]));
  const ask = async () => (await proxy.ask("GET /", ["user: x"])).status;
  assertEquals([await ask(), await ask()], [200, 200]);
  await proxy.server.reload(config([policy]));
  assertEquals([await ask(), await ask()], [200, 429]);
  const more: LimiterPolicy = { name: "more", key: "ip", limit: 1000, window: "1h" };
  await proxy.server.reload(config([more, { ...policy, maxKeys: 250_000 }]));
  assertEquals(await ask(), 429);
  assertEquals((await proxy.ask("GET /", ["user: y"])).status, 200);
  await proxy.server.reload(config([{ ...policy, limit: 4 }]));
  assertEquals([await ask(), await ask()], [200, 429]);
});

Deno.test("ProxyServer.reload() keeps the permits that requests hold, and takes them back once", async () => {
  await using gate = new Gate();
  const policy: LimiterPolicy = {
    name: "at-once",
    key: "ip",
    limit: 1,
    algorithm: "concurrency",
    window: "1h",
  };
  const config = (maxKeys: number) => ({
    listen: LISTEN,
    upstreams: [gate.upstream.address],
    limiter: { ...policy, maxKeys },
  });
  await using proxy = await startProxy(config(1000));
  const running = proxy.ask();
  await gate.untilWaiting(1);
  await proxy.server.reload(config(100_000));
  assertEquals((await proxy.ask()).status, 429);
  gate.answer();
  assertEquals((await running).status, 200);
  const next = proxy.ask();
  await gate.untilWaiting(1);
  assertEquals((await proxy.ask()).status, 429);
  gate.answer();
  assertEquals((await next).status, 200);
});

Deno.test("ProxyServer.reload() keeps what servers of both configurations have in flight, and their counters", async () => {
  await using gate = new Gate();
  await using b = startUpstream("b");
  const config = (...servers: string[]) => ({
    listen: LISTEN,
    upstreams: { servers, balance: "least-connections" as const },
  });
  await using proxy = await startProxy(config(gate.upstream.address));
  const running = proxy.ask();
  await gate.untilWaiting(1);
  const server = proxy.servers[0]!;
  await proxy.server.reload(config(gate.upstream.address, b.address));
  assert(proxy.servers[0] === server);
  assertEquals(proxy.server.pools.get("default")!.inFlight, 1);
  assertEquals([(await proxy.ask()).text, (await proxy.ask()).text], ["b", "b"]);
  gate.answer("a");
  assertEquals((await running).text, "a");
  assertEquals([server.inFlight, server.requests, proxy.server.pools.get("default")!.inFlight], [0, 1, 0]);
});

Deno.test("ProxyServer.reload() keeps servers that are out, for as long as they are", async () => {
  await using a = startUpstream("a");
  const dead = "127.0.0.1:1";
  const config = (...more: string[]) => ({
    listen: LISTEN,
    upstreams: {
      servers: [a.address, dead, ...more],
      ejection: { consecutiveFailures: 1 },
      healthCheck: { type: "tcp" as const, interval: "1h" },
    },
  });
  await using proxy = await startProxy({ ...config(), upstreams: { ...config().upstreams } });
  const [, server] = proxy.servers;
  assertEquals(server!.health, "down");
  await using b = startUpstream("b");
  await proxy.server.reload(config(b.address));
  assertEquals(proxy.servers.map(({ health }) => health), ["up", "down", "up"]);
  assertEquals(new Set([(await proxy.ask()).text, (await proxy.ask()).text]), new Set(["a", "b"]));
  assertEquals(server!.requests, 0);
});

Deno.test("ProxyServer.reload() keeps ejections, the turns of servers, and what an operator has drained", async () => {
  const failing = startUpstream({ handler: () => new Response(null, { status: 503 }) });
  await using _failing = failing;
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  const config = (marks: string[]) => ({
    listen: LISTEN,
    upstreams: {
      servers: [a.address, failing.address, b.address],
      ejection: { consecutiveFailures: 1, baseTime: "1h" as const, maxTime: "1h" as const },
      retries: false as const,
    },
    filters: marks.map(() => ({})),
  });
  await using proxy = await startProxy(config([]));
  const turns = async (count: number) => {
    const seen: string[] = [];
    for (let i = 0; i < count; i++) seen.push((await proxy.ask()).text);
    return seen;
  };
  await turns(2);
  assertEquals(proxy.servers.map(({ ejected }) => ejected), [false, true, false]);
  const before = await turns(3);
  await proxy.server.reload(config(["x"]));
  assertEquals(proxy.servers.map(({ ejected }) => ejected), [false, true, false]);
  const all = [...before, ...await turns(3)];
  assertEquals(all.every((name, i) => i === 0 || name !== all[i - 1]), true, all.join());
  proxy.server.pools.get("default")!.setDraining(a.address, true);
  await proxy.server.reload(config([]));
  assertEquals(await turns(2), ["b", "b"]);
});

Deno.test("ProxyServer.reload() uses the connections to servers on that are in both configurations", async () => {
  const ports = new Set<number>();
  await using a = startUpstream({
    handler: (_request, info) => {
      ports.add((info.remoteAddr as Deno.NetAddr).port);
      return new Response("a");
    },
  });
  await using proxy = await startProxy({ listen: LISTEN, upstreams: [a.address] });
  // One connection, so that one worker serves both requests.
  using client = await proxy.connect();
  await askOn(client);
  await proxy.server.reload({ listen: LISTEN, upstreams: [a.address, "127.0.0.1:1"], gracePeriod: "1s" });
  await proxy.server.reload({ listen: LISTEN, upstreams: [a.address] });
  await askOn(client);
  assertEquals(ports.size, 1);
});

Deno.test("ProxyServer.reload() opens and closes addresses, and keeps those that stay", async () => {
  await using a = startUpstream("a");
  const upstreams = [a.address];
  await using proxy = await startProxy({ listen: LISTEN, upstreams });
  const first = proxy.port;
  await proxy.server.reload({ listen: [{ ...LISTEN, hostname: "localhost" }, LISTEN], upstreams });
  const [second, same] = proxy.server.addresses.map((address) => Number(address.split(":").at(-1)));
  assertEquals(same, first);
  assertEquals([(await askAt(first)).status, (await askAt(second!)).status], [200, 200]);
  await proxy.server.reload({ listen: { ...LISTEN, hostname: "localhost" }, upstreams });
  await untilRefused(first);
  assertEquals((await askAt(second!)).status, 200);
  assertEquals(proxy.seen.eventsOf("listening").map(({ addresses }) => addresses.length), [1, 2, 1]);
});

Deno.test("ProxyServer.reload() replaces a listener that becomes another one at the same address", async () => {
  await using a = startUpstream("a");
  const upstreams = [a.address];
  await using proxy = await startProxy({ listen: LISTEN, upstreams });
  const { port } = proxy;
  const other = ENGINE === "http1" ? "deno" as const : "http1" as const;
  // From port 0 to its own number is another address, which the listener itself holds.
  assertEquals(
    (await proxy.server.reload({ listen: { ...LISTEN, port, engine: other }, upstreams })).problems,
    [],
  );
  assertEquals((await askAt(port)).status, 200);
  assertEquals((await proxy.server.reload({ listen: { ...LISTEN, port }, upstreams })).problems, []);
  assertEquals((await askAt(port)).status, 200);
});

Deno.test("ProxyServer.reload() has a listener that stays treat its clients by the new options", async () => {
  await using a = startUpstream("a");
  const config = (more: object) => ({ listen: { ...LISTEN, ...more }, upstreams: [a.address] });
  await using proxy = await startProxy(config({ underscores: "pass" }));
  assertEquals((await proxy.ask("GET /", ["a_b: 1"])).status, 200);
  await proxy.server.reload(config({ underscores: "refuse" }));
  assertEquals((await proxy.ask("GET /", ["a_b: 1"])).status, 400);
  await proxy.server.reload(config({ redirect: "https" }));
  assertEquals((await proxy.ask()).status, 308);
  if (ENGINE !== "http1") return;
  using open = await proxy.connect();
  await proxy.server.reload(config({ maxFields: 2 }));
  assertEquals((await askOn(open)).status, 200);
  assertEquals((await proxy.ask("GET /", ["a: 1", "b: 2"])).status, 431);
});

Deno.test("ProxyServer.reload() tells WebSockets of the configuration before once their grace is over", async () => {
  await using echo = webSocketUpstream();
  const config = (webSocketGrace: number) => ({ listen: LISTEN, upstreams: [echo.address], webSocketGrace });
  await using proxy = await startProxy(config(50));
  const before = await openWebSocket(`ws://${proxy.address}/`);
  await proxy.server.reload(config(60_000));
  const after = await openWebSocket(`ws://${proxy.address}/`);
  assertEquals(await before.closed, [1001, "the configuration was replaced"]);
  after.socket.send("still here");
  assertEquals(await after.next(), "still here");
  await after.close();
});

Deno.test("ProxyServer.reload() leaves busy clients of WebSockets the time to close", async () => {
  await using echo = webSocketUpstream();
  const clock = new FakeClock();
  const config = { listen: LISTEN, upstreams: [echo.address], webSocketGrace: 0 };
  await using proxy = await startProxy(config, { clock });
  using client = await proxy.connect();
  await client.write(upgradeHead());
  assertEquals((await client.readResponse()).status, 101);
  await proxy.server.reload(config);
  await clock.advance(100);
  const close = await client.readExactly(4);
  assertEquals([close[0], (close[2]! << 8) | close[3]!], [0x88, 1001]);
  await client.readExactly(close[1]! - 2);
  // More than a proxy that stops would wait.
  await clock.advance(1000);
  assertEquals(proxy.seen.entries, []);
  await client.write(Uint8Array.of(0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9));
  assertEquals(await client.readHead(), null);
  await clock.advance(1000);
  await proxy.seen.untilEntries(1);
});

Deno.test("ProxyServer.reload() goes back to the configuration before when too many of the first requests fail", async () => {
  await using a = startUpstream("a");
  await using b = startUpstream({ handler: () => new Response("no", { status: 500 }) });
  const rollback = { errorRate: 0.5, within: "1h" as const, minRequests: 4 };
  await using proxy = await startProxy({ listen: LISTEN, upstreams: [a.address] });
  const first = proxy.server.configuration.hash;
  await proxy.server.reload({ listen: LISTEN, upstreams: [b.address], rollback });
  assertEquals((await Promise.all([1, 2, 3].map(() => proxy.ask()))).map(({ status }) => status), [
    500,
    500,
    500,
  ]);
  await proxy.ask();
  await proxy.seen.until(() => proxy.seen.eventsOf("reload").length === 2);
  const { outcome, trigger, generation } = proxy.seen.eventsOf("reload")[1]!;
  assertEquals([outcome, trigger, generation], ["rolled_back", "4 of 4 requests failed", 3]);
  assertEquals((await proxy.ask()).text, "a");
  assertEquals(proxy.server.configuration.hash, first);
});

Deno.test("ProxyServer.reload() does not give up the configuration that it went back to", async () => {
  const state = { status: 200 };
  await using a = startUpstream({ handler: () => new Response("a", { status: state.status }) });
  await using b = startUpstream({ handler: () => new Response("no", { status: 500 }) });
  const rollback = { errorRate: 0.5, within: "1h" as const, minRequests: 2 };
  await using proxy = await startProxy({ listen: LISTEN, upstreams: [a.address], rollback });
  await proxy.server.reload({ listen: LISTEN, upstreams: [b.address], rollback });
  for (let i = 0; i < 2; i++) await proxy.ask();
  await proxy.seen.until(() => proxy.seen.eventsOf("reload").length === 2);
  // What it has come back to fails as well now.
  state.status = 500;
  for (let i = 0; i < 4; i++) assertEquals((await proxy.ask()).text, "a");
  await proxy.server.reload({ listen: LISTEN, upstreams: [a.address] });
  assertEquals(proxy.seen.eventsOf("reload").map(({ outcome }) => outcome), [
    "applied",
    "rolled_back",
    "applied",
  ]);
});

Deno.test("ProxyServer.reload() counts requests of the configuration before towards overload.maxInFlight until they end", async () => {
  await using gate = new Gate();
  const config = { listen: LISTEN, upstreams: [gate.upstream.address], overload: { maxInFlight: 1 } };
  await using proxy = await startProxy(config);
  const running = proxy.ask();
  await gate.untilWaiting(1);
  await proxy.server.reload({ ...config });
  assertEquals((await proxy.ask()).status, 503);
  gate.answer("late");
  assertEquals((await running).text, "late");
  await proxy.seen.untilEntries(2);
  const next = proxy.ask();
  const refusal = next.then(({ status }) => status);
  assertEquals(await Promise.race([gate.untilWaiting(1), refusal]), undefined);
  gate.answer("next");
  assertEquals((await next).text, "next");
});

Deno.test("ProxyServer.reload() that is overtaken by a shutdown opens nothing for good", async () => {
  await using a = startUpstream("a");
  await using proxy = await startProxy({ listen: LISTEN, upstreams: [a.address] });
  const other = { ...LISTEN, port: deadPort() };
  const reloading = proxy.server.reload({
    listen: [LISTEN, other],
    upstreams: {
      discovery: () => {
        void proxy.server.shutdown();
        return Promise.resolve([a.address]);
      },
    },
  });
  assertEquals((await reloading).problems, ["the proxy stops"]);
  await proxy.server.finished;
  await untilRefused(other.port);
});

Deno.test("ProxyServer.reload() that waits for a health check is given up by a shutdown", async () => {
  await using a = startUpstream("a");
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using proxy = await startProxy({ listen: LISTEN, upstreams: [a.address] });
  const reloading = proxy.server.reload({
    listen: LISTEN,
    upstreams: {
      servers: [`127.0.0.1:${silent.addr.port}`],
      healthCheck: { type: "http", interval: "1h", timeout: "1h" },
    },
  });
  using check = await silent.accept();
  await proxy.server.shutdown();
  assertEquals((await reloading).problems, ["the proxy stops"]);
  while (await check.read(new Uint8Array(1024)) !== null);
});

Deno.test("ProxyServer.reload() that loads the client of Redis is given up by a shutdown", async () => {
  await using a = startUpstream("a");
  await using proxy = await startProxy({ listen: LISTEN, upstreams: [a.address] });
  const store = { type: "redis", url: `redis://127.0.0.1:${deadPort()}` } as const;
  const limiter = { name: "all", key: () => "all", limit: 1, window: "1h", store } as const;
  const reloading = proxy.server.reload({ listen: LISTEN, upstreams: [a.address], limiter });
  // It has begun after some turns, and loading takes longer.
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  await proxy.server.shutdown();
  assertEquals((await reloading).problems, ["the proxy stops"]);
});

Deno.test("ProxyServer.reload() takes place one after the other, and not once the proxy stops", async () => {
  await using a = startUpstream("a");
  const config = { listen: LISTEN, upstreams: [a.address] };
  await using proxy = await startProxy(config);
  const outcomes = await Promise.all([1, 2, 3].map(() => proxy.server.reload(config)));
  assertEquals(outcomes.map(({ generation }) => generation), [2, 3, 4]);
  await proxy.server.shutdown();
  assertEquals((await proxy.server.reload(config)).problems, ["the proxy stops"]);
});

Deno.test("ProxyServer.reload() calls onListen of the new configuration with its pools", async () => {
  await using a = startUpstream("a");
  const seen: string[][] = [];
  await using proxy = await startProxy({ ...BASE, upstreams: { one: [a.address] } });
  await proxy.server.reload({
    ...BASE,
    upstreams: { two: [a.address] },
    onListen: (_, pools) => void seen.push([...pools.keys()]),
  });
  assertEquals(seen, [["two"]]);
});

Deno.test("ProxyServer.reload() goes on with what routes, policies and servers have counted", async () => {
  await using a = startUpstream({
    handler: ({ url }) => new Response(null, { status: url.endsWith("/no") ? 404 : 200 }),
  });
  const config = (more: object) => ({
    listen: LISTEN,
    upstreams: [a.address],
    routes: [{ name: "one", match: { path: "/no" } }, { name: "rest" }],
    limiter: { name: "each", key: "ip", limit: 2, window: "1h" } as const,
    ...more,
  });
  await using proxy = await startProxy(config({}));
  const statuses = [];
  for (const path of ["/no", "/", "/"]) statuses.push((await proxy.ask(`GET ${path}`)).status);
  assertEquals(statuses, [404, 200, 429]);
  const counted = () =>
    proxy.server.metrics().split("\n").filter((line) => /^\w+_total\{.*\} [1-9]/.test(line)).sort();
  await untilEquals(() => counted().filter((line) => line.startsWith("lbproxy_requests_total")).length, 3);
  const before = counted();
  assert(
    before.some((line) => line.includes('route="one"') && line.includes('code="404"')),
    before.join("\n"),
  );
  for (const gracePeriod of ["1s", "2s"]) {
    await proxy.server.reload(config({ gracePeriod }));
    await untilTrue("no configuration drains", () => proxy.server.drainingConfigurations === 0);
  }
  await untilEquals(counted, before);
});

Deno.test("ProxyServer.reload() refuses another admin listener, and keeps the one that there is", async () => {
  const config = (admin?: object) => ({ ...BASE, ...(admin === undefined ? {} : { admin }) });
  await using proxy = await startProxy(config({ listen: "127.0.0.1:0" }));
  const { adminAddress } = proxy.server;
  const reload = async (admin?: object) => (await proxy.server.reload(config(admin))).problems;
  const problem = 'admin cannot change while the proxy runs, except for "readyz": restart the proxy';
  assertEquals(await reload({ listen: "127.0.0.1:1" }), [problem]);
  assertEquals(await reload({ listen: "127.0.0.1:0", tokens: { me: "0123456789abcdef" } }), [problem]);
  assertEquals(await reload({ listen: "127.0.0.1:0", readyz: { pools: ["default"] } }), []);
  assertEquals(await reload(), []);
  assertEquals(proxy.server.adminAddress, adminAddress);
  await (await fetch(`http://${adminAddress}/healthz`)).body?.cancel();
  await using without = await startProxy(BASE);
  assertEquals((await without.server.reload(config({ listen: "127.0.0.1:0" }))).problems, [problem]);
});
