/** Finds routes that lead nowhere, and pools that nothing decides between. */

import { describeValue } from "../../core/describe_value.ts";
import type * as v from "valibot";
import { isRecord, pathItem } from "./options_object.ts";
import { DEFAULT_POOL, isSinglePool } from "./upstreams_schema.ts";

type Path = [v.IssuePathItem, ...v.IssuePathItem[]];

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
export function poolNames(upstreams: unknown): readonly string[] | null {
  if (Array.isArray(upstreams)) return [DEFAULT_POOL];
  if (!isRecord(upstreams)) return null;
  if (isSinglePool(upstreams)) return [DEFAULT_POOL];
  const names = Object.keys(upstreams);
  return names.length === 0 ? null : names;
}
