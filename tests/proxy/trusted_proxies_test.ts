import { assertEquals } from "@std/assert";
import { eachTransport } from "../support/each_transport.ts";
import { startProxy } from "../support/start_proxy.ts";
import { startUpstream } from "../support/start_upstream.ts";

eachTransport(
  "proxy believes a trusted proxy who the client is, and says so to servers and filters",
  async (start) => {
    await using upstream = startUpstream();
    const clients: string[] = [];
    await using proxy = await start({
      upstreams: [upstream.address],
      trustedProxies: ["loopback"],
      forwarded: { forwarded: true },
      requestFilter: (_, ctx) => void clients.push(ctx.client.ip, String(ctx.client.port)),
    });
    await proxy.ask("GET /", [
      "X-Forwarded-For: 198.51.100.1, 203.0.113.9",
      "X-Forwarded-Proto: https",
      "X-Forwarded-Host: shop.example",
      "Forwarded: for=203.0.113.9;proto=https",
    ]);
    assertEquals(clients, ["203.0.113.9", "0"]);
    const { headers } = upstream.seen[0]!;
    assertEquals(headers.get("x-forwarded-for"), "198.51.100.1, 203.0.113.9, 127.0.0.1");
    assertEquals(headers.get("x-forwarded-proto"), "https");
    assertEquals(headers.get("x-forwarded-host"), "shop.example");
    assertEquals(headers.get("forwarded"), "for=203.0.113.9;proto=https, for=127.0.0.1;host=h;proto=http");
    assertEquals((await proxy.seen.untilEntries(1)).clientIp, "203.0.113.9");
  },
);

eachTransport("proxy drops what an untrusted peer says of others", async (start) => {
  await using upstream = startUpstream();
  const clients: string[] = [];
  await using proxy = await start({
    upstreams: [upstream.address],
    trustedProxies: ["10.0.0.0/8"],
    requestFilter: (_, ctx) => void clients.push(ctx.client.ip),
  });
  await proxy.ask("GET /", [
    "X-Forwarded-For: 10.0.0.1",
    "X-Forwarded-Proto: https",
    "Forwarded: for=10.0.0.1",
  ]);
  assertEquals(clients, ["127.0.0.1"]);
  const { headers } = upstream.seen[0]!;
  assertEquals(headers.get("x-forwarded-for"), "127.0.0.1");
  assertEquals([headers.get("x-forwarded-proto"), headers.get("forwarded")], ["http", null]);
});

Deno.test("proxy limits clients behind a trusted proxy one by one, and one that spoofs as itself", async () => {
  await using upstream = startUpstream();
  const limiter = { key: "ip", limit: 1, window: "1m" } as const;
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter,
    trustedProxies: ["loopback"],
  });
  const ask = async (forwardedFor: string) =>
    (await proxy.ask("GET /", [`X-Forwarded-For: ${forwardedFor}`])).status;
  assertEquals([await ask("203.0.113.1"), await ask("203.0.113.2")], [200, 200]);
  assertEquals([await ask("203.0.113.1"), await ask("203.0.113.2")], [429, 429]);
  // Whatever such a client writes in front of its own address.
  for (let n = 0; n < 3; n++) assertEquals(await ask(`192.0.2.${n}, 203.0.113.1`), 429);
});

Deno.test("proxy sets Secure on the cookie of a client that came to a trusted proxy by TLS", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: { servers: [upstream.address], sticky: { secret: "a secret of enough characters" } },
    trustedProxies: ["loopback"],
  });
  const secure = await proxy.ask("GET /", ["X-Forwarded-Proto: https"]);
  assertEquals(secure.field("set-cookie")?.includes("; Secure"), true);
  assertEquals((await proxy.ask()).field("set-cookie")?.includes("; Secure"), false);
});
