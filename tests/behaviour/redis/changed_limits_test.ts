import { assert, assertEquals } from "@std/assert";
import { seededRandom } from "../../../lib/core/random.ts";
import { RateLimiter } from "../../../lib/limiter/limiter.ts";
import { MemoryStore } from "../../../lib/limiter/memory_store.ts";
import type { AlgorithmName } from "../../../lib/limiter/policy.ts";
import { resolvePolicies } from "../../../lib/limiter/resolve_policy.ts";
import { SharedTable } from "../../../lib/limiter/shared_table.ts";
import { type KeyedSource, sourceOf } from "../../support/shared_clock.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { redisTest } from "../../support/redis_server.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { storeOn, timedConnection } from "../../support/timed_store.ts";

const WINDOWED = ["fixed-window", "sliding-window", "token-bucket"] as const satisfies AlgorithmName[];

for (const algorithm of WINDOWED) {
  redisTest(
    `serve() lets refused clients in again after a start with a shorter window: ${algorithm}`,
    async (redis) => {
      await using upstream = startUpstream();
      const start = (window: string, limit: number) =>
        startProxy({
          upstreams: [upstream.address],
          limiter: {
            key: "ip",
            algorithm,
            limit,
            window,
            keepAlive: true,
            store: { type: "redis", url: redis.url, timeout: "5s", onStoreError: "closed" },
          },
        });
      {
        await using proxy = await start("1h", 2);
        const statuses = [await proxy.ask(), await proxy.ask(), await proxy.ask()];
        assertEquals(statuses.map(({ status }) => status), [200, 200, 429]);
      }
      await using proxy = await start("50ms", 2);
      let answer = await proxy.ask();
      for (let i = 0; i < 2000 && answer.status !== 200; i++) {
        assertEquals([answer.status, answer.field("retry-after")], [429, "1"]);
        answer = await proxy.ask();
      }
      assertEquals(answer.status, 200);
    },
  );

  redisTest(
    `RedisStore refuses nobody for longer when the clock of Redis is set back: ${algorithm}`,
    async (redis) => {
      const HOUR_US = 3_600_000_000;
      const WINDOW_MS = 60_000;
      const clock = new FakeClock();
      const random = seededRandom(1);
      let nowUs = 1_767_225_600_000_000;
      await using connection = await timedConnection(redis.url, () => nowUs);
      const policies = resolvePolicies<KeyedSource>({
        key: (_, { key }) => key,
        algorithm,
        limit: 2,
        window: WINDOW_MS,
      });
      const memory = new MemoryStore(SharedTable.create({ clock, random }));
      const store = storeOn(connection, policies, memory, { clock });
      using limiter = new RateLimiter<KeyedSource>(policies, { clock, random, store });
      const ask = async () => await limiter.decide(sourceOf("a"));
      assertEquals([(await ask()).kind, (await ask()).kind, (await ask()).kind], [
        "allowed",
        "allowed",
        "limited",
      ]);
      nowUs -= HOUR_US;
      const backAt = nowUs;
      // As a client does that waits as long as it is told.
      let decision = await ask();
      for (let i = 0; i < 10 && decision.kind === "limited"; i++) {
        nowUs += decision.retryAfterMs * 1000;
        decision = await ask();
      }
      assertEquals(decision.kind, "allowed");
      assert(nowUs - backAt <= 2 * WINDOW_MS * 1000, `waited ${(nowUs - backAt) / 1000} ms`);
    },
  );
}

redisTest(
  "ProxyServer.reload() goes on with what Redis has counted, and with permits that requests hold",
  async (redis) => {
    const held = Promise.withResolvers<Response>();
    const arrived = Promise.withResolvers<void>();
    await using upstream = startUpstream({
      handler: ({ url }) => {
        if (!url.endsWith("/held")) return new Response("quick");
        arrived.resolve();
        return held.promise;
      },
    });
    const store = { type: "redis", url: redis.url, timeout: "5s", onStoreError: "closed" } as const;
    const config = (gracePeriod: string) => ({
      listen: "127.0.0.1:0",
      upstreams: [upstream.address],
      gracePeriod,
      limiter: [
        { name: "count", key: "header:user", limit: 2, window: "1h", store },
        { name: "at-once", key: "header:held", limit: 1, algorithm: "concurrency", window: "1h", store },
      ] as const,
    });
    await using proxy = await startProxy(config("10s"));
    const ask = async (line: string) => (await proxy.ask("GET /", [line])).status;
    assertEquals(await ask("user: x"), 200);
    const running = proxy.ask("GET /held", ["held: y"]);
    await arrived.promise;
    assertEquals((await proxy.server.reload(config("11s"))).problems, []);
    assertEquals([await ask("user: x"), await ask("user: x"), await ask("held: y")], [200, 429, 429]);
    held.resolve(new Response("late"));
    assertEquals((await running).text, "late");
    let status = 0;
    for (let tries = 0; status !== 200 && tries < 1000; tries++) status = await ask("held: y");
    assertEquals(status, 200);
  },
);
