/** Finds limits of routes that cannot be counted together with the others. */

import type * as v from "valibot";
import { MAX_POLICIES } from "../../limiter/limiter.ts";
import { MAX_SKETCHES } from "../../limiter/table_layout.ts";
import { isRecord, pathItem } from "./options_object.ts";

type Path = [v.IssuePathItem, ...v.IssuePathItem[]];

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
