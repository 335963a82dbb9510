import { assertEquals } from "@std/assert";
import { systemClock as clock } from "../../../lib/core/clock.ts";
import { seededRandom } from "../../../lib/core/random.ts";
import { RateLimiter } from "../../../lib/limiter/limiter.ts";
import { MemoryStore } from "../../../lib/limiter/memory_store.ts";
import { resolvePolicies } from "../../../lib/limiter/resolve_policy.ts";
import { SharedTable } from "../../../lib/limiter/shared_table.ts";
import { RedisStores } from "../../../lib/redis/redis_store.ts";
import { type KeyedSource, sourceOf } from "../../support/shared_clock.ts";
import { redisTest } from "../../support/redis_server.ts";

let ids = 0;
const createId = (): number => ++ids;

redisTest(
  "RateLimiter.reset() forgets what Redis has counted for a key, and that it was refused",
  async (redis) => {
    const random = seededRandom(1);
    await using stores = new RedisStores({ clock, createId, onAvailability() {} });
    const policies = resolvePolicies<KeyedSource>({
      key: (_, source) => source.key,
      limit: 1,
      window: "1h",
      store: { type: "redis", url: redis.url, timeout: "5s" },
    });
    const table = SharedTable.create({ clock, random });
    const options = policies[0]!.store!;
    const store = stores.open({ policies, options, memory: new MemoryStore(table), scope: "" });
    await stores.ready();
    using limiter = new RateLimiter<KeyedSource>(policies, { clock, random, table, store });
    const ask = async (key: string) => (await limiter.decide(sourceOf(key))).kind;
    assertEquals([await ask("a"), await ask("a"), await ask("a")], ["allowed", "limited", "limited"]);
    limiter.reset("a");
    assertEquals([await ask("a"), await ask("a")], ["allowed", "limited"]);
  },
);

redisTest(
  "RedisStore with prefetch asks once for many requests, and admits no more than the limit",
  async (redis) => {
    const random = seededRandom(1);
    await using stores = new RedisStores({ clock, createId, onAvailability() {} });
    const policies = resolvePolicies<KeyedSource>({
      key: (_, source) => source.key,
      limit: 25,
      window: "1h",
      store: { type: "redis", url: redis.url, timeout: "5s", prefetch: 10 },
    });
    const open = (): RateLimiter<KeyedSource> => {
      const table = SharedTable.create({ clock, random });
      const options = policies[0]!.store!;
      const store = stores.open({ policies, options, memory: new MemoryStore(table), scope: "" });
      return new RateLimiter<KeyedSource>(policies, { clock, random, table, store });
    };
    using one = open();
    using two = open();
    await stores.ready();
    const remaining: (number | string)[] = [];
    for (let i = 0; i < 16; i++) {
      for (const limiter of [one, two]) {
        const decision = await limiter.decide(sourceOf("a"));
        remaining.push(decision.kind === "allowed" ? decision.remaining : decision.kind);
      }
    }
    assertEquals(remaining.slice(0, 4), [24, 14, 23, 13]);
    assertEquals(remaining.filter((each) => each !== "limited").length, 25);
    // Two grants of ten, five single ones that no grant fits for any more, and a refusal for each; and one look whether
    // the store counts, by the connection that both share.
    assertEquals(await redis.calls("evalsha") + await redis.calls("eval"), 10);
  },
);

redisTest("RedisStore gives places back that were granted too late", async (redis) => {
  const random = seededRandom(1);
  await using stores = new RedisStores({ clock, createId, onAvailability() {} });
  const policies = resolvePolicies<KeyedSource>({
    key: (_, source) => source.key,
    limit: 1,
    algorithm: "concurrency",
    store: { type: "redis", url: redis.url, timeout: "20ms", onStoreError: "closed" },
  });
  const table = SharedTable.create({ clock, random });
  const options = policies[0]!.store!;
  const store = stores.open({ policies, options, memory: new MemoryStore(table), scope: "" });
  await stores.ready();
  using limiter = new RateLimiter<KeyedSource>(policies, { clock, random, table, store });
  redis.pause();
  const decision = await limiter.decide(sourceOf("a"));
  redis.resume();
  assertEquals(decision.kind === "limited" && decision.reason, "store-error");
  // Scripts are sent as text the first time: the look whether the store counts, the begin of the session, and the decision
  // that nobody waits for; then comes what takes it back.
  for (let i = 0; i < 1000 && await redis.calls("evalsha") < 1; i++);
  assertEquals([await redis.calls("eval"), await redis.calls("evalsha")], [3, 1]);
  assertEquals(await redis.command("KEYS", "*:c:*"), "*0\r\n");
});
