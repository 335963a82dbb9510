import { assertEquals, assertLess } from "@std/assert";
import { deadPort } from "../../support/dead_port.ts";
import { eachTransport } from "../../support/each_transport.ts";
import type { TestProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const CHECK = { type: "tcp", interval: "50ms", timeout: "500ms" } as const;

/** Names of the servers that answered so many requests one after the other. */
async function names(proxy: TestProxy, count: number): Promise<string> {
  let text = "";
  for (let i = 0; i < count; i++) {
    const answer = await proxy.ask();
    text += answer.status === 200 ? answer.text : `[${answer.status}]`;
  }
  return text;
}

eachTransport("proxy takes servers in turn: ten requests are five and five", async (start) => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using proxy = await start({ upstreams: { servers: [a.address, b.address], healthCheck: CHECK } });
  assertEquals(await names(proxy, 10), "ababababab");
  assertEquals([a.requests, b.requests], [5, 5]);
});

eachTransport("proxy gives servers their share by weight", async (start) => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using proxy = await start({
    upstreams: [{ address: a.address, weight: 3 }, { address: b.address, weight: 1 }],
  });
  assertEquals([...await names(proxy, 8)].sort().join(""), "aaaaaabb");
});

eachTransport("proxy fails no GET when a server is killed, and asks only the other one", async (start) => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using proxy = await start({ upstreams: { servers: [a.address, b.address], healthCheck: CHECK } });
  assertEquals(await names(proxy, 4), "abab");
  await a.close();
  assertEquals(await names(proxy, 20), "b".repeat(20));
});

eachTransport("proxy fails no GET of many at once while a server is killed", async (start) => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using proxy = await start({ upstreams: { servers: [a.address, b.address], healthCheck: CHECK } });
  const clients = Array.from({ length: 8 }, () => names(proxy, 20));
  await proxy.seen.untilEntries(40);
  await a.close();
  const answers = (await Promise.all(clients)).join("");
  assertEquals(answers.replaceAll(/[ab]/g, ""), "");
  assertEquals(answers.length, 160);
});

eachTransport("proxy asks a server again within two check intervals of its return", async (start) => {
  const a = startUpstream("a");
  const { port } = a;
  await using b = startUpstream("b");
  const intervalMs = 200;
  await using proxy = await start({
    upstreams: {
      servers: [a.address, b.address],
      healthCheck: { type: "tcp", interval: intervalMs, timeout: "1s" },
    },
  });
  await a.close();
  await proxy.seen.until(() => proxy.seen.eventsOf("health").some(({ healthy }) => !healthy));
  assertEquals(await names(proxy, 4), "bbbb");
  await using _back = startUpstream({ name: "a", port });
  const returned = performance.now();
  await proxy.seen.until(() => proxy.seen.eventsOf("health").some(({ healthy }) => healthy));
  // The claim itself is a time; a machine that stands still for a moment is given one interval more.
  assertLess(performance.now() - returned, 3 * intervalMs);
  assertEquals([...await names(proxy, 4)].sort().join(""), "aabb");
});

eachTransport("proxy answers 503 with Retry-After when all servers are down, and recovers", async (start) => {
  const port = deadPort();
  await using proxy = await start({
    upstreams: { servers: [`127.0.0.1:${port}`], healthCheck: CHECK },
  });
  const answer = await proxy.ask();
  assertEquals([answer.status, answer.field("retry-after")], [503, "1"]);
  assertEquals(answer.field("proxy-status"), "lbproxy; error=destination_unavailable");
  assertEquals((await proxy.ask("POST /", ["Content-Length: 1"], "x")).status, 503);
  await using _back = startUpstream({ name: "a", port });
  await proxy.seen.until(() => proxy.seen.eventsOf("health").some(({ healthy }) => healthy));
  assertEquals(await names(proxy, 2), "aa");
});

eachTransport("proxy says the check interval as Retry-After when that is longer", async (start) => {
  await using proxy = await start({
    upstreams: {
      servers: [`127.0.0.1:${deadPort()}`],
      healthCheck: { type: "tcp", interval: "7500ms" },
    },
  });
  assertEquals((await proxy.ask()).field("retry-after"), "8");
});

eachTransport("proxy goes on with servers that are added and removed while it runs", async (start) => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using c = startUpstream("c");
  await using proxy = await start({ upstreams: [a.address, b.address] });
  const pool = proxy.server.pools.get("default")!;
  assertEquals(await names(proxy, 4), "abab");
  pool.addServer(c.address);
  assertEquals([...await names(proxy, 6)].sort().join(""), "aabbcc");
  await pool.removeServer(a.address);
  assertEquals([...await names(proxy, 4)].sort().join(""), "bbcc");
  pool.setWeight(b.address, 3);
  assertEquals([...await names(proxy, 8)].sort().join(""), "bbbbbbcc");
});

eachTransport("proxy finishes what runs at a server that is removed", async (start) => {
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<Response>();
  await using a = startUpstream({
    handler: () => {
      asked.resolve();
      return answer.promise;
    },
  });
  await using b = startUpstream("b");
  await using proxy = await start({ upstreams: [a.address, b.address] });
  const running = proxy.ask();
  await asked.promise;
  const removed = proxy.server.pools.get("default")!.removeServer(a.address);
  assertEquals(await names(proxy, 3), "bbb");
  answer.resolve(new Response("late"));
  assertEquals((await running).text, "late");
  await removed;
});

eachTransport("proxy sends requests to the pool that upstreamPeer names", async (start) => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using c = startUpstream("c");
  await using proxy = await start({
    upstreams: { default: { servers: [a.address] }, other: { servers: [b.address] } },
    upstreamPeer: (_request, ctx) => {
      if (ctx.target === "/other") return "other";
      return ctx.target === "/outright" ? { address: c.address } : undefined;
    },
  });
  const texts = [];
  for (const path of ["/", "/other", "/outright", "/"]) texts.push((await proxy.ask(`GET ${path}`)).text);
  assertEquals(texts, ["a", "b", "c", "a"]);
  const last = await proxy.seen.untilEntries(3);
  assertEquals([last.pool, last.server], ["", c.address]);
});
