/** What parts of a configuration that are good by themselves say against each other. */

import { describeValue } from "../core/describe_value.ts";
import { MAX_POLICIES } from "../limiter/limiter.ts";
import { MAX_SKETCHES } from "../limiter/table_layout.ts";
import type * as v from "valibot";
import { DEFAULT_POOL, isSinglePool } from "./pool_options.ts";
import { isRecord, pathItem } from "./schema/schemas.ts";

type Items = readonly v.IssuePathItem[];
type Path = [v.IssuePathItem, ...v.IssuePathItem[]];

/** The name of a field, and where the configuration has it. */
type NamedField = readonly [name: string, path: Items];

/**
 * Compares the fields that limits, pools and routes name with what listeners do about underscores in names; looks past
 * whatever else is wrong.
 *
 * Without this a limit by such a field would be none.
 */
export function checkFieldNames(config: unknown, addIssue: v.RawCheckContext<unknown>["addIssue"]): void {
  if (!isRecord(config) || passEverywhere(config.listen)) return;
  for (const [name, path] of fieldsOf(config)) {
    if (!name.includes("_")) continue;
    addIssue({
      message: `must not name the field "${name}", which listeners drop unless they say underscores: "pass"`,
      path: path as Path,
    });
  }
}

/** Whether every listener that forwards anything passes such fields on. */
function passEverywhere(listen: unknown): boolean {
  const places: unknown[] = Array.isArray(listen) ? listen : [listen];
  return places.every((place) =>
    isRecord(place) && (place.underscores === "pass" || place.redirect !== undefined)
  );
}

function* fieldsOf(config: Record<string, unknown>): Iterable<NamedField> {
  const { upstreams, routes } = config;
  yield* limiterFields(config, []);
  if (isRecord(upstreams)) {
    const at = [pathItem(config, "upstreams")];
    if (isSinglePool(upstreams)) yield* keyFields(upstreams, "key", at);
    else {
      for (const [name, pool] of Object.entries(upstreams)) {
        if (isRecord(pool)) yield* keyFields(pool, "key", [...at, pathItem(upstreams, name)]);
      }
    }
  }
  if (!Array.isArray(routes)) return;
  for (const [i, route] of routes.entries()) {
    if (isRecord(route)) yield* routeFields(route, [pathItem(config, "routes"), pathItem(routes, i)]);
  }
}

function* routeFields(route: Record<string, unknown>, at: Items): Iterable<NamedField> {
  yield* limiterFields(route, at);
  yield* keyFields(route, "splitKey", at);
  const { match } = route;
  if (!isRecord(match) || !isRecord(match.headers)) return;
  const { headers } = match;
  for (const name of Object.keys(headers)) {
    yield [name, [...at, pathItem(route, "match"), pathItem(match, "headers"), pathItem(headers, name)]];
  }
}

function* limiterFields(holder: Record<string, unknown>, path: Items): Iterable<NamedField> {
  const { limiter } = holder;
  const at = [...path, pathItem(holder, "limiter")];
  if (isRecord(limiter)) yield* keyFields(limiter, "key", at);
  if (!Array.isArray(limiter)) return;
  for (const [i, policy] of limiter.entries()) {
    if (isRecord(policy)) yield* keyFields(policy, "key", [...at, pathItem(limiter, i)]);
  }
}

function* keyFields(holder: Record<string, unknown>, option: string, path: Items): Iterable<NamedField> {
  const spec = holder[option];
  const at = [...path, pathItem(holder, option)];
  const name = fieldOf(spec);
  if (name !== null) yield [name, at];
  if (!Array.isArray(spec)) return;
  for (const [i, part] of spec.entries()) {
    const each = fieldOf(part);
    if (each !== null) yield [each, [...at, pathItem(spec, i)]];
  }
}

/** The field that a key is taken from; `null` when it is taken from something else. */
function fieldOf(key: unknown): string | null {
  return typeof key === "string" && key.startsWith("header:") ? key.slice("header:".length) : null;
}

/** Compares `routes` with `upstreams`; looks past whatever else is wrong. */
export function checkPools(config: unknown, addIssue: v.RawCheckContext<unknown>["addIssue"]): void {
  if (!isRecord(config)) return;
  const { upstreams, routes } = config;
  const pools = poolNames(upstreams);
  if (pools === null) return;
  const quoted = pools.map((name) => `"${name}"`).join(", ");
  const hasDefault = pools.length === 1 || pools.includes(DEFAULT_POOL);
  if (!Array.isArray(routes)) {
    if (hasDefault) return;
    const path: Path = [pathItem(config, "upstreams")];
    return addIssue({
      message: `must have a pool named "${DEFAULT_POOL}" beside ${quoted}, or routes`,
      path,
    });
  }
  routes.forEach((route: unknown, i) => {
    if (!isRecord(route)) return;
    const at: Path = [pathItem(config, "routes"), pathItem(routes, i)];
    const { upstream } = route;
    if (upstream === undefined) {
      if (!hasDefault) {
        addIssue({
          message: `must name an upstream: there is no pool named "${DEFAULT_POOL}" among ${quoted}`,
          path: at,
        });
      }
      return;
    }
    const names = isRecord(upstream) ? Object.keys(upstream) : [upstream];
    for (const name of names) {
      if (typeof name !== "string" || pools.includes(name)) continue;
      const path: Path = [...at, pathItem(route, "upstream")];
      addIssue({ message: `must be a pool, one of ${quoted}, received ${describeValue(name)}`, path });
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

/** Compares the limits of all routes with each other and with those of the configuration. */
export function checkRouteLimits(config: unknown, addIssue: v.RawCheckContext<unknown>["addIssue"]): void {
  if (!isRecord(config) || !Array.isArray(config.routes)) return;
  const { limiter, routes } = config;
  const shared = policiesOf(limiter);
  const seen = new Set<unknown>([limiter]);
  const names = new Set(shared.map(({ name }) => name));
  let count = shared.length;
  routes.forEach((route: unknown, i) => {
    if (!isRecord(route) || seen.has(route.limiter)) return;
    seen.add(route.limiter);
    const own = policiesOf(route.limiter);
    count += own.length;
    const at: Path = [pathItem(config, "routes"), pathItem(routes, i), pathItem(route, "limiter")];
    const issue = (message: string) => addIssue({ message, path: at });
    if (shared.length + own.length > MAX_POLICIES) {
      issue(`must have at most ${MAX_POLICIES - shared.length} policies beside those of the configuration`);
    }
    for (const { name, store } of own) {
      if (store !== undefined && store !== "memory") {
        issue("must not have a store: limits of routes are counted where those of the configuration are");
      }
      if (name === undefined) continue;
      if (names.has(name)) {
        issue(`has the name ${JSON.stringify(name)} of another policy, and would count with it`);
      }
      names.add(name);
    }
  });
  if (count > MAX_SKETCHES) {
    const path: Path = [pathItem(config, "routes")];
    addIssue({ message: `must have at most ${MAX_SKETCHES} policies together, have ${count}`, path });
  }
}

function policiesOf(limiter: unknown): readonly Record<string, unknown>[] {
  const list: unknown[] = Array.isArray(limiter) ? limiter : [limiter];
  return list.filter(isRecord);
}

/** Finds pools that the readiness rests on and that are not there. */
export function checkAdminPools(config: unknown, addIssue: v.RawCheckContext<unknown>["addIssue"]): void {
  if (!isRecord(config) || !isRecord(config.admin) || !isRecord(config.admin.readyz)) return;
  const { admin, upstreams } = config;
  const { readyz } = admin as Record<string, Record<string, unknown>>;
  const pools = poolNames(upstreams);
  if (pools === null || !Array.isArray(readyz!.pools)) return;
  readyz!.pools.forEach((name: unknown, i) => {
    if (typeof name !== "string" || pools.includes(name)) return;
    const expected = pools.map((pool) => `"${pool}"`).join(", ");
    addIssue({
      message: `must be a pool, one of ${expected}, received ${describeValue(name)}`,
      path: [
        pathItem(config, "admin"),
        pathItem(admin, "readyz"),
        pathItem(readyz, "pools"),
        pathItem(readyz!.pools, i),
      ],
    });
  });
}

/** Finds a normal form that servers would get, where routes are chosen by the path as it stands: they would not agree. */
export function checkForward(config: unknown, addIssue: v.RawCheckContext<unknown>["addIssue"]): void {
  if (!isRecord(config)) return;
  const message =
    'must not be "normalized" where "paths" is "raw": route and server would see different paths';
  const isMixed = (forward: unknown, paths: unknown) => forward === "normalized" && paths === "raw";
  if (isMixed(config.forward, config.paths)) addIssue({ message, path: [pathItem(config, "forward")] });
  if (!Array.isArray(config.routes)) return;
  config.routes.forEach((route: unknown, i) => {
    if (!isRecord(route) || !isMixed(route.forward, route.paths ?? config.paths)) return;
    const at = [pathItem(config, "routes"), pathItem(config.routes, i), pathItem(route, "forward")] as const;
    addIssue({ message, path: [...at] });
  });
}
