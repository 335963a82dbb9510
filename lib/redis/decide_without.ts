/** What becomes of requests while Redis does not answer. */

import type { Charge } from "../limiter/charge.ts";
import type { Admitted } from "../limiter/limiter_store.ts";
import type { MemoryStore } from "../limiter/memory_store.ts";
import type { ResolvedRedisStore } from "../limiter/redis_store_options.ts";

/** What a client is told to wait that is refused because nobody can count it. */
const RETRY_AFTER_US = 1_000_000;

/** Decides by what the configuration wants: lets pass, refuses, or counts in this instance's own table. */
export function decideWithout(
  { onStoreError, instances }: ResolvedRedisStore,
  memory: MemoryStore,
  charges: readonly Charge[],
  count: number,
): Admitted {
  for (let i = 0; i < count; i++) charges[i]!.place = onStoreError === "local" ? "table" : "nowhere";
  switch (onStoreError) {
    case "local":
      return decideLocally(memory, charges, count, instances);
    case "open":
      for (let i = 0; i < count; i++) say(charges[i]!, true);
      return true;
    case "closed":
      return refuseAll(charges, count);
  }
}

function decideLocally(
  memory: MemoryStore,
  charges: readonly Charge[],
  count: number,
  instances: number,
): boolean {
  for (let i = 0; i < count; i++) {
    const { rule } = charges[i]!;
    rule.limit = partOf(rule.limit, instances);
    rule.burst = partOf(rule.burst, instances);
  }
  return memory.admit(charges, count);
}

/** What one of so many instances may grant: together they grant no more than the limit, unless it is less than one each. */
function partOf(limit: number, instances: number): number {
  return limit > 0 ? Math.max(1, Math.floor(limit / instances)) : limit;
}

function refuseAll(charges: readonly Charge[], count: number): Admitted {
  let refused = false;
  for (let i = 0; i < count; i++) {
    const charge = charges[i]!;
    say(charge, false);
    if (!charge.policy.dryRun) refused = true;
  }
  return refused ? "store-error" : true;
}

function say({ verdict, rule, cost }: Charge, admitted: boolean): void {
  verdict.admitted = admitted;
  verdict.remaining = admitted ? Math.max(0, Math.floor(rule.burst - cost)) : 0;
  verdict.retryAfterUs = admitted ? 0 : RETRY_AFTER_US;
  verdict.resetUs = admitted ? rule.windowUs : RETRY_AFTER_US;
}
