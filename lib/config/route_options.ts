/** Routes, as configured. */

import {
  ANYTHING,
  byName,
  choose,
  isRecord,
  list,
  must,
  number,
  object,
  oneOrMore,
  orFalse,
  type Report,
  type Rule,
  type Rules,
  text,
  word,
} from "../core/options.ts";
import { LIMITER } from "../limiter/resolve_policy.ts";
import { FILTER_SETS } from "../filter/filters.ts";
import { RETRIES } from "./retry_options.ts";
import { TIMEOUTS } from "./server_options.ts";
import type { Filters, RequestNaming } from "../filter/filters.ts";
import type { RequestContext } from "../filter/request_context.ts";
import { isToken } from "../http/header_fields.ts";
import { KEY_SPEC, type KeySpec } from "../limiter/key_spec.ts";
import type { LimiterPolicy, ResolvedPolicy } from "../limiter/policy.ts";
import {
  hostShape,
  type PathForward,
  type PathMode,
  pathShape,
  type RouteMatch,
} from "../routing/route_match.ts";
import { isOriginForm, type RewriteFunction, type RewriteOptions } from "../routing/rewrite.ts";
import type { Timeouts } from "../transport/transport.ts";
import type { RetryFunction, RetryOptions, RetryPolicy } from "./retry_options.ts";
import type { TimeoutOptions } from "./server_options.ts";

/**
 * Requests with common properties, and their treatment.
 *
 * @example Paths below /api without that prefix, a twentieth of them to a new version
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: { stable: { servers: ["127.0.0.1:9001"] }, canary: { servers: ["127.0.0.1:9002"] } },
 *   routes: [
 *     {
 *       match: { path: "/api/*" },
 *       upstream: { stable: 95, canary: 5 },
 *       splitKey: "cookie:user",
 *       rewrite: { stripPrefix: "/api" },
 *     },
 *     { upstream: "stable" },
 *   ],
 * });
 * ```
 */
export interface RouteOptions<State = unknown> {
  /** Name of the route in `ctx.route` and messages; unique. @default {its host and path} */
  name?: string;
  /** Requests of this route. @default {all} */
  match?: RouteMatch;
  /**
   * Name of a pool, or pools with their shares of the requests: `{ stable: 95, canary: 5 }`.
   *
   * @default {the only pool, or the one named `default`}
   */
  upstream?: string | Readonly<Record<string, number>>;
  /** Key that decides between the pools of `upstream`: requests with the same key go to the same pool. @default {chance} */
  splitKey?: KeySpec<RequestContext<State>>;
  /** How paths are compared with the one of `match`. @default {the configuration's} */
  paths?: PathMode;
  /**
   * Which path the server gets, unless `rewrite` changes it; a route with `paths: "raw"` forwards the path as received.
   *
   * @default {the configuration's}
   */
  forward?: "received" | "normalized";
  /** Changes the path before the server gets it. @default {the target as received} */
  rewrite?: RewriteOptions | ((target: string, ctx: RequestContext<State>) => string);
  /**
   * Limits in addition to those of the configuration: all of them must admit a request. `false` for no limit at all. A
   * policy without a name gets the name of the route. Routes that share one object share its counts.
   *
   * @default {those of the configuration alone}
   */
  limiter?: LimiterPolicy<RequestContext<State>> | readonly LimiterPolicy<RequestContext<State>>[] | false;
  /** Timeouts that replace those of the pool; others stay. @default {the pool's} */
  timeouts?: TimeoutOptions;
  /** Retries of failed requests, instead of the option of the pool. @default {the pool's} */
  retries?: false | RetryOptions | RetryFunction;
  /** Filter sets that run after those of the configuration, and before them for responses. @default {[]} */
  filters?: readonly Filters<State>[];
}

/** A route with every default filled in. */
export interface ResolvedRoute {
  readonly name: string;
  readonly match: RouteMatch;
  /** Pools and their weights, at least one. */
  readonly pools: readonly (readonly [name: string, weight: number])[];
  readonly splitKey: KeySpec | null;
  readonly paths: PathMode;
  readonly forward: PathForward;
  readonly rewrite: RewriteFunction<RequestContext> | null;
  /** The options of `rewrite`; `null` without any, or if it is a function. */
  readonly rewriteOptions: RewriteOptions | null;
  /** The policies of the configuration and of the route; `null` if only those of the configuration apply. */
  readonly limiter: readonly ResolvedPolicy[] | null;
  readonly timeouts: Partial<Timeouts>;
  /** `undefined` if the option of the pool applies. */
  readonly retries: RetryPolicy | null | undefined;
  /** The filters of the configuration and of the route. */
  readonly filters: Filters & RequestNaming;
  /** The filter sets of the route alone. */
  readonly filterSets: readonly Filters[];
  /** The `newContext` of the route's filter sets. */
  readonly newContext: Filters["newContext"] | null;
}

type Check = (value: unknown) => boolean;

function compiles(compile: (pattern: string) => unknown): Check {
  return (value) => {
    try {
      return typeof value === "string" && value !== "" && compile(value) !== undefined;
    } catch {
      return false;
    }
  };
}

/** A valid value, or an array of valid values. */
function some(check: Check, expected: string): Rule {
  return oneOrMore(must(check, expected), expected);
}

const MATCH_RULES: Rules<RouteMatch> = {
  host: some(compiles(hostShape), 'a pattern for hosts such as "*.shop.example", without port'),
  path: some(
    (value) => typeof value === "string" && /^[/*{]/.test(value) && compiles(pathShape)(value),
    'a pattern for paths such as "/api/*"',
  ),
  method: some(
    (value) => typeof value === "string" && isToken(value) && value === value.toUpperCase(),
    'a method in capitals such as "GET"',
  ),
  headers: byName(
    must(
      (value) => typeof value === "string" || typeof value === "boolean" || value instanceof RegExp,
      "a text, a regular expression, true (any value) or false (none)",
    ),
    "an object of fields and their values",
    (name) => isToken(name) ? undefined : "is not a name for a field",
  ),
};

const PATH = text(
  'a path such as "/api", beginning with a slash',
  (value) => isOriginForm(value) && !value.includes("?"),
);

const REWRITE = object<RewriteOptions>({
  stripPrefix: PATH,
  replace: must(isReplacement, "[text or regular expression, replacement]"),
  prefix: PATH,
}, "an object with stripPrefix, replace and prefix, or a function");

function isReplacement(value: unknown): boolean {
  if (!Array.isArray(value) || value.length !== 2 || typeof value[1] !== "string") return false;
  // A sticky pattern would keep `lastIndex` from one request to the next.
  return value[0] instanceof RegExp ? !value[0].sticky : typeof value[0] === "string" && value[0] !== "";
}

const POOL_NAME = text(
  'the name of a pool, or pools with their shares such as { "stable": 95, "canary": 5 }',
);
const SHARES = byName(
  number("a number of at least 0", (weight) => weight >= 0 && weight !== Infinity),
  "pools with their shares",
);

/** A pool, or several with their shares. */
const UPSTREAM: Rule = (value, report) => {
  if (!isRecord(value)) return POOL_NAME(value, report);
  SHARES(value, report);
  if (Object.values(value).every((weight) => weight === 0)) report("must have a pool with a share above 0");
};

/** How paths are compared. */
export const PATHS: Rule = word(["normalize", "refuse", "raw"] satisfies PathMode[]);

/** Which path servers get. */
export const FORWARD: Rule = word(["received", "normalized"] satisfies PathForward[]);

const ROUTE_RULES: Rules<RouteOptions> = {
  name: text("a text that is not empty", (name) => name !== ""),
  match: object<RouteMatch>(
    MATCH_RULES,
    'an object such as { path: "/api/*" }, with host, path, method and headers',
  ),
  upstream: UPSTREAM,
  splitKey: KEY_SPEC,
  paths: PATHS,
  forward: FORWARD,
  rewrite: choose((value) => typeof value === "function" ? ANYTHING : REWRITE),
  limiter: orFalse(LIMITER),
  timeouts: TIMEOUTS,
  retries: RETRIES,
  filters: FILTER_SETS,
};

/** Names of the options of a route. */
export const ROUTE_KEYS: readonly string[] = Object.freeze(Object.keys(ROUTE_RULES));

/** Options of other proxies that are ready-made filters here. */
const READY_MADE_FILTERS: Readonly<Record<string, string>> = {
  redirect: "redirect",
  return: "redirect",
  auth: "basicAuth",
  access: "basicAuth",
  basicAuth: "basicAuth",
  headers: "setHeaders",
  cors: "cors",
  compress: "compress",
};

const LIST = list(
  object<RouteOptions>(ROUTE_RULES, "an object of a route", {
    explain(name) {
      if (Object.hasOwn(MATCH_RULES, name)) return 'is not a known key; it belongs in "match"';
      return Object.hasOwn(READY_MADE_FILTERS, name)
        ? `is not a known key; there is a filter for it: filters: [${READY_MADE_FILTERS[name]}(...)]`
        : undefined;
    },
    otherNames: {
      upstream: ["pool", "server", "servers", "backend", "proxyPass", "reverseProxy", "target", "to"],
      limiter: ["rateLimit", "limit", "limits"],
      rewrite: ["stripPrefix", "pathRewrite"],
    },
  }),
  "an array of routes",
);

/** Routes, tried in order. */
export const ROUTES: Rule = (value: unknown, report: Report): void => {
  LIST(value, report);
  if (!Array.isArray(value)) return;
  if (value.length === 0) report("must have at least one route");
  const named = new Map<unknown, number>();
  value.forEach((route: unknown, i) => {
    if (!isRecord(route) || route.name === undefined) return;
    const first = named.get(route.name);
    if (first === undefined) return void named.set(route.name, i);
    report(`is that of [${first}]`, i, "name");
  });
};
