/** Loads what only some configurations need: the client of Redis. */

import type { Clock } from "../core/clock.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import type { Observer } from "../observe/observer.ts";
import type { RedisStores } from "../redis/redis_stores.ts";

/** The stores of a proxy whose policies share their counts with other machines; `null` when none does. */
export async function loadLimiterStores(
  policies: readonly ResolvedPolicy[],
  { clock, observer }: { clock: Clock; observer: Observer },
): Promise<RedisStores | null> {
  if (policies.every(({ store }) => store === null)) return null;
  const { RedisStores } = await load();
  return new RedisStores({
    clock,
    createId,
    onAvailability: (address, available, reason, dropped) =>
      observer.event({ kind: "limiter_store", address, available, reason, dropped }),
  });
}

/** Not by the generator that a program may have given: with the same seed, instances would take each other's. */
function createId(): number {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2)) as unknown as [number, number];
  return Math.max(1, (high & 1) * 2 ** 32 + low);
}

async function load(): Promise<typeof import("../redis/redis_stores.ts")> {
  try {
    return await import("../redis/redis_stores.ts");
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
    throw new Deno.errors.NotCapable(
      "Cannot load the client of Redis, which limiter.store needs: it reads environment variables. Run with " +
        "--allow-env, or with --ignore-env, which shows it none",
      { cause: error },
    );
  }
}
