/** The limiter of the proxy, without the proxy. */

import { systemClock as clock } from "../../lib/core/clock.ts";
import { systemRandom as random } from "../../lib/core/random.ts";
import { RateLimiter } from "../../lib/limiter/limiter.ts";
import { MemoryStore } from "../../lib/limiter/memory_store.ts";
import type { KeySource } from "../../lib/limiter/key_spec.ts";
import type { LimiterPolicy } from "../../lib/limiter/policy.ts";
import { resolvePolicies } from "../../lib/limiter/resolve_policy.ts";
import { SharedTable } from "../../lib/limiter/shared_table.ts";
import { RedisStores } from "../../lib/redis/redis_store.ts";

/** A client with a key. */
export interface Asker extends KeySource {
  readonly key: string;
}

/** A limiter with its connection. */
export interface SharedLimiter extends AsyncDisposable {
  readonly limiter: RateLimiter<Asker>;
  /** Resolves when the store is lost. */
  readonly lost: Promise<void>;
}

/** Makes a limiter of policies that have the same store. */
export async function sharedLimiter(list: readonly LimiterPolicy<Asker>[]): Promise<SharedLimiter> {
  await using stack = new AsyncDisposableStack();
  const { promise: lost, resolve } = Promise.withResolvers<void>();
  const stores = stack.use(
    new RedisStores({
      clock,
      createId: () => 1 + Math.floor(random() * 2 ** 32),
      onAvailability: (_, available) => available ? undefined : resolve(),
    }),
  );
  const policies = resolvePolicies<Asker>(list);
  const table = SharedTable.create({ clock, random });
  const options = policies[0]!.store!;
  const store = stores.open({ policies, options, memory: new MemoryStore(table), scope: "" });
  const limiter = stack.use(new RateLimiter<Asker>(policies, { clock, random, table, store }));
  await stores.ready();
  const owned = stack.move();
  return { limiter, lost, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Makes clients with `count` different keys. */
export function askers(count: number): readonly Asker[] {
  const request = new Request("http://a.example/");
  return Array.from({ length: count }, (_, i) => {
    return { key: `client${i}`, request, clientIp: "", target: "/", host: "" };
  });
}
