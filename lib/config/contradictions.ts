/** What parts of a configuration that are good by themselves say against each other. */

import { isRecord, type OptionPath, type Report, type Unchecked } from "../core/options.ts";
import { describeValue } from "../core/describe_value.ts";
import { MAX_POLICIES } from "../limiter/policy.ts";
import { MAX_SKETCHES } from "../limiter/table_layout.ts";
import type { ProxyConfig } from "./proxy_config.ts";
import { DEFAULT_POOL, isSinglePool } from "./pool_options.ts";

/** The name of a field, and where the configuration has it. */
type NamedField = readonly [name: string, path: OptionPath];

/** Finds what the parts of a configuration say against each other; looks past whatever else is wrong. */
export function findContradictions(config: Unchecked<ProxyConfig>, report: Report): void {
  checkPools(config, report);
  checkReadiness(config, report);
  checkRouteLimits(config, report);
  checkForward(config, report);
  checkFieldNames(config, report);
}

/** Finds routes that lead nowhere, and pools that nothing decides between. */
function checkPools({ upstreams, routes }: Unchecked<ProxyConfig>, report: Report): void {
  const pools = poolNames(upstreams);
  if (pools === null) return;
  const quoted = pools.map((name) => `"${name}"`).join(", ");
  const hasDefault = pools.length === 1 || pools.includes(DEFAULT_POOL);
  if (!Array.isArray(routes)) {
    if (!hasDefault) {
      report(`must have a pool named "${DEFAULT_POOL}" beside ${quoted}, or routes`, "upstreams");
    }
    return;
  }
  routes.forEach((route: unknown, i) => {
    if (!isRecord(route)) return;
    const { upstream } = route;
    if (upstream === undefined) {
      const message =
        `must name an upstream, one of ${quoted}, even where a filter responds: none is named "${DEFAULT_POOL}"`;
      return hasDefault ? undefined : report(message, "routes", i);
    }
    for (const name of isRecord(upstream) ? Object.keys(upstream) : [upstream]) {
      if (typeof name !== "string" || pools.includes(name)) continue;
      report(`must be a pool, one of ${quoted}, received ${describeValue(name)}`, "routes", i, "upstream");
    }
  });
}

/** Names of the pools; `null` when the upstreams are too wrong to tell. */
function poolNames(upstreams: unknown): readonly string[] | null {
  if (Array.isArray(upstreams)) return [DEFAULT_POOL];
  if (!isRecord(upstreams)) return null;
  if (isSinglePool(upstreams)) return [DEFAULT_POOL];
  const names = Object.keys(upstreams);
  return names.length === 0 ? null : names;
}

/** Finds pools that the readiness rests on and that are not there. */
function checkReadiness({ admin, upstreams }: Unchecked<ProxyConfig>, report: Report): void {
  const pools = poolNames(upstreams);
  const needed = isRecord(admin) && isRecord(admin.readyz) ? admin.readyz.pools : undefined;
  if (pools === null || !Array.isArray(needed)) return;
  const quoted = pools.map((pool) => `"${pool}"`).join(", ");
  needed.forEach((name: unknown, i) => {
    if (typeof name !== "string" || pools.includes(name)) return;
    const message = `must be a pool, one of ${quoted}, received ${describeValue(name)}`;
    report(message, "admin", "readyz", "pools", i);
  });
}

/** Finds limits of routes that cannot be counted together with each other and those of the configuration. */
function checkRouteLimits({ limiter, routes }: Unchecked<ProxyConfig>, report: Report): void {
  if (!Array.isArray(routes)) return;
  const shared = policiesOf(limiter);
  const seen = new Set<unknown>([limiter]);
  const names = new Set(shared.map(({ name }) => name));
  let count = shared.length;
  routes.forEach((route: unknown, i) => {
    if (!isRecord(route) || seen.has(route.limiter)) return;
    seen.add(route.limiter);
    const own = policiesOf(route.limiter);
    count += own.length;
    const problem = (message: string) => report(message, "routes", i, "limiter");
    if (shared.length + own.length > MAX_POLICIES) {
      problem(`must have at most ${MAX_POLICIES - shared.length} policies beside those of the configuration`);
    }
    for (const { name, store } of own) {
      if (store !== undefined && store !== "memory") {
        problem("must not have a store: limits of routes are counted where those of the configuration are");
      }
      if (name === undefined) continue;
      if (names.has(name)) {
        problem(`has the name ${JSON.stringify(name)} of another policy, and would count with it`);
      }
      names.add(name);
    }
  });
  if (count > MAX_SKETCHES) {
    report(`must have at most ${MAX_SKETCHES} policies together, have ${count}`, "routes");
  }
}

function policiesOf(limiter: unknown): readonly Record<string, unknown>[] {
  const list: unknown[] = Array.isArray(limiter) ? limiter : [limiter];
  return list.filter(isRecord);
}

/** Finds a normal form that servers would get, where routes are chosen by the path as it stands: they would not agree. */
function checkForward({ forward, paths, routes }: Unchecked<ProxyConfig>, report: Report): void {
  const message =
    'must not be "normalized" where "paths" is "raw": route and server would see different paths';
  const isMixed = (forward: unknown, paths: unknown) => forward === "normalized" && paths === "raw";
  if (isMixed(forward, paths)) report(message, "forward");
  if (!Array.isArray(routes)) return;
  routes.forEach((route: unknown, i) => {
    if (isRecord(route) && isMixed(route.forward, route.paths ?? paths)) {
      report(message, "routes", i, "forward");
    }
  });
}

/**
 * Finds keys and conditions by fields that no request can have, since listeners drop those with underscores in their
 * names. Without this a limit by such a field would be none.
 */
function checkFieldNames(config: Unchecked<ProxyConfig>, report: Report): void {
  if (passEverywhere(config.listen)) return;
  for (const [name, path] of fieldsOf(config)) {
    if (!name.includes("_")) continue;
    report(
      `must not name the field ${
        describeValue(name)
      }, which listeners drop unless they say underscores: "pass"`,
      ...path,
    );
  }
}

/** Whether every listener that forwards anything passes such fields on. */
function passEverywhere(listen: unknown): boolean {
  const places: unknown[] = Array.isArray(listen) ? listen : [listen];
  return places.every((place) =>
    isRecord(place) && (place.underscores === "pass" || place.redirect !== undefined)
  );
}

function* fieldsOf({ limiter, upstreams, routes }: Unchecked<ProxyConfig>): Iterable<NamedField> {
  yield* limiterFields(limiter, []);
  if (isRecord(upstreams)) {
    if (isSinglePool(upstreams)) yield* keyFields(upstreams.key, ["upstreams", "key"]);
    else {
      for (const [name, pool] of Object.entries(upstreams)) {
        if (isRecord(pool)) yield* keyFields(pool.key, ["upstreams", name, "key"]);
      }
    }
  }
  if (!Array.isArray(routes)) return;
  for (const [i, route] of routes.entries()) {
    if (!isRecord(route)) continue;
    yield* limiterFields(route.limiter, ["routes", i]);
    yield* keyFields(route.splitKey, ["routes", i, "splitKey"]);
    if (!isRecord(route.match) || !isRecord(route.match.headers)) continue;
    for (const name of Object.keys(route.match.headers)) {
      yield [name, ["routes", i, "match", "headers", name]];
    }
  }
}

function* limiterFields(limiter: unknown, above: OptionPath): Iterable<NamedField> {
  const at = [...above, "limiter"];
  if (isRecord(limiter)) yield* keyFields(limiter.key, [...at, "key"]);
  if (!Array.isArray(limiter)) return;
  for (const [i, policy] of limiter.entries()) {
    if (isRecord(policy)) yield* keyFields(policy.key, [...at, i, "key"]);
  }
}

/** The fields that a key is taken from. */
function* keyFields(key: unknown, at: OptionPath): Iterable<NamedField> {
  const name = fieldOf(key);
  if (name !== null) yield [name, at];
  if (!Array.isArray(key)) return;
  for (const [i, part] of key.entries()) {
    const each = fieldOf(part);
    if (each !== null) yield [each, [...at, i]];
  }
}

function fieldOf(key: unknown): string | null {
  return typeof key === "string" && key.startsWith("header:") ? key.slice("header:".length) : null;
}
