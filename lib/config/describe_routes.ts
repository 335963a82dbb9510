/** Routes in plain words. */

import { formatDuration } from "../core/duration.ts";
import { listOf, type RouteMatch } from "../routing/route_match.ts";
import type { Timeouts } from "../transport/transport.ts";
import { describeRetries } from "./retry_options.ts";
import { describeKey } from "./describe_key.ts";
import { describeLimit } from "./describe_limit.ts";
import type { ResolvedConfig } from "./proxy_config.ts";
import type { ResolvedRoute } from "./route_options.ts";

/** Says what each route takes and where that goes, and what is done with paths; nothing where there are none. */
export function describeRoutes(routes: readonly ResolvedRoute[], common: Common): readonly string[] {
  const paths = `paths     ${describePaths(common)}`;
  // Without routes nothing is compared.
  if (routes.length === 0) return common.paths === "refuse" || common.forward === "normalized" ? [paths] : [];
  return [
    ...routes.flatMap((route) => describeRoute(route, common)),
    "          404 for what no route takes",
    paths,
  ];
}

/** What is done with paths. */
type Paths = Pick<ResolvedRoute, "paths" | "forward">;

/** What the configuration says for all routes. */
type Common = Paths & Pick<ResolvedConfig, "limiter">;

function describePaths({ paths, forward }: Paths): string {
  const compared = paths === "raw"
    ? "compared as they stand"
    : paths === "refuse"
    ? "taken in their normal form alone"
    : "compared in their normal form";
  return `${compared}; servers get them ${forward === "normalized" ? "in that form" : "as they came"}`;
}

function describeRoute(route: ResolvedRoute, common: Common): readonly string[] {
  const { name, match, rewrite, limiter, timeouts, filters, paths, forward } = route;
  const phases = Object.keys(filters);
  const times = describeTimeouts(timeouts);
  return [
    `route     ${name}: ${describeMatch(match)} -> ${describeTarget(route)}`,
    ...(paths === common.paths && forward === common.forward ? [] : [`  paths     ${describePaths(route)}`]),
    ...(rewrite === null ? [] : ["  rewrite   the target"]),
    ...(limiter === null ? [] : describeLimiter(limiter, common)),
    ...(times === "" ? [] : [`  timeouts  ${times}`]),
    ...(route.retries === undefined ? [] : [`  retries   ${describeRetries(route.retries)}`]),
    ...(phases.length === 0 ? [] : [`  filters   ${phases.join(", ")}`]),
  ];
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
