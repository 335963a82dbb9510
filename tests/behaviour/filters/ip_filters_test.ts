import { assertEquals, assertThrows } from "@std/assert";
import { ipAllow, ipDeny } from "../../../lib/filters/ip_filter.ts";
import type { Filters } from "../../../lib/filter/filters.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const cases: [string, Filters, string[], number][] = [
  ["ipAllow() lets a client of the network through", ipAllow(["127.0.0.0/8"]), [], 200],
  ["ipAllow() takes IPv4 written as IPv6 for the same", ipAllow(["::ffff:127.0.0.0/104"]), [], 200],
  ["ipAllow() refuses others", ipAllow(["10.0.0.0/8", "::1"]), [], 403],
  ["ipAllow() with no networks refuses all", ipAllow([]), [], 403],
  ["ipAllow() does not believe X-Forwarded-For", ipAllow(["10.0.0.0/8"]), ["X-Forwarded-For: 10.0.0.1"], 403],
  ["ipDeny() refuses a client of the network", ipDeny(["127.0.0.1"]), [], 403],
  ["ipDeny() lets others through", ipDeny(["10.0.0.0/8"]), [], 200],
  ["ipDeny() does not believe X-Forwarded-For", ipDeny(["127.0.0.1"]), ["X-Forwarded-For: 10.0.0.1"], 403],
];

for (const [name, filter, lines, status] of cases) {
  Deno.test(name, async () => {
    await using upstream = startUpstream();
    await using proxy = await startProxy({ upstreams: [upstream.address], filters: [filter] });
    assertEquals((await proxy.ask("GET /", lines)).status, status);
    assertEquals(upstream.requests, status === 200 ? 1 : 0);
  });
}

Deno.test("ipAllow() and ipDeny() go by the client that a trusted proxy names", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    trustedProxies: ["127.0.0.1"],
    filters: [ipAllow(["10.0.0.0/8", "127.0.0.1"]), ipDeny(["10.6.0.0/16"])],
  });
  const ask = async (address: string) => (await proxy.ask("GET /", [`X-Forwarded-For: ${address}`])).status;
  assertEquals(await ask("10.1.2.3"), 200);
  assertEquals(await ask("10.6.2.3"), 403);
  assertEquals(await ask("192.0.2.1"), 403);
  assertEquals(await ask("10.1.2.3, 192.0.2.1"), 403);
});

Deno.test("ipAllow() and ipDeny() refuse what is no network", () => {
  for (const filter of [ipAllow, ipDeny]) {
    assertThrows(() => filter(["10.0.0.1/8"]), TypeError, "10.0.0.0/8");
    assertThrows(() => filter(["localhost"]), TypeError);
  }
});

Deno.test("ipAllow() of a route is for that route alone, however its path is written", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    routes: [
      { match: { path: "/admin/*" }, filters: [ipAllow(["10.0.0.0/8"])] },
      { match: { path: "/*" } },
    ],
  });
  const ask = async (target: string) => (await proxy.ask(`GET ${target}`)).status;
  assertEquals([await ask("/"), await ask("/admin/a"), await ask("/x/../y")], [200, 403, 200]);
  for (const target of ["/x/../admin/a", "//admin/a", "/%61dmin/a", "/./admin/", "/x/%2e%2e/admin/a"]) {
    assertEquals(await ask(target), 403, target);
  }
  for (const target of ["/admin%2fa", "/admin/..%2Fa", "/x/..%2fadmin/a", "/admin;x/a", "/admin\\a"]) {
    assertEquals(await ask(target), 400, target);
  }
});
