/** Descriptions of limits, keys and routes in plain words. */

import { formatDuration } from "../core/units.ts";
import { describeFilters } from "../filter/filters.ts";
import type { KeySpec } from "../limiter/key_spec.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { type ResolvedRedisStore, storeAddress } from "../limiter/redis_store_options.ts";
import { tableSize } from "../limiter/table_layout.ts";
import { LEASE_US } from "../redis/scripts.ts";
import type { RewriteOptions } from "../routing/rewrite.ts";
import { listOf, type RouteMatch } from "../routing/route_match.ts";
import type { Timeouts } from "../transport/transport.ts";
import type { ResolvedConfig } from "./proxy_config.ts";
import { describeRetries } from "./retry_options.ts";
import type { ResolvedRoute } from "./route_options.ts";

/** Describes a key: `client address`, `header appid`, `path and cookie sid`. */
export function describeKey(key: KeySpec): string {
  if (typeof key === "function") return "key that key() returns";
  if (typeof key !== "string") return key.map((part) => describeKey(part)).join(" and ");
  if (key === "ip") return "client address";
  if (key === "certificate:fingerprint") return "client certificate";
  const colon = key.indexOf(":");
  if (colon < 0) return key;
  const [kind, name] = [key.slice(0, colon), key.slice(colon + 1)];
  return `${kind === "query" ? "query parameter" : kind} ${name}`;
}

/** Keys that are never missing. */
const ALWAYS_THERE = ["ip", "path", "host"];

/**
 * Describes a limit, one sentence per line: `at most 1 request per 1s for each header appid`.
 *
 * @param store where requests are counted; limits of routes use the store of the configuration
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
  if (response !== null) lines.push("refused requests get response()");
  lines.push(
    headers.length === 0 ? "no response fields about limits" : `response fields: ${headers.join(", ")}`,
  );
  return lines;
}

/** Describes where limits are counted, and what limits the number of keys. */
export function describeCounts(policies: readonly ResolvedPolicy[]): readonly string[] {
  const { store } = policies[0]!;
  if (store === null) return [describeMemory(policies)];
  const { prefix, timeoutMs, onStoreError, instances, prefetch } = store;
  const otherwise = {
    open: "let pass",
    closed: "refused",
    local: instances === 1
      ? "counted by this instance alone"
      : `counted by this instance alone, which grants a part in ${instances} of each limit`,
  };
  return [
    `shared in ${storeAddress(store)} under the prefix ${prefix}`,
    "  as many keys as fit its memory (maxmemory); maxKeys does not limit them",
    ...(prefetch === 1 ? [] : [`  taken from there ${prefetch} requests at a time`]),
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

/** `one per 200ms`; `3 per 1s` if the interval is not a whole number of milliseconds. */
function describeRate(limit: ResolvedPolicy["limit"], windowMs: number): string {
  if (typeof limit === "function") return `what limit() says per ${formatDuration(windowMs)}`;
  if (limit === 0 || windowMs % limit !== 0) return `${limit} per ${formatDuration(windowMs)}`;
  return `one per ${formatDuration(windowMs / limit)}`;
}

/** The maximum that a client can achieve by timing its requests, if it exceeds the limit. */
function describeBurst({ algorithm, limit, windowMs }: ResolvedPolicy, shared: boolean): string | null {
  const window = formatDuration(windowMs);
  if (algorithm === "concurrency") {
    if (shared) {
      const lease = formatDuration(LEASE_US / 1000);
      return `held while a request runs; permits of an instance that died are free again after ${lease}`;
    }
    return `held while a request runs; permits of a worker that died are free again after ${window} to twice that`;
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

/** Describes the match and target of each route, and the treatment of paths; nothing without routes. */
export function describeRoutes(routes: readonly ResolvedRoute[], common: Common): readonly string[] {
  const paths = `paths     ${describePaths(common)}`;
  // Without routes no path is compared.
  if (routes.length === 0) return common.paths === "refuse" || common.forward === "normalized" ? [paths] : [];
  return [
    ...routes.flatMap((route) => describeRoute(route, common)),
    ...(routes.some(({ match }) => matchesEverything(match))
      ? []
      : ["          a request that no route matches gets 404"]),
    paths,
  ];
}

/** Treatment of paths. */
type Paths = Pick<ResolvedRoute, "paths" | "forward">;

/** Options of the configuration that routes inherit. */
type Common = Paths & Pick<ResolvedConfig, "limiter">;

function describePaths({ paths, forward }: Paths): string {
  const compared = paths === "raw"
    ? "compared as they stand"
    : paths === "refuse"
    ? "taken in their normal form alone"
    : "compared in their normal form";
  return `${compared}; servers get them ${forward === "normalized" ? "in that form" : "unchanged"}`;
}

function describeRoute(route: ResolvedRoute, common: Common): readonly string[] {
  const { name, match, rewrite, rewriteOptions, limiter, timeouts, filterSets, paths, forward } = route;
  const filters = describeFilters(filterSets);
  const times = describeTimeouts(timeouts);
  return [
    `route     ${name}: ${describeMatch(match)} -> ${describeTarget(route)}`,
    ...(paths === common.paths && forward === common.forward ? [] : [`  paths     ${describePaths(route)}`]),
    ...(rewrite === null ? [] : [`  rewrite   ${describeRewrite(rewriteOptions)}`]),
    ...(limiter === null ? [] : describeLimiter(limiter, common)),
    ...(times === "" ? [] : [`  timeouts  ${times}`]),
    ...(route.retries === undefined ? [] : [`  retries   ${describeRetries(route.retries)}`]),
    ...(filters.length === 0 ? [] : [`  filters   ${filters.join(", ")}`]),
  ];
}

/** @param options `null` if the rewrite is a function */
function describeRewrite(options: RewriteOptions | null): string {
  if (options === null) return "by rewrite()";
  const { stripPrefix, replace, prefix } = options;
  const parts = [
    ...(stripPrefix === undefined ? [] : [`removes ${stripPrefix} from the beginning of the path`]),
    ...(replace === undefined ? [] : [
      `replaces ${replace[0] instanceof RegExp ? replace[0] : JSON.stringify(replace[0])} by ${
        JSON.stringify(replace[1])
      }`,
    ]),
    ...(prefix === undefined ? [] : [`puts ${prefix} in front`]),
  ];
  return parts.length === 0 ? "nothing" : parts.join(", ");
}

/** Whether every request matches. */
export function matchesEverything({ path, ...others }: RouteMatch): boolean {
  const paths = listOf(path);
  return describeMatch(others) === "everything" && (paths === null || paths.includes("/*"));
}

function describeMatch({ host, path, method, headers = {} }: RouteMatch): string {
  const parts = [
    ...(method === undefined ? [] : [listOf(method)!.join(" or ")]),
    ...(host === undefined ? [] : [`host ${listOf(host)!.join(" or ")}`]),
    ...(path === undefined ? [] : [`path ${listOf(path)!.join(" or ")}`]),
    ...Object.entries(headers).map(([name, wanted]) => {
      if (typeof wanted === "boolean") return `${wanted ? "with" : "without"} ${name}`;
      return `${name} ${typeof wanted === "string" ? JSON.stringify(wanted) : `like ${wanted}`}`;
    }),
  ];
  return parts.length === 0 ? "everything" : parts.join(", ");
}

function describeTarget({ pools, splitKey }: ResolvedRoute): string {
  if (pools.length === 1) return `pool ${pools[0]![0]}`;
  const total = pools.reduce((sum, [, weight]) => sum + weight, 0);
  const shares = pools.map(([name, weight]) =>
    `${Number((100 * weight / total).toPrecision(3))}% pool ${name}`
  );
  return `${shares.join(", ")}${splitKey === null ? "" : ` by ${describeKey(splitKey)}`}`;
}

function describeLimiter(policies: ResolvedRoute["limiter"] & object, common: Common): readonly string[] {
  if (policies.length === 0) return ["  limits    none"];
  const store = common.limiter[0]?.store ?? null;
  return policies.flatMap((policy) => [
    `  limit     ${policy.name}`,
    ...describeLimit(policy, store).map((line) => `    ${line}`),
  ]);
}

function describeTimeouts({ connectMs, tlsMs, responseMs, idleMs, totalMs }: Partial<Timeouts>): string {
  const tls = tlsMs === connectMs ? undefined : tlsMs;
  return Object.entries({ connect: connectMs, TLS: tls, response: responseMs, idle: idleMs, total: totalMs })
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name} ${formatDuration(value!)}`)
    .join(", ");
}
