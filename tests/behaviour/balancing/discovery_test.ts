import { assert, assertEquals } from "@std/assert";
import { eventLevel, eventMessage } from "../../../lib/observe/event_message.ts";
import { answers, sorted } from "../../support/answers.ts";
import { deadPort } from "../../support/dead_port.ts";
import { DnsServer } from "../../support/dns_server.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { startProxy, type TestProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

const states = (proxy: TestProxy) => proxy.seen.eventsOf("discovery").map(({ state }) => state);
const until = (proxy: TestProxy, state: string, count = 1) =>
  proxy.seen.until(() => states(proxy).filter((each) => each === state).length >= count);

eachTransport("proxy finds its servers by A records before it listens", async (start) => {
  await using dns = await DnsServer.start();
  await using a = startUpstream("a");
  dns.records.set("api.test", [{ type: "A", address: "127.0.0.1" }]);
  await using proxy = await start({
    upstreams: {
      api: { discovery: { type: "dns", name: "api.test", record: "A", port: a.port, resolver: dns.address } },
    },
  });
  assertEquals(await answers(proxy, 2), "aa");
  assertEquals(proxy.seen.eventsOf("discovery"), [{
    kind: "discovery",
    pool: "api",
    state: "changed",
    message: null,
    added: [a.address],
    removed: [],
    totalServers: 1,
  }]);
});

eachTransport("proxy follows SRV records: weights, and backups by priority", async (start) => {
  await using dns = await DnsServer.start();
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using c = startUpstream("c");
  const record = (port: number, priority: number, weight: number) =>
    ({ type: "SRV", target: "localhost", port, priority, weight }) as const;
  const name = "_http._tcp.api.test";
  dns.records.set(name, [record(a.port, 1, 3), record(b.port, 1, 1), record(c.port, 2, 9)]);
  await using proxy = await start({
    upstreams: {
      discovery: { type: "dns", name, record: "SRV", resolver: dns.address, interval: "20ms" },
    },
  });
  assertEquals(sorted(await answers(proxy, 8)), "aaaaaabb");
  const pool = proxy.server.pools.get("default")!;
  const kept = pool.server(`localhost:${a.port}`)!;
  const { requests } = kept;
  dns.records.set(name, [record(a.port, 5, 1), record(c.port, 6, 1)]);
  await until(proxy, "changed", 2);
  assertEquals(pool.server(`localhost:${a.port}`), kept);
  assertEquals([kept.requests >= requests, kept.weight], [true, 1]);
  assertEquals(await answers(proxy, 3), "aaa");
  pool.setEnabled(kept, false);
  assertEquals(await answers(proxy, 2), "cc");
});

eachTransport(
  "proxy keeps its servers when a search fails or finds nothing, and says so once",
  async (start) => {
    await using a = startUpstream("a");
    await using b = startUpstream("b");
    let find = (): string[] => [a.address];
    let looks = 0;
    let looked = Promise.withResolvers<void>();
    await using proxy = await start({
      upstreams: {
        discovery: {
          type: "custom",
          interval: "10ms",
          discover: () => {
            if (++looks % 5 === 0) looked.resolve();
            return Promise.resolve().then(find);
          },
        },
      },
    });
    assertEquals(await answers(proxy, 1), "a");
    find = () => {
      throw new Error("the registry is gone");
    };
    await until(proxy, "failed");
    find = () => [];
    looked = Promise.withResolvers();
    await looked.promise;
    assertEquals(await answers(proxy, 2), "aa");
    find = () => [b.address];
    await until(proxy, "changed", 2);
    assertEquals(await answers(proxy, 2), "bb");
    assertEquals(states(proxy), ["changed", "failed", "recovered", "changed"]);
    const [, failed, , changed] = proxy.seen.eventsOf("discovery");
    assertEquals(
      [eventLevel(failed!), eventMessage(failed!), eventMessage(changed!)],
      [
        "error",
        "Cannot find servers for pool default: the registry is gone; it keeps its 1 server",
        `Pool default has 1 server now: +${b.address} -${a.address}`,
      ],
    );
  },
);

eachTransport("proxy begins with its listed servers while nothing else is found", async (start) => {
  await using a = startUpstream("a");
  await using proxy = await start({
    upstreams: { servers: [a.address], discovery: () => Promise.reject(new Error("not yet")) },
  });
  assertEquals(await answers(proxy, 2), "aa");
  assertEquals(states(proxy), ["failed"]);
});

Deno.test("proxy listens without any server, and answers as soon as one is found", async () => {
  await using a = startUpstream("a");
  let found: string[] = [];
  await using proxy = await startProxy({
    upstreams: { discovery: { type: "custom", interval: "50ms", discover: () => Promise.resolve(found) } },
  });
  assertEquals(await answers(proxy, 1), "[503]");
  found = [a.address];
  await until(proxy, "changed");
  assertEquals(await answers(proxy, 1), "a");
});

Deno.test("proxy listens although a search hangs, after its timeout, and stops although it still does", async () => {
  let signal: AbortSignal | undefined;
  await using proxy = await startProxy({
    upstreams: {
      discovery: {
        type: "custom",
        timeout: "50ms",
        discover: (given) => {
          signal = given;
          return new Promise(() => {});
        },
      },
    },
  });
  assert(signal!.aborted);
  assertEquals(await answers(proxy, 1), "[503]");
});

Deno.test("proxy checks what was found before it listens, and tells those that leave apart from those that stay", async () => {
  await using a = startUpstream("a");
  const dead = `127.0.0.1:${deadPort()}`;
  let found = [dead, a.address];
  await using proxy = await startProxy({
    upstreams: {
      discovery: { type: "custom", interval: "20ms", discover: () => Promise.resolve(found) },
      healthCheck: { type: "tcp", interval: "1h" },
    },
  });
  assertEquals(await answers(proxy, 4), "aaaa");
  found = [a.address];
  await until(proxy, "changed", 2);
  const { added, removed } = proxy.seen.eventsOf("discovery")[1]!;
  assertEquals({ added, removed }, { added: [], removed: [dead] });
});

Deno.test("proxy takes servers with TLS, weight and tags from a function", async () => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using proxy = await startProxy({
    upstreams: {
      discovery: () =>
        Promise.resolve([
          { address: `http://${a.address}`, weight: 2, tags: ["x"] },
          { address: b.address, maxInFlight: 5 },
        ]),
    },
  });
  assertEquals(sorted(await answers(proxy, 6)), "aaaabb");
  const { servers } = proxy.server.pools.get("default")!;
  assertEquals(servers.map(({ tags, maxInFlight }) => [tags, maxInFlight]), [[["x"], Infinity], [[], 5]]);
});
