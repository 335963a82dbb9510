/** Decisions per second with Redis, and commands per decision. */

import type { LimiterPolicy } from "../../lib/limiter/policy.ts";
import type { RedisServer } from "../../tests/support/redis_server.ts";
import { quantile } from "./quantiles.ts";
import { type Asker, askers, sharedLimiter } from "./shared_limiter.ts";

/** The cases: number of policies, concurrent clients, and permits per prefetch. */
const CASES = [
  { name: "one after the other", tiers: 1, concurrent: 1, prefetch: 1 },
  { name: "64 at once", tiers: 1, concurrent: 64, prefetch: 1 },
  { name: "64 at once, three policies", tiers: 3, concurrent: 64, prefetch: 1 },
  { name: "64 at once, prefetch of 10", tiers: 1, concurrent: 64, prefetch: 10 },
] as const;

/** A row for each case. */
export async function measureThroughput(
  redis: RedisServer,
  decisions: number,
): Promise<Record<string, string>[]> {
  const rows: Record<string, string>[] = [];
  for (const each of CASES) {
    rows.push(await measure(redis, each.concurrent === 1 ? decisions / 10 : decisions, each));
  }
  return rows;
}

async function measure(
  redis: RedisServer,
  decisions: number,
  { name, tiers, concurrent, prefetch }: (typeof CASES)[number],
): Promise<Record<string, string>> {
  const store = {
    type: "redis",
    url: redis.url,
    prefix: name.replaceAll(" ", "-"),
    timeout: "5s",
    // A decision without Redis must fail the measurement.
    onStoreError: "closed",
    prefetch,
  } as const;
  const policies = Array.from({ length: tiers }, (_, i): LimiterPolicy<Asker> => {
    return { name: `tier${i}`, key: (_, { key }) => key, limit: 1_000_000_000, window: "1h", store };
  });
  await using shared = await sharedLimiter(policies);
  const { limiter } = shared;
  const sources = askers(1000);
  const waits: number[] = [];
  const ask = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) {
      const start = performance.now();
      const { kind } = await limiter.decide(sources[waits.length % sources.length]!);
      waits.push(performance.now() - start);
      if (kind !== "allowed") throw new Error(`a decision was "${kind}"`);
    }
  };
  await ask(2000);
  waits.length = 0;
  const before = await commands(redis);
  const start = performance.now();
  await Promise.all(Array.from({ length: concurrent }, () => ask(Math.ceil(decisions / concurrent))));
  const seconds = (performance.now() - start) / 1000;
  const sent = await commands(redis) - before;
  return {
    case: name,
    "decisions/s": (waits.length / seconds).toFixed(0),
    "p50 ms": quantile(waits, 0.5).toFixed(3),
    "p99 ms": quantile(waits, 0.99).toFixed(3),
    "commands a decision": (sent / waits.length).toFixed(3),
  };
}

/** Number of commands that were sent for decisions. */
async function commands(redis: RedisServer): Promise<number> {
  return await redis.calls("eval") + await redis.calls("evalsha");
}
