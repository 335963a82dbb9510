/** The limits of routes, beside those of the configuration. */

import type { LimiterPolicy, ResolvedPolicy } from "../limiter/policy.ts";
import { resolvePolicies } from "../limiter/resolve_policy.ts";
import type { ProxyConfig, ResolvedConfig } from "./proxy_config.ts";
import type { RouteOptions } from "./route_options.ts";

/** Completes the limits of one route after the other; policies count by their names, so that each needs its own. */
export class RouteLimits {
  readonly #shared: readonly ResolvedPolicy[];
  readonly #known = new Map<unknown, readonly ResolvedPolicy[] | null>();
  readonly #names: Set<string>;

  /** @param limiter the configuration's, as written; `shared` is the same, complete */
  constructor(limiter: ProxyConfig["limiter"], shared: readonly ResolvedPolicy[]) {
    this.#shared = shared;
    this.#names = new Set(shared.map(({ name }) => name));
    // A route that names the configuration's limits has nothing of its own.
    this.#known.set(limiter, null);
  }

  /** The policies of a route, the configuration's in front; `null` when it has only those. */
  of(limiter: RouteOptions["limiter"], route: string): readonly ResolvedPolicy[] | null {
    if (limiter === undefined) return null;
    if (limiter === false) return [];
    let policies = this.#known.get(limiter);
    if (policies === undefined) {
      const own = (Array.isArray(limiter) ? limiter : [limiter]) as LimiterPolicy[];
      const named = own.map((policy) => ({ ...policy, name: policy.name ?? this.#freeName(route) }));
      policies = Object.freeze([...this.#shared, ...resolvePolicies(named)]);
      this.#known.set(limiter, policies);
    }
    return policies;
  }

  #freeName(route: string): string {
    const base = route.replaceAll(/[^ -~]/g, "?");
    let name = base;
    for (let n = 2; this.#names.has(name); n++) name = `${base}-${n}`;
    this.#names.add(name);
    return name;
  }
}

/** Each policy of a configuration and of its routes, once. */
export function allPolicies(
  { limiter, routes }: Pick<ResolvedConfig, "limiter" | "routes">,
): readonly ResolvedPolicy[] {
  return [...new Set([...limiter, ...routes.flatMap((route) => route.limiter ?? [])])];
}
