import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { RedisStoreOptions } from "../../../lib/limiter/redis_store_options.ts";
import { deadPort } from "../../support/dead_port.ts";
import { RedisCluster } from "../../support/redis_cluster.ts";
import { RedisServer, redisTest, redisTestWith } from "../../support/redis_server.ts";
import { startProxy, type TestProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

/** Two tiers, so that each request has several keys. */
function limitedProxy(
  upstream: { address: string },
  url: string | readonly string[],
  store: Partial<RedisStoreOptions> = {},
): Promise<TestProxy> {
  const shared = { type: "redis", url, timeout: "5s", onStoreError: "closed", ...store } as const;
  return startProxy({
    upstreams: [upstream.address],
    limiter: [
      { name: "hour", key: "header:id", limit: 2, window: "1h", store: shared },
      { name: "day", key: "ip", limit: 5, window: "1d", algorithm: "sliding-window", store: shared },
    ],
  });
}

async function statuses(proxy: TestProxy, count: number, id = "a"): Promise<number[]> {
  const list: number[] = [];
  for (let i = 0; i < count; i++) list.push((await proxy.ask("GET /", [`id: ${id}`])).status);
  return list;
}

const availability = ({ seen }: TestProxy): boolean[] =>
  seen.eventsOf("limiter_store").map(({ available }) => available);

redisTestWith(
  () => RedisCluster.start(1),
  "serve() counts in a cluster of one server: all keys of a request are in one slot",
  async ({ nodes: [node] }) => {
    await using upstream = startUpstream();
    await using proxy = await limitedProxy(upstream, node!.url);
    assertEquals(await statuses(proxy, 3), [200, 200, 429]);
    assertEquals(await statuses(proxy, 3, "b"), [200, 200, 429]);
    const keys = (await node!.command("KEYS", "*")).match(/\{lbproxy\}\S*/g) ?? [];
    assertEquals(keys.length, 3);
    const slots = await Promise.all(keys.map((key) => node!.command("CLUSTER", "KEYSLOT", key)));
    assertEquals(new Set(slots).size, 1, slots.join());
  },
);

redisTestWith(
  () => RedisCluster.start(3),
  "serve() finds the server of a cluster that has its keys, whichever it was told of, and loses no count",
  async (cluster) => {
    await using upstream = startUpstream();
    const owner = await cluster.ownerOf("{lbproxy}:check");
    for (const [i, { url }] of cluster.nodes.entries()) {
      await using proxy = await limitedProxy(upstream, url);
      assertEquals(availability(proxy), [true], "no word of the way there");
      assertEquals(await statuses(proxy, 1), [[200, 200, 429][i]]);
    }
    await using proxy = await limitedProxy(upstream, cluster.nodes[0]!.url, { prefix: "apart" });
    assertEquals(await statuses(proxy, 3), [200, 200, 429]);
    assert(await owner.calls("eval") >= 3, "all were sent there");
  },
);

redisTestWith(
  () => RedisCluster.start(2),
  "serve() goes with its keys when a cluster moves them to another server",
  async (cluster) => {
    await using upstream = startUpstream();
    const owner = await cluster.ownerOf("{lbproxy}:check");
    const other = cluster.nodes.find((node) => node !== owner)!;
    await using proxy = await limitedProxy(upstream, owner.url, { onStoreError: "open" });
    assertEquals(availability(proxy), [true]);
    await cluster.move("{lbproxy}:check", other);
    assertEquals(await statuses(proxy, 1), [200], "as onStoreError says");
    const { seen } = proxy;
    await seen.until(() => availability(proxy).length === 3);
    assertEquals(availability(proxy), [true, false, true]);
    assertStringIncludes(seen.eventsOf("limiter_store")[1]!.reason!, `MOVED`);
    assertEquals(await statuses(proxy, 3), [200, 200, 429]);
    assertEquals((await other.command("KEYS", "*")).match(/\{lbproxy\}/g)?.length, 2);
  },
);

redisTestWith(
  () => RedisCluster.start(2),
  "serve() returns to the servers it was told of when the one that has its keys is gone",
  async (cluster) => {
    await using upstream = startUpstream();
    const owner = await cluster.ownerOf("{lbproxy}:check");
    const other = cluster.nodes.find((node) => node !== owner)!;
    await using proxy = await limitedProxy(upstream, [`redis://127.0.0.1:${deadPort()}`, other.url]);
    assertEquals(availability(proxy), [true], "the first one is passed over without a word");
    assertEquals(await statuses(proxy, 1), [200]);
    await owner.kill();
    const { seen } = proxy;
    await seen.until(() => availability(proxy).length === 2);
    assertEquals(await statuses(proxy, 1), [503]);
    // Nobody but an operator (or a replica) can bring the slot back.
    const id = /[0-9a-f]{40}/.exec(await other.command("CLUSTER", "MYID"))![0];
    const slot = (await other.command("CLUSTER", "KEYSLOT", "{lbproxy}")).slice(1).trim();
    await other.command("CONFIG", "SET", "cluster-require-full-coverage", "no");
    await other.command("CLUSTER", "SETSLOT", slot, "NODE", id);
    await seen.until(() => availability(proxy).length === 3);
    assertEquals(await statuses(proxy, 3), [200, 200, 429]);
  },
);

redisTest("serve() takes the next server where one may not be written to", async (primary) => {
  await primary.command("CONFIG", "SET", "repl-diskless-sync-delay", "0");
  await using replica = await RedisServer.start(() => [
    ...["--replicaof", "127.0.0.1", String(primary.port)],
    ...["--repl-diskless-load", "on-empty-db"],
  ]);
  await replica.untilLogged("sync: Finished with success");
  await using upstream = startUpstream();
  await using proxy = await limitedProxy(upstream, [replica.url, primary.url]);
  assertEquals(availability(proxy), [true]);
  assertEquals(await statuses(proxy, 3), [200, 200, 429]);
  await using alone = await limitedProxy(upstream, replica.url);
  assertStringIncludes(alone.seen.eventsOf("limiter_store")[0]!.reason!, "READONLY");
});

redisTest("serve() leaves a server that has become a replica for the next one", async (old) => {
  await using next = await RedisServer.start();
  await using upstream = startUpstream();
  await using proxy = await limitedProxy(upstream, [old.url, next.url]);
  assertEquals(await statuses(proxy, 1), [200]);
  await old.command("REPLICAOF", "127.0.0.1", String(next.port));
  const refused = await statuses(proxy, 5, "b");
  assertEquals(refused, [503, 503, 503, 503, 503], "as onStoreError says");
  const { seen } = proxy;
  assertStringIncludes(seen.eventsOf("limiter_store")[1]!.reason!, "READONLY");
  await seen.until(() => availability(proxy).at(-1)!);
  assertEquals(await statuses(proxy, 3), [200, 200, 429]);
  assert(await next.calls("evalsha") >= 2);
});
