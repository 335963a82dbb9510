import { assert, assertEquals } from "@std/assert";
import { type Clock, systemClock } from "../../../lib/core/clock.ts";
import type { RedisStoreOptions } from "../../../lib/limiter/redis_store_options.ts";
import { type RedisServer, redisTest } from "../../support/redis_server.ts";
import { type Answer, startProxy, type TestProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

/** A proxy that limits by the field `id`. */
function limitedProxy(
  redis: RedisServer,
  upstream: { address: string },
  more: { limit?: number; clock?: Clock; store?: Partial<RedisStoreOptions> } = {},
): Promise<TestProxy> {
  const { limit = 3, clock = systemClock, store } = more;
  return startProxy({
    upstreams: [upstream.address],
    limiter: {
      key: "header:id",
      limit,
      window: "1h",
      // A busy machine must not make a test fail: only where it matters the wait is short.
      store: { type: "redis", url: redis.url, timeout: "5s", ...store },
    },
  }, { clock });
}

const asks = (proxy: TestProxy, id = "a"): Promise<Answer> => proxy.ask("GET /", [`id: ${id}`]);

async function statuses(proxy: TestProxy, count: number, id = "a"): Promise<number[]> {
  const list: number[] = [];
  for (let i = 0; i < count; i++) list.push((await asks(proxy, id)).status);
  return list;
}

/** Waits until the proxy says of the store that it can be used, or not, for the `nth` time. */
function untilStore(proxy: TestProxy, available: boolean, nth = 1): Promise<void> {
  const { seen } = proxy;
  return seen.until(() =>
    seen.eventsOf("limiter_store").filter((event) => event.available === available).length >= nth
  );
}

/** Asks, one after the other, until the store is given up. */
async function untilGivenUp(proxy: TestProxy): Promise<number[]> {
  const list: number[] = [];
  const given = () => proxy.seen.eventsOf("limiter_store").some(({ available }) => !available);
  for (let i = 0; i < 20 && !given(); i++) list.push((await asks(proxy, `hung ${i}`)).status);
  assert(given(), "not given up after 20 requests");
  return list;
}

redisTest(
  "serve() counts in Redis: one command a request, none for a key that is known to be refused",
  async (redis) => {
    await using upstream = startUpstream();
    await using proxy = await limitedProxy(redis, upstream);
    const calls = () => Promise.all(["eval", "evalsha"].map((command) => redis.calls(command)));
    const before = await calls();
    assertEquals(await statuses(proxy, 10), [200, 200, 200, 429, 429, 429, 429, 429, 429, 429]);
    // The text of the script goes out once a connection; a refusal and three admissions are all that Redis was asked.
    assertEquals((await calls()).map((count, i) => count - before[i]!), [1, 3]);
    assertEquals(upstream.requests, 3);
  },
);

redisTest("serve() tells clients of limits in Redis what it tells of those in memory", async (redis) => {
  await using upstream = startUpstream();
  await using proxy = await limitedProxy(redis, upstream, { limit: 1 });
  const first = await asks(proxy);
  assertEquals(first.field("ratelimit-policy"), '"default";q=1;w=3600');
  assertEquals(first.field("ratelimit"), '"default";r=0;t=3600');
  const second = await asks(proxy);
  assertEquals([second.status, second.field("x-rate-limit-remaining")], [429, "0"]);
  const wait = Number(second.field("retry-after"));
  assert(wait > 0 && wait <= 3600, `Retry-After: ${wait}`);
});

redisTest("serve() lets two proxies share one limit, and such with another prefix not", async (redis) => {
  await using upstream = startUpstream();
  await using one = await limitedProxy(redis, upstream);
  await using two = await limitedProxy(redis, upstream);
  await using apart = await limitedProxy(redis, upstream, { store: { prefix: "apart" } });
  assertEquals(await statuses(one, 2), [200, 200]);
  assertEquals(await statuses(two, 2), [200, 429]);
  assertEquals(await statuses(apart, 1), [200]);
});

redisTest("serve() counts the limits of routes where those of the configuration are", async (redis) => {
  await using upstream = startUpstream();
  const config = {
    upstreams: [upstream.address],
    limiter: {
      key: "header:id",
      limit: 100,
      window: "1h",
      store: { type: "redis", url: redis.url, timeout: "5s" },
    },
    routes: [{ name: "api", limiter: { key: "header:id", limit: 2, window: "1h" } }],
  } as const;
  await using one = await startProxy(config);
  await using two = await startProxy(config);
  assertEquals([...await statuses(one, 1), ...await statuses(two, 2)], [200, 200, 429]);
  assertEquals((await two.seen.untilEntries(2)).limitedBy, "api");
});

redisTest("serve() keeps no key in Redis for longer than it counts", async (redis) => {
  await using upstream = startUpstream();
  await using proxy = await limitedProxy(redis, upstream);
  await asks(proxy);
  await asks(proxy, "x".repeat(5000));
  const keys = (await redis.command("KEYS", "*")).match(/\{lbproxy\}\S*/g) ?? [];
  assertEquals(keys.length, 2);
  for (const key of keys) {
    assert(key.length < 200, key);
    const ttl = Number((await redis.command("PTTL", key)).slice(1));
    assert(ttl > 3_500_000 && ttl <= 3_601_000, `PTTL ${ttl}`);
  }
});

redisTest("serve() gives every key an end again that has lost it", async (redis) => {
  await using upstream = startUpstream();
  await using proxy = await limitedProxy(redis, upstream);
  await asks(proxy);
  const key = /\{lbproxy\}\S*/.exec(await redis.command("KEYS", "*"))![0];
  await redis.command("PERSIST", key);
  await asks(proxy);
  assert(Number((await redis.command("PTTL", key)).slice(1)) > 0);
  await redis.command("SET", key, "something else");
  assertEquals(await statuses(proxy, 4), [200, 200, 200, 429]);
});

redisTest("serve() goes on counting after SCRIPT FLUSH", async (redis) => {
  await using upstream = startUpstream();
  await using proxy = await limitedProxy(redis, upstream);
  assertEquals(await statuses(proxy, 2), [200, 200]);
  await redis.command("SCRIPT", "FLUSH");
  assertEquals(await statuses(proxy, 2), [200, 429]);
});

redisTest(
  "serve() with onStoreError open lets requests pass while Redis is gone, and counts again after",
  async (redis) => {
    await using upstream = startUpstream();
    await using proxy = await limitedProxy(redis, upstream, { store: { onStoreError: "open" } });
    assertEquals(await statuses(proxy, 4), [200, 200, 200, 429]);
    await redis.kill();
    await untilStore(proxy, false);
    assertEquals(await statuses(proxy, 5, "b"), [200, 200, 200, 200, 200]);
    await redis.restart();
    await untilStore(proxy, true, 2);
    assertEquals(await statuses(proxy, 4, "b"), [200, 200, 200, 429]);
  },
);

redisTest("serve() with onStoreError closed refuses with 503 what it cannot count", async (redis) => {
  await using upstream = startUpstream();
  await using proxy = await limitedProxy(redis, upstream, { store: { onStoreError: "closed" } });
  await redis.kill();
  await untilStore(proxy, false);
  const answer = await asks(proxy);
  assertEquals([answer.status, answer.field("retry-after")], [503, "1"]);
  assertEquals(answer.field("x-rate-limit-limit"), undefined);
  assertEquals(JSON.parse(answer.text)["violated-policies"], ["default"]);
  assertEquals((await proxy.ask("GET /")).status, 200, "without a key the policy does not apply");
  assertEquals(upstream.requests, 1);
});

redisTest(
  "serve() with onStoreError local grants its part of the limit while Redis is gone",
  async (redis) => {
    await using upstream = startUpstream();
    await using proxy = await limitedProxy(redis, upstream, {
      limit: 7,
      store: { onStoreError: "local", instances: 3 },
    });
    assertEquals(await statuses(proxy, 3), [200, 200, 200]);
    await redis.kill();
    await untilStore(proxy, false);
    assertEquals(await statuses(proxy, 4), [200, 200, 429, 429]);
  },
);

redisTest("serve() starts without Redis, and counts there once it is up", async (redis) => {
  await redis.kill();
  await using upstream = startUpstream();
  await using proxy = await limitedProxy(redis, upstream, { limit: 2 });
  assertEquals(proxy.seen.eventsOf("limiter_store").map(({ available }) => available), [false]);
  assertEquals(await statuses(proxy, 3), [200, 200, 429]);
  await redis.restart();
  await untilStore(proxy, true);
  assertEquals(await statuses(proxy, 3), [200, 200, 429]);
  assert(await redis.calls("eval") > 0);
});

redisTest(
  "serve() stops asking a Redis that hangs, asks again when it goes on, and loses no request",
  async (redis) => {
    await using upstream = startUpstream();
    await using proxy = await limitedProxy(redis, upstream, { store: { timeout: "20ms" } });
    redis.pause();
    const hung = await untilGivenUp(proxy);
    assertEquals(hung, hung.map(() => 200), "counted in this instance");
    assertEquals(await statuses(proxy, 10, "local"), [200, 200, 200, ...Array(7).fill(429)]);
    redis.resume();
    await untilStore(proxy, true);
    await proxy.seen.until(() => proxy.seen.eventsOf("limiter_store").at(-1)!.available);
    // Of all scripts here, only the one that looks whether the store counts deletes.
    const [texts, hashes, checks] = await Promise.all(["eval", "evalsha", "del"].map((c) => redis.calls(c)));
    const sent = texts! + hashes! - checks!;
    assert(sent <= hung.length, `${sent} commands for ${hung.length} requests: none after it was given up`);
    assertEquals((await asks(proxy, "new")).status, 200);
  },
);

redisTest(
  "serve() loses no request when Redis is killed, paused and started again under load",
  async (redis) => {
    await using upstream = startUpstream();
    await using proxy = await limitedProxy(redis, upstream, { limit: 1_000_000, store: { timeout: "20ms" } });
    let stop = false;
    let answered = 0;
    const load = Array.from({ length: 8 }, async () => {
      while (!stop) {
        const answer = await asks(proxy);
        assertEquals(answer.status, 200);
        answered++;
      }
    });
    const more = async (count: number) => {
      const goal = answered + count;
      while (answered < goal) await asks(proxy, "b");
    };
    await more(50);
    redis.pause();
    await untilStore(proxy, false);
    await more(50);
    redis.resume();
    await untilStore(proxy, true, 2);
    await more(50);
    await redis.kill();
    await untilStore(proxy, false, 2);
    await more(50);
    await redis.restart();
    await untilStore(proxy, true, 3);
    const before = await redis.calls("evalsha");
    await more(50);
    assert(await redis.calls("evalsha") > before);
    stop = true;
    await Promise.all(load);
  },
);

redisTest("serve() waits for an answer as long as it may, and no shorter", async (redis) => {
  await using upstream = startUpstream();
  await using proxy = await limitedProxy(redis, upstream, { limit: 1, store: { timeout: "10s" } });
  redis.pause();
  const waiting = asks(proxy);
  // Longer than a connection may be silent whose requests wait for 20 ms only.
  await new Promise((resolve) => setTimeout(resolve, 400));
  redis.resume();
  assertEquals([(await waiting).status, ...await statuses(proxy, 1)], [200, 429]);
  assertEquals(proxy.seen.eventsOf("limiter_store").length, 1, "never given up");
  assert(await redis.calls("evalsha") > 0);
});

redisTest("serve() gives places of a concurrency policy back to Redis", async (redis) => {
  const gate = Promise.withResolvers<void>();
  await using upstream = startUpstream({
    handler: async () => {
      await gate.promise;
      return new Response("done");
    },
  });
  const config = {
    upstreams: [upstream.address],
    limiter: {
      key: "ip",
      limit: 2,
      algorithm: "concurrency",
      store: { type: "redis", url: redis.url, timeout: "5s" },
    },
  } as const;
  await using one = await startProxy(config);
  await using two = await startProxy(config);
  const running = [one.ask(), two.ask()];
  const arrived = (): boolean => upstream.requests === 2;
  for (let i = 0; i < 1000 && !arrived(); i++) await redis.command("PING");
  assert(arrived());
  assertEquals([(await one.ask()).status, (await two.ask()).status], [429, 429]);
  gate.resolve();
  assertEquals((await Promise.all(running)).map(({ status }) => status), [200, 200]);
  await Promise.all([one.seen.untilEntries(2), two.seen.untilEntries(2)]);
  const held = () => redis.command("KEYS", "*:c:*");
  for (let i = 0; i < 1000 && (await held()) !== "*0\r\n"; i++);
  assertEquals(await held(), "*0\r\n", "all places are given back");
});

redisTest("serve() signs in with the password of the URL, and never shows it", async (redis) => {
  await redis.command("CONFIG", "SET", "requirepass", "hunter2");
  await using upstream = startUpstream();
  const url = `redis://:hunter2@127.0.0.1:${redis.port}`;
  await using proxy = await limitedProxy(redis, upstream, { limit: 1, store: { url } });
  assertEquals(await statuses(proxy, 2), [200, 429]);
  await using stranger = await limitedProxy(redis, upstream, {
    limit: 1,
    store: { url: url.replace("hunter2", "hunter3"), onStoreError: "closed" },
  });
  assertEquals(await statuses(stranger, 1), [503]);
  await redis.kill();
  await untilStore(proxy, false);
  for (const { seen } of [proxy, stranger]) {
    assertEquals(JSON.stringify(seen.events).includes("hunter"), false, JSON.stringify(seen.events));
  }
});
