/** Finds keys and conditions by fields that no request can have, since a listener takes them off. */

import type * as v from "valibot";
import { isRecord, pathItem } from "./options_object.ts";
import { isSinglePool } from "./upstreams_schema.ts";

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
