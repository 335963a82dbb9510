import { assert, assertEquals, assertMatch } from "@std/assert";
import { ADMIN, AdminClient, TOKEN } from "../../support/admin_client.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

Deno.test("POST drains, readies, disables, weighs, adds and removes servers, and the log says who did", async () => {
  await using one = startUpstream("one");
  await using two = startUpstream("two");
  await using proxy = await startProxy({ upstreams: [one.address], admin: ADMIN });
  const admin = new AdminClient(proxy);
  const pool = proxy.server.pools.get("default")!;
  const at = `/pools/default/servers/${encodeURIComponent(one.address)}`;

  const added = await admin.post("/pools/default/servers", {
    address: two.address,
    weight: 2,
    tags: ["new"],
  });
  assertEquals([added.status, added.json.done], [200, `add server ${two.address} of pool default`]);
  assertEquals([pool.server(two.address)?.weight, pool.server(two.address)?.tags], [2, ["new"]]);

  assertEquals((await admin.post(`${at}/drain`)).status, 200);
  assertEquals((await proxy.ask()).text, "two");
  assertEquals((await proxy.ask()).text, "two");
  await admin.post(`${at}/ready`);
  assertEquals(pool.server(one.address)?.eligible, true);
  await admin.post(`${at}/disable`);
  assertEquals(pool.server(one.address)?.ineligibility, "disabled");
  await admin.post(`${at}/ready`);
  await admin.post(`${at}/weight`, { weight: 7 });
  assertEquals(pool.server(one.address)?.weight, 7);
  await admin.post(`${at}/remove`);
  assertEquals(pool.servers.map(({ id }) => id), [two.address]);

  const changes = proxy.seen.eventsOf("admin_change");
  assertEquals(changes.map(({ who, client, action, error }) => [who, client, action, error]), [
    ["tester", "127.0.0.1", "add", null],
    ["tester", "127.0.0.1", "drain", null],
    ["tester", "127.0.0.1", "ready", null],
    ["tester", "127.0.0.1", "disable", null],
    ["tester", "127.0.0.1", "ready", null],
    ["tester", "127.0.0.1", "weight", null],
    ["tester", "127.0.0.1", "remove", null],
  ]);
});

Deno.test("POST refuses what cannot be done, changes nothing, and says why", async () => {
  await using upstream = startUpstream();
  const limiter = { name: "app", key: "ip", limit: 4, window: "1h" } as const;
  await using proxy = await startProxy({ upstreams: [upstream.address], limiter, admin: ADMIN });
  const admin = new AdminClient(proxy);
  const at = `/pools/default/servers/${upstream.address}`;
  const cases: [path: string, body: unknown, status: number, detail: RegExp][] = [
    ["/pools/none/servers", { address: "a:1" }, 404, /no pool "none"/],
    ["/pools/default/servers", {}, 400, /"address" must be/],
    ["/pools/default/servers", { address: "nonsense" }, 400, /the address must be "host:port"/],
    ["/pools/default/servers", { address: upstream.address }, 409, /is a server of the pool already/],
    ["/pools/default/servers", { address: "a:1", weigth: 3 }, 400, /"weigth" is not a known member/],
    ["/pools/default/servers", { address: "a:1", weight: -1 }, 400, /"weight" must be/],
    ["/pools/default/servers", { address: "a:1", maxInFlight: 0 }, 400, /"maxInFlight" must be/],
    ["/pools/default/servers/a:1/drain", {}, 404, /no server "a:1"/],
    [`${at}/drain`, { force: true }, 400, /"force" is not a known member/],
    [`${at}/weight`, {}, 400, /"weight" must be/],
    [`${at}/weight`, { weight: "1" }, 400, /"weight" must be/],
    [`${at}/remove`, {}, 409, /last server/],
    ["/limits/none/keys/ban", { key: "k" }, 404, /no policy "none"/],
    ["/limits/app/keys/ban", {}, 400, /"key" must be a string/],
    ["/limits/app/keys/ban", { key: "k", duration: "soon" }, 400, /"duration" must be/],
    ["/limits/app/keys/reset", { key: 1 }, 400, /"key" must be a string/],
    ["/log-level", { level: "loud" }, 400, /"level" must be one of/],
    ["/reload", {}, 409, /no file/],
    [`${at}/drain`, "{", 400, /no JSON/],
    [`${at}/drain`, "[]", 400, /must be a JSON object/],
  ];
  for (const [path, body, status, detail] of cases) {
    const answer = await admin.post(path, body);
    assertEquals(answer.status, status, `${path} ${JSON.stringify(body)}: ${answer.text}`);
    assertMatch(answer.json.detail, detail);
    assertEquals(answer.headers.get("content-type"), "application/problem+json");
  }
  const pool = proxy.server.pools.get("default")!;
  assertEquals(pool.servers.map(({ id, eligible, weight }) => [id, eligible, weight]), [[
    upstream.address,
    true,
    1,
  ]]);
});

Deno.test("POST bans a key and lifts the ban, of a route's policy too", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    routes: [{ name: "api", limiter: { name: "app", key: "header:appid", limit: 100, window: "1h" } }],
    admin: ADMIN,
  });
  const admin = new AdminClient(proxy);
  const ask = async () => (await proxy.ask("GET /", ["appid: x"])).status;
  assertEquals(await ask(), 200);
  assertEquals((await admin.post("/limits/app/keys/ban", { key: "x", duration: "1m" })).status, 200);
  assertEquals(await ask(), 429);
  const { keys: [key] } = (await admin.get("/limits/app/keys?near=0.9")).json;
  assertEquals(key.key, "x");
  assert(key.bannedMs > 50_000 && key.bannedMs <= 60_000);
  assertEquals((await admin.post("/limits/app/keys/reset", { key: "x" })).status, 200);
  assertEquals(await ask(), 200);
});

Deno.test("Tokens come from files and from the environment, and each has its owner's name in the log", async () => {
  await using upstream = startUpstream();
  const file = await Deno.makeTempFile();
  await Deno.writeTextFile(file, "token-of-a-file-0123456789\n");
  Deno.env.set("LBPROXY_TEST_ADMIN_TOKEN", "token-of-the-environment-0123456789");
  try {
    await using proxy = await startProxy({
      upstreams: [upstream.address],
      admin: {
        listen: "127.0.0.1:0",
        tokens: { ada: { file }, grace: { env: "LBPROXY_TEST_ADMIN_TOKEN" }, joan: TOKEN },
      },
    });
    const admin = new AdminClient(proxy);
    const path = `/pools/default/servers/${upstream.address}/weight`;
    for (const token of ["token-of-a-file-0123456789", "token-of-the-environment-0123456789", TOKEN]) {
      assertEquals((await admin.post(path, { weight: 1 }, { authorization: `Bearer ${token}` })).status, 200);
    }
    assertEquals(proxy.seen.eventsOf("admin_change").map(({ who }) => who), ["ada", "grace", "joan"]);
  } finally {
    Deno.env.delete("LBPROXY_TEST_ADMIN_TOKEN");
    await Deno.remove(file);
  }
});

Deno.test("Tokens that cannot be had keep the proxy from starting, and all are named", async () => {
  await using upstream = startUpstream();
  const tokens = { ada: { file: "/nowhere/token" }, grace: { env: "LBPROXY_TEST_NOT_SET" } };
  let message = "";
  try {
    await using _ = await startProxy({
      upstreams: [upstream.address],
      admin: { listen: "127.0.0.1:0", tokens },
    });
  } catch (error) {
    message = (error as Error).message;
  }
  assertMatch(message, /admin\.tokens\.ada names the file "\/nowhere\/token", which cannot be read/);
  assertMatch(message, /admin\.tokens\.grace names the variable "LBPROXY_TEST_NOT_SET", which is not set/);
});
