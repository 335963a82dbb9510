/** Duration of decisions while Redis does not respond. */

import { RedisServer } from "../../tests/support/redis_server.ts";
import { askers, sharedLimiter } from "./shared_limiter.ts";

const CONCURRENT = 64;
/** How long Redis works before it is suspended, and how long it is suspended, in milliseconds. */
const BEFORE_MS = 500;
const AFTER_MS = 2000;

/** A row: the longest wait, and how many decisions waited after the store was lost. */
export async function measureOutage(
  name: string,
  stop: (redis: RedisServer) => Promise<void> | void,
): Promise<Record<string, string>> {
  await using redis = await RedisServer.start();
  await using shared = await sharedLimiter([{
    key: (_, { key }) => key,
    limit: 1_000_000_000,
    window: "1h",
    store: { type: "redis", url: redis.url, timeout: "20ms" },
  }]);
  const { limiter, lost } = shared;
  const sources = askers(1000);
  let phase: "before" | "stopping" | "given up" | "over" = "before";
  const counts = { before: 0, stopping: 0, "given up": 0, over: 0 };
  const longest = { before: 0, stopping: 0, "given up": 0, over: 0 };
  let waited = 0;
  const ask = async (): Promise<void> => {
    for (let i = 0; phase !== "over"; i++) {
      const then = phase;
      const start = performance.now();
      const decision = limiter.decide(sources[i % sources.length]!);
      if (decision instanceof Promise) {
        if (then === "given up") waited++;
        await decision;
      }
      longest[then] = Math.max(longest[then], performance.now() - start);
      counts[then]++;
      // Decisions without a wait must yield, so that others and timers can run.
      if (i % 16 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
  };
  const asking = Array.from({ length: CONCURRENT }, ask);
  await sleep(BEFORE_MS);
  phase = "stopping";
  await stop(redis);
  await lost;
  phase = "given up";
  await sleep(AFTER_MS);
  phase = "over";
  await Promise.all(asking);
  return {
    "Redis": name,
    "longest before, ms": longest.before.toFixed(1),
    "longest until given up, ms": longest.stopping.toFixed(1),
    "decisions after that": String(counts["given up"]),
    "of these waited": String(waited),
    "longest of these, ms": longest["given up"].toFixed(1),
  };
}

function sleep(durationMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, durationMs));
}
