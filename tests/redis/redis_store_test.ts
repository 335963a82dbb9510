import { assertEquals } from "@std/assert";
import { systemClock as clock } from "../../lib/core/clock.ts";
import { seededRandom } from "../../lib/core/random.ts";
import { RateLimiter } from "../../lib/limiter/limiter.ts";
import { MemoryStore } from "../../lib/limiter/memory_store.ts";
import { resolvePolicies } from "../../lib/limiter/resolve_policy.ts";
import { SharedTable } from "../../lib/limiter/shared_table.ts";
import { RedisStores } from "../../lib/redis/redis_stores.ts";
import { type KeyedSource, sourceOf } from "../limiter/shared_clock.ts";
import { redisTest } from "../support/redis_server.ts";

redisTest(
  "RateLimiter.reset() forgets what Redis has counted for a key, and that it was refused",
  async (redis) => {
    const random = seededRandom(1);
    await using stores = new RedisStores({ clock, onAvailability() {} });
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
    const long = "x".repeat(1000);
    for (const key of ["a", long]) {
      assertEquals([await ask(key), await ask(key), await ask(key)], ["allowed", "limited", "limited"]);
      limiter.reset(key);
      // What the limiter forgets of long keys takes a turn to name.
      if (key === long) await crypto.subtle.digest("SHA-256", new Uint8Array(1));
    }
    assertEquals([await ask("a"), await ask("a")], ["allowed", "limited"]);
    assertEquals([await ask(long), await ask(long)], ["allowed", "limited"]);
  },
);
