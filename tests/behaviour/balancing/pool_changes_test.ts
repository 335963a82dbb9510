import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { answers, sorted } from "../../support/answers.ts";
import { deadPort } from "../../support/dead_port.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

eachTransport(
  "proxy keeps health and counters of servers that stay, also with a new weight",
  async (start) => {
    await using a = startUpstream("a");
    await using b = startUpstream("b");
    await using c = startUpstream("c");
    const dead = `127.0.0.1:${deadPort()}`;
    await using proxy = await start({
      upstreams: { servers: [a.address, b.address, dead], healthCheck: { type: "tcp", interval: "1h" } },
    });
    const pool = proxy.server.pools.get("default")!;
    assertEquals(await answers(proxy, 6), "ababab");
    const [serverA, , serverDead] = pool.servers;
    const { requests } = serverA!;
    const change = pool.replaceServers([{ address: a.address, weight: 3 }, dead, c.address]);
    assertEquals(
      [change.added, change.removed, change.kept].map((list) => list.map(({ id }) => id)),
      [[c.address], [b.address], [a.address, dead]],
    );
    assertStrictEquals(pool.server(a.address), serverA);
    assertEquals([serverA!.weight, serverA!.requests, serverA!.health], [3, requests, "up"]);
    assertEquals([serverDead!.health, serverDead!.requests], ["down", 0]);
  },
);

eachTransport("proxy takes a server out and in again, and says what cannot be changed", async (start) => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using proxy = await start({ upstreams: [a.address, b.address] });
  const pool = proxy.server.pools.get("default")!;
  pool.setEnabled(a.address, false);
  assertEquals(await answers(proxy, 2), "bb");
  pool.setEnabled(a.address, true);
  pool.setWeight(a.address, 3);
  assertEquals(sorted(await answers(proxy, 8)), "aaaaaabb");
  assertThrows(() => pool.setWeight("10.0.0.1:80", 1), TypeError, "is no member");
  assertThrows(() => pool.setWeight(a.address, -1), RangeError, "must be a number from 0 to 65535");
  assertThrows(
    () => pool.replaceServers([a.address, "nowhere"]),
    TypeError,
    'the address must be "host:port"',
  );
  assertEquals(pool.servers.length, 2);
});

Deno.test("proxy starts servers slowly that are added while it runs, and those of the beginning not", async () => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using c = startUpstream("c");
  await using proxy = await startProxy({
    upstreams: {
      servers: [a.address],
      discovery: () => Promise.resolve([a.address, b.address]),
      slowStart: { duration: "1h", floor: 0.05 },
    },
  });
  assertEquals(sorted(await answers(proxy, 8)), "aaaabbbb");
  proxy.server.pools.get("default")!.addServer(c.address);
  const text = await answers(proxy, 41);
  assertEquals(text.replaceAll(/[ab]/g, ""), "c");
});

Deno.test("proxy starts a server slowly that has recovered", async () => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  let up = true;
  await using proxy = await startProxy({
    upstreams: {
      servers: [a.address, b.address],
      slowStart: { duration: "1h", floor: 0.1 },
      healthCheck: {
        type: "custom",
        interval: "30ms",
        check: (server) => Promise.resolve(up || server.id !== b.address),
      },
    },
  });
  up = false;
  await proxy.seen.until(() => proxy.seen.eventsOf("health").length === 1);
  up = true;
  await proxy.seen.until(() => proxy.seen.eventsOf("health").length === 2);
  const share = (await answers(proxy, 22)).replaceAll("a", "").length;
  assert(share >= 1 && share <= 3, `${share} of 22`);
});

Deno.test("proxy gives a server that started slowly its whole share in the end", async () => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  const clock = new FakeClock();
  await using proxy = await startProxy({
    upstreams: { servers: [a.address], slowStart: { duration: "10s" } },
  }, { clock });
  proxy.server.pools.get("default")!.addServer(b.address);
  await clock.advance(10_500);
  assertEquals(sorted(await answers(proxy, 8)), "aaaabbbb");
});
