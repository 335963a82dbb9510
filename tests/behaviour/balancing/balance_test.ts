import { assert, assertEquals } from "@std/assert";
import type { KeySpec } from "../../../lib/limiter/key_spec.ts";
import { BALANCE_NAMES } from "../../../lib/balancer/create_algorithm.ts";
import { seededRandom } from "../../../lib/core/random.ts";
import { answers, sorted } from "../../support/answers.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

for (const balance of BALANCE_NAMES) {
  const hashes = balance.endsWith("-hash");

  Deno.test(`proxy chooses by ${balance}, never a server that is off, and all lead to an answer`, async () => {
    await using a = startUpstream("a");
    await using b = startUpstream("b");
    await using off = startUpstream("x");
    await using proxy = await startProxy({
      upstreams: {
        servers: [off.address, { address: a.address, weight: 2 }, b.address],
        balance,
        ...(hashes ? { key: "query:k" as const } : {}),
      },
    }, { random: seededRandom(5) });
    proxy.server.pools.get("default")!.setEnabled(off.address, false);
    let text = "";
    for (let i = 0; i < 30; i++) text += await answers(proxy, 1, `GET /?k=${i}`);
    const share = text.replaceAll("b", "").length;
    assertEquals(text.replaceAll(/[ab]/g, ""), "");
    if (balance === "first") assertEquals(share, 30);
    else if (balance === "round-robin" || balance === "least-connections") assertEquals(share, 20);
    // The faster one of two gets what comes one by one.
    else if (balance !== "ewma") assert(share > 8 && share < 29, `${share} of 30`);
  });
}

const KEYS: readonly [key: KeySpec, request: (i: number) => [string, string[]]][] = [
  ["header:user", (i) => ["GET /", [`user: ${i}`]]],
  ["cookie:sid", (i) => ["GET /", [`cookie: a=b; sid=${i}`]]],
  ["query:k", (i) => [`GET /?k=${i}`, []]],
  ["path", (i) => [`GET /${i}?any=${Math.random()}`, []]],
  ["host", (i) => ["GET /", [`host: h${i}`]]],
  [["path", "header:user"], (i) => [`GET /${i % 3}`, [`user: ${i}`]]],
  [(request) => request.headers.get("x-k"), (i) => ["GET /", [`x-k: ${i}`]]],
];

for (const [key, request] of KEYS) {
  const name = typeof key === "function" ? "a function" : String(key);

  Deno.test(`proxy hashes ${name}: each value has its server, all servers have values`, async () => {
    await using a = startUpstream("a");
    await using b = startUpstream("b");
    await using proxy = await startProxy({
      upstreams: { servers: [a.address, b.address], balance: "consistent-hash", key },
    });
    const owners = new Map<number, string>();
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 16; i++) {
        const owner = await answers(proxy, 1, ...request(i));
        assertEquals(owner, owners.get(i) ?? owner, `value ${i}`);
        owners.set(i, owner);
      }
    }
    assertEquals(sorted([...new Set(owners.values())].join("")), "ab");
  });
}

eachTransport("proxy hashes the client's address: one client stays with one server", async (start) => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using proxy = await start({
    upstreams: { servers: [a.address, b.address], balance: "fnv-hash", key: "ip" },
  });
  const text = await answers(proxy, 8);
  assert(text === "aaaaaaaa" || text === "bbbbbbbb", text);
});

eachTransport("proxy takes servers in turn for requests without the key that is hashed", async (start) => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using proxy = await start({
    upstreams: { servers: [a.address, b.address], balance: "consistent-hash", key: "header:user" },
  });
  assertEquals(await answers(proxy, 4), "abab");
});

eachTransport("proxy moves only the keys of a server that went, and moves them back", async (start) => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using c = startUpstream("c");
  await using proxy = await start({
    upstreams: { servers: [a.address, b.address, c.address], balance: "consistent-hash", key: "path" },
  });
  const pool = proxy.server.pools.get("default")!;
  const owners = async () => {
    const list = [];
    for (let i = 0; i < 24; i++) list.push(await answers(proxy, 1, `GET /${i}`));
    return list;
  };
  const before = await owners();
  pool.setEnabled(b.address, false);
  (await owners()).forEach((owner, i) => {
    if (before[i] === "b") assert(owner !== "b");
    else assertEquals(owner, before[i]);
  });
  pool.setEnabled(b.address, true);
  assertEquals(await owners(), before);
});

eachTransport("proxy passes a key on while its server has more than its share in flight", async (start) => {
  const release = Promise.withResolvers<void>();
  const all = Promise.withResolvers<void>();
  const asked: string[] = [];
  const slow = (name: string) =>
    startUpstream({
      handler: async () => {
        if (asked.push(name) === 8) all.resolve();
        await release.promise;
        return new Response(name);
      },
    });
  await using a = slow("a");
  await using b = slow("b");
  await using proxy = await start({
    upstreams: {
      servers: [a.address, b.address],
      balance: "consistent-hash",
      key: "host",
      loadFactor: 1.5,
    },
  });
  const running = Array.from({ length: 8 }, () => proxy.ask());
  await all.promise;
  release.resolve();
  await Promise.all(running);
  const most = Math.max(...["a", "b"].map((name) => asked.filter((each) => each === name).length));
  assert(most >= 5 && most <= 6, "1.5 times the share of 8 requests, no more");
});

eachTransport(
  "proxy lets a function choose by the request, its context and the servers' tags",
  async (start) => {
    await using a = startUpstream("a");
    await using b = startUpstream("b");
    await using c = startUpstream("c");
    const seen: string[] = [];
    await using proxy = await start({
      upstreams: {
        servers: [
          { address: a.address, tags: ["blue"] },
          { address: b.address, tags: ["green", "new"] },
          { address: c.address, tags: ["green"] },
        ],
        balance: (candidates, request, ctx) => {
          seen.push(`${candidates.length} ${ctx.target} ${ctx.clientIp}`);
          const color = request.headers.get("x-color") ?? "blue";
          return candidates.find(({ tags }) => tags.includes(color));
        },
      },
    });
    assertEquals(await answers(proxy, 2), "aa");
    assertEquals(await answers(proxy, 1, "GET /p", ["x-color: new"]), "b");
    assertEquals(await answers(proxy, 1, "GET /", ["x-color: red"]), "[503]");
    proxy.server.pools.get("default")!.setEnabled(b.address, false);
    assertEquals(await answers(proxy, 1, "GET /", ["x-color: green"]), "c");
    assertEquals([seen[2], seen.at(-1)], ["3 /p 127.0.0.1", "2 / 127.0.0.1"]);
  },
);

eachTransport("proxy answers 503 and reports when the balancing function throws", async (start) => {
  await using a = startUpstream("a");
  await using proxy = await start({
    upstreams: {
      servers: [a.address],
      balance: () => {
        throw new Error("no idea");
      },
    },
  });
  assertEquals((await proxy.ask()).status, 503);
  const errors = proxy.seen.eventsOf("callback_error");
  assertEquals(errors.map(({ name, message }) => [name, message]), [["balance", "no idea"]]);
});

eachTransport("proxy answers 500 when the function that makes the key throws", async (start) => {
  await using a = startUpstream("a");
  await using proxy = await start({
    upstreams: {
      servers: [a.address],
      balance: "fnv-hash",
      key: () => {
        throw new Error("secret");
      },
    },
  });
  const answer = await proxy.ask();
  assertEquals([answer.status, answer.text.includes("secret"), a.requests], [500, false, 0]);
});

eachTransport("proxy uses a backup only while no other server can be used", async (start) => {
  await using a = startUpstream("a");
  await using b = startUpstream("b");
  await using proxy = await start({
    upstreams: [{ address: b.address, backup: true }, a.address],
  });
  const pool = proxy.server.pools.get("default")!;
  assertEquals(await answers(proxy, 3), "aaa");
  pool.setEnabled(a.address, false);
  assertEquals(await answers(proxy, 3), "bbb");
  pool.setEnabled(a.address, true);
  await a.close();
  assertEquals(await answers(proxy, 1), "b", "a request that another server failed goes there too");
});
