/** Limits in plain words. */

import { formatDuration } from "../core/duration.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { type ResolvedRedisStore, storeAddress } from "../limiter/redis_store_options.ts";
import { tableSize } from "../limiter/table_layout.ts";
import { LEASE_US } from "../redis/permit_script.ts";
import { describeKey } from "./describe_key.ts";

/** Keys that every request has. */
const ALWAYS_THERE = ["ip", "path", "host"];

/**
 * Says what a limit does, one sentence a line: `at most 1 request per 1s for each header appid`.
 *
 * @param store where it is counted; for limits of routes that is where those of the configuration are
 */
export function describeLimit(
  policy: ResolvedPolicy,
  store: ResolvedRedisStore | null = policy.store,
): readonly string[] {
  const { keySpec, cost, charge, dryRun, penalize, keepAlive, headers, response } = policy;
  const each = describeKey(keySpec);
  const lines = [`${describeAmount(policy)} for each ${each}`];
  const burst = describeBurst(policy, store !== null);
  if (burst !== null) lines.push(burst);
  if (!ALWAYS_THERE.some((key) => key === keySpec)) lines.push(describeMissingKey(policy, each));
  if (cost !== 1) lines.push(`a request counts ${typeof cost === "function" ? "what cost() says" : cost}`);
  if (charge !== null) lines.push("when it is over, it counts what charge() says");
  lines.push(...describeExempt(policy));
  if (penalize) lines.push("refused requests count too");
  if (dryRun) lines.push("dry run: counts, and refuses nobody");
  if (keepAlive) lines.push("connections of refused clients stay open");
  if (response !== null) lines.push("refusals are answered by response()");
  lines.push(
    headers.length === 0 ? "clients are told of refusals only" : `clients are told by ${headers.join(", ")}`,
  );
  return lines;
}

/** Says where limits are counted, and what bounds how many keys there can be. */
export function describeCounts(policies: readonly ResolvedPolicy[]): readonly string[] {
  const { store } = policies[0]!;
  if (store === null) return [describeMemory(policies)];
  const { prefix, timeoutMs, onStoreError, instances, lease } = store;
  const otherwise = {
    open: "let pass",
    closed: "refused",
    local: instances === 1
      ? "counted by this instance alone"
      : `counted by this instance alone, which grants a part in ${instances} of each limit`,
  };
  return [
    `shared in ${storeAddress(store)} under the prefix ${prefix}`,
    "  as many keys as that has memory for (its maxmemory), each until it counts for nothing; maxKeys does not bound them",
    ...(lease === 1 ? [] : [`  taken from there ${lease} requests at a time`]),
    `  requests that it does not decide about within ${formatDuration(timeoutMs)} are ${
      otherwise[onStoreError]
    }`,
    `  maxKeys is for ${
      onStoreError === "local" ? `those, and for bans: ${describeMemory(policies)}` : "bans"
    }`,
  ];
}

function describeMemory(policies: readonly ResolvedPolicy[]): string {
  const maxKeys = policies.reduce((sum, policy) => sum + policy.maxKeys, 0);
  const { byteLength } = tableSize(maxKeys, policies.length);
  const megabytes = (byteLength / 2 ** 20).toFixed(1);
  return `${maxKeys} keys counted exactly in ${megabytes} MiB; further ones evict those that have used least`;
}

function describeAmount(policy: ResolvedPolicy): string {
  const { algorithm, limit, burst, windowMs } = policy;
  const window = formatDuration(windowMs);
  switch (algorithm) {
    case "fixed-window":
      return describeCount(limit, "limit", `per ${window}`);
    case "sliding-window":
      return describeCount(limit, "limit", `per ${window}, sliding,`);
    case "concurrency":
      return describeCount(limit, "limit", "at the same time");
    case "token-bucket": {
      const atOnce = describeCount(burst ?? limit, burst === null ? "limit" : "burst", "at once");
      return `${atOnce}, then ${describeRate(limit, windowMs)},`;
    }
  }
}

function describeCount(count: ResolvedPolicy["limit"], option: string, when: string): string {
  if (typeof count === "function") return `as many requests ${when} as ${option}() says`;
  return `at most ${count} ${count === 1 ? "request" : "requests"} ${when}`;
}

/** `one per 200ms`; where that is no round time, `3 per 1s`. */
function describeRate(limit: ResolvedPolicy["limit"], windowMs: number): string {
  if (typeof limit === "function") return `what limit() says per ${formatDuration(windowMs)}`;
  if (limit === 0 || windowMs % limit !== 0) return `${limit} per ${formatDuration(windowMs)}`;
  return `one per ${formatDuration(windowMs / limit)}`;
}

/** The most that a client can get through at a moment of its choice, where that is more than the limit. */
function describeBurst({ algorithm, limit, windowMs }: ResolvedPolicy, shared: boolean): string | null {
  const window = formatDuration(windowMs);
  if (algorithm === "concurrency") {
    if (shared) {
      const lease = formatDuration(LEASE_US / 1000);
      return `held for as long as a request runs; what an instance held that died is free again after ${lease}`;
    }
    return `held for as long as a request runs; what a worker held that died is free again after ${window} to twice that`;
  }
  if (algorithm === "token-bucket" || limit === 0) return null;
  if (algorithm === "sliding-window") {
    return `fewer than ${
      typeof limit === "number" ? 2 * limit : "twice as many"
    } in any ${window}, however unevenly they come`;
  }
  return `up to ${typeof limit === "number" ? 2 * limit : "twice as many"} around the end of a window`;
}

function describeMissingKey({ keySpec, onMissingKey }: ResolvedPolicy, each: string): string {
  const without = typeof keySpec === "function" ? "requests without a key" : `requests without ${each}`;
  switch (onMissingKey) {
    case "skip":
      return `${without} are not limited`;
    case "reject":
      return `${without} are refused`;
    case "ip":
      return `${without} are limited for each client address`;
  }
}

function describeExempt({ exempt, exemptNetworks }: ResolvedPolicy): string[] {
  if (exempt === null) return [];
  return [
    `not for ${exemptNetworks === null ? "what exempt() names" : `clients in ${exemptNetworks.join(", ")}`}`,
  ];
}
