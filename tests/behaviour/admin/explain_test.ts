import { assertEquals, assertMatch } from "@std/assert";
import type { Explanation } from "../../../lib/admin/explain.ts";
import { ADMIN, AdminClient } from "../../support/admin_client.ts";
import { deadPort } from "../../support/dead_port.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

/** Asks what would become of a request. */
async function explain(
  admin: AdminClient,
  asked: Readonly<Record<string, string | readonly string[]>>,
): Promise<Explanation> {
  const query = new URLSearchParams();
  for (const [name, values] of Object.entries(asked)) {
    for (const value of typeof values === "string" ? [values] : values) query.append(name, value);
  }
  const { status, json } = await admin.get(`/explain?${query}`);
  assertEquals(status, 200, JSON.stringify(json));
  return json;
}

Deno.test("GET /explain tells route, pool, server and target as the request then meets them", async () => {
  await using one = startUpstream("one");
  await using two = startUpstream("two");
  await using other = startUpstream("other");
  await using proxy = await startProxy({
    upstreams: {
      api: { servers: [one.address, two.address], balance: "consistent-hash", key: "header:appid" },
      rest: { servers: [other.address] },
    },
    routes: [
      { name: "api", match: { path: "/api/*" }, upstream: "api", rewrite: { stripPrefix: "/api" } },
      { name: "admin", match: { host: "admin.example", method: "POST" }, upstream: "rest" },
    ],
    admin: ADMIN,
  });
  const admin = new AdminClient(proxy);
  for (const appid of ["a", "b", "c", "d", "e"]) {
    const found = await explain(admin, { target: "/api/x?y=1", header: `appid: ${appid}` });
    const { status, text } = await proxy.ask("GET /api/x?y=1", [`appid: ${appid}`]);
    assertEquals([status, found.ends], [200, null]);
    const { route, pools, balance, key, server, upstreamTarget } = found;
    assertEquals({ route, pools, balance, key, server, upstreamTarget }, {
      route: "api",
      pools: [{ name: "api", share: 1 }],
      balance: "consistent-hash",
      key: appid,
      server: text === "one" ? one.address : two.address,
      upstreamTarget: "/x?y=1",
    });
  }
  // Without a key they take turns, and nobody knows whose it is.
  const keyless = await explain(admin, { target: "/api/x" });
  assertEquals([keyless.server, keyless.servers.map(({ eligible }) => eligible)], [null, [true, true]]);
  const posted = await explain(admin, { method: "POST", host: "admin.example", target: "/" });
  assertEquals([posted.route, posted.server], ["admin", other.address]);
  const unrouted = await explain(admin, { host: "admin.example" });
  assertEquals([unrouted.ends?.status, unrouted.route, unrouted.pools], [404, null, []]);
  assertEquals((await explain(admin, { method: "TRACE" })).ends?.status, 405);
});

Deno.test("GET /explain foretells refusals, and counts nothing", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: [
      { name: "app", key: "header:appid", limit: 2, window: "1h", onMissingKey: "reject" },
      { name: "dry", key: "ip", limit: 1, window: "1h", dryRun: true },
    ],
    admin: ADMIN,
  });
  const admin = new AdminClient(proxy);
  const ask = () => explain(admin, { header: "appid: me", client: "127.0.0.1" });
  for (let left = 2; left >= 0; left--) {
    for (let again = 0; again < 2; again++) {
      const { limits, ends } = await ask();
      assertEquals(
        limits.map((
          { policy, key, remaining, allowed, dryRun },
        ) => [policy, key, remaining, allowed, dryRun]),
        [
          ["app", "me", left, left > 0, false],
          ["dry", "127.0.0.1", left === 2 ? 1 : 0, left === 2, true],
        ],
      );
      assertEquals(ends?.status, left === 0 ? 429 : undefined);
    }
    assertEquals((await proxy.ask("GET /", ["appid: me"])).status, left > 0 ? 200 : 429);
  }
  const { ends, limits } = await explain(admin, {});
  assertEquals([ends?.status, limits.map(({ policy, key, allowed }) => [policy, key, allowed])], [429, [[
    "app",
    null,
    false,
  ]]]);
  await admin.post("/limits/app/keys/ban", { key: "you", duration: "1h" });
  const banned = await explain(admin, { header: "appid: you" });
  assertEquals([banned.ends?.status, banned.limits[0]?.remaining, banned.limits[0]?.allowed], [
    429,
    2,
    false,
  ]);
  const status = await admin.status();
  assertEquals([status.requests.arrived, status.requests.inFlight, status.table?.keys], [3, 0, 3]);
});

Deno.test("GET /explain tells which servers cannot be meant, and of cookies, chances and filters", async () => {
  await using one = startUpstream("one");
  await using two = startUpstream("two");
  const dead = `127.0.0.1:${deadPort()}`;
  await using proxy = await startProxy({
    upstreams: {
      sticky: { servers: [one.address, two.address], sticky: { secret: "a secret of sixteen" } },
      half: { servers: [one.address, { address: two.address, backup: true }] },
      down: { servers: [dead], healthCheck: { type: "tcp", interval: "1h" } },
    },
    routes: [
      { name: "sticky", match: { path: "/sticky" }, upstream: "sticky" },
      { name: "half", match: { path: "/half" }, upstream: "half" },
      { name: "down", match: { path: "/down" }, upstream: "down" },
      { name: "split", match: { path: "/split" }, upstream: { half: 3, down: 1 } },
    ],
    requestFilter: () => {},
    admin: ADMIN,
  });
  const admin = new AdminClient(proxy);
  const answer = await proxy.ask("GET /sticky");
  const cookie = answer.field("set-cookie")!.replace(/;.*/, "");
  const tied = await explain(admin, { target: "/sticky", header: `cookie: ${cookie}` });
  assertEquals(tied.server, answer.text === "one" ? one.address : two.address);
  assertMatch(tied.notes.join("\n"), /requestFilter is not asked[^]*The cookie lbproxy ties/);
  const half = await explain(admin, { target: "/half" });
  assertEquals([half.server, half.servers.map(({ eligible }) => eligible)], [one.address, [true, false]]);
  await admin.post(`/pools/half/servers/${one.address}/drain`);
  const drained = await explain(admin, { target: "/half" });
  assertEquals([drained.server, drained.servers[0]?.state], [two.address, "draining"]);
  const down = await explain(admin, { target: "/down" });
  assertEquals([down.ends?.status, down.servers[0]?.state], [503, "unhealthy"]);
  const split = await explain(admin, { target: "/split" });
  assertEquals([split.pools, split.server, split.servers.length], [
    [{ name: "half", share: 0.75 }, {
      name: "down",
      share: 0.25,
    }],
    null,
    3,
  ]);
});

Deno.test("GET /explain tells what a function of the configuration throws, and refuses what is no request", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: {
      name: "own",
      key: () => {
        throw new Error("no such thing");
      },
      limit: 1,
      window: "1s",
    },
    admin: ADMIN,
  });
  const admin = new AdminClient(proxy);
  const { ends } = await explain(admin, {});
  assertEquals(ends?.status, 500);
  assertMatch(ends?.reason ?? "", /no such thing/);
  for (
    const query of [
      "target=x",
      "target=/%0d%0aa",
      "method=get",
      "host=a/b",
      "client=me",
      "header=nothing",
      "header=a:%0ab",
      "header=host:%20b",
      "stray=1",
      Array(101).fill("header=a:b").join("&"),
    ]
  ) {
    assertEquals((await admin.get(`/explain?${query}`)).status, 400, query);
  }
});
