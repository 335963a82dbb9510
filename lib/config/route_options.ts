/** Which requests go where, as an operator writes it. */

import type { Filters, RequestNaming } from "../filter/filters.ts";
import type { RequestContext } from "../filter/request_context.ts";
import { isToken } from "../http/header_fields.ts";
import { KEY_SPEC_EXPECTED, type KeySpec, parseKeySpec } from "../limiter/key_spec.ts";
import type { LimiterPolicy, ResolvedPolicy } from "../limiter/policy.ts";
import { hostShape, pathShape } from "../routing/path_shape.ts";
import { isOriginForm, type RewriteFunction, type RewriteOptions } from "../routing/rewrite.ts";
import type { PathForward, PathMode, RouteMatch } from "../routing/route_match.ts";
import type { Timeouts } from "../transport/transport.ts";
import * as v from "valibot";
import { retriesSchema, type RetryFunction, type RetryOptions, type RetryPolicy } from "./retry_options.ts";
import { limiterSchema } from "./schema/limiter_schema.ts";
import {
  filterSetsSchema,
  isRecord,
  mustBe,
  oneOf,
  optionsObject,
  pathItem,
  unknownKeyMessage,
} from "./schema/schemas.ts";
import { type TimeoutOptions, timeoutsSchema } from "./server_options.ts";

/** Requests that have something in common, and what becomes of them. */
export interface RouteOptions<State = unknown> {
  /** What `ctx.route` and messages call it; unique. @default {its host and path} */
  name?: string;
  /** Which requests it takes. @default {all} */
  match?: RouteMatch;
  /**
   * Name of a pool, or pools with their shares of the requests: `{ stable: 95, canary: 5 }`.
   *
   * @default {the only pool, or the one named `default`}
   */
  upstream?: string | Readonly<Record<string, number>>;
  /** What decides between the pools of `upstream`: requests with the same key go to the same one. @default {chance} */
  splitKey?: KeySpec<RequestContext<State>>;
  /** How paths are compared with the one of `match`. @default {the configuration's} */
  paths?: PathMode;
  /**
   * Which path the server gets, where nothing rewrites it; a route whose `paths` are `"raw"` forwards what it `"received"`.
   *
   * @default {the configuration's}
   */
  forward?: PathForward;
  /** What the server gets in place of the client's target. @default {the target as it came} */
  rewrite?: RewriteOptions | RewriteFunction<RequestContext<State>>;
  /**
   * Limits beside those of the configuration: all of them must admit a request. `false` for no limit at all. A policy
   * without a name is called as the route; where several routes name the same object they count together.
   *
   * @default {those of the configuration alone}
   */
  limiter?: LimiterPolicy<RequestContext<State>> | readonly LimiterPolicy<RequestContext<State>>[] | false;
  /** In place of those of the pool; what is left out stays. @default {the pool's} */
  timeouts?: TimeoutOptions;
  /** When a request that failed is sent again; in the place of what the pool says. @default {the pool's} */
  retries?: false | RetryOptions | RetryFunction;
  /** Filter sets that run after those of the configuration, on the way back before them. @default {[]} */
  filters?: readonly Filters<State>[];
}

/** A route, complete. */
export interface ResolvedRoute {
  readonly name: string;
  readonly match: RouteMatch;
  /** Pools and their weights, at least one. */
  readonly pools: readonly (readonly [name: string, weight: number])[];
  readonly splitKey: KeySpec | null;
  readonly paths: PathMode;
  readonly forward: PathForward;
  readonly rewrite: RewriteFunction<RequestContext> | null;
  /** Those of the configuration and its own; `null` for those of the configuration alone. */
  readonly limiter: readonly ResolvedPolicy[] | null;
  readonly timeouts: Partial<Timeouts>;
  /** `undefined` where the pool's hold. */
  readonly retries: RetryPolicy | null | undefined;
  /** Those of the configuration and its own. */
  readonly filters: Filters & RequestNaming;
  /** Its own alone. */
  readonly filterSets: readonly Filters[];
  /** That of its own filter sets. */
  readonly newContext: Filters["newContext"] | null;
}

type Check = (value: unknown) => boolean;

/** A value that passes, or an array of such values. */
function oneOrMore(check: Check, expected: string): v.GenericSchema {
  const each = v.custom(check, mustBe(expected));
  const several = v.pipe(
    v.array(each),
    v.minLength(1, mustBe(`${expected}, or an array of at least one`)),
  );
  return v.lazy((input) => Array.isArray(input) ? several : each);
}

function compiles(compile: (pattern: string) => unknown): Check {
  return (value) => {
    try {
      return typeof value === "string" && value !== "" && compile(value) !== undefined;
    } catch {
      return false;
    }
  };
}

const matchEntries = {
  host: v.optional(
    oneOrMore(compiles(hostShape), 'a pattern for hosts such as "*.shop.example", without port'),
  ),
  path: v.optional(oneOrMore(
    (value) => typeof value === "string" && /^[/*{]/.test(value) && compiles(pathShape)(value),
    'a pattern for paths such as "/api/*"',
  )),
  method: v.optional(oneOrMore(
    (value) => typeof value === "string" && isToken(value) && value === value.toUpperCase(),
    'a method in capitals such as "GET"',
  )),
  headers: v.optional(v.pipe(
    v.custom(isRecord, mustBe("an object of fields and their values")),
    v.record(
      v.pipe(v.string(), v.custom((name) => isToken(String(name)), "is not a name for a field")),
      v.custom(
        (value) => typeof value === "string" || typeof value === "boolean" || value instanceof RegExp,
        mustBe("a text, a regular expression, true (any value) or false (none)"),
      ),
    ),
  )),
} satisfies Record<keyof RouteMatch, v.GenericSchema>;

const pathTextSchema = v.optional(
  v.custom(
    (value) => isOriginForm(value) && !value.includes("?"),
    mustBe('a path such as "/api", beginning with a slash'),
  ),
);

const rewriteEntries = {
  stripPrefix: pathTextSchema,
  replace: v.optional(v.custom(isReplacement, mustBe("[text or regular expression, replacement]"))),
  prefix: pathTextSchema,
} satisfies Record<keyof RewriteOptions, v.GenericSchema>;

function isReplacement(value: unknown): boolean {
  if (!Array.isArray(value) || value.length !== 2 || typeof value[1] !== "string") return false;
  // A sticky pattern remembers where it was from one request to the next.
  return value[0] instanceof RegExp ? !value[0].sticky : typeof value[0] === "string" && value[0] !== "";
}

const rewriteSchema = v.lazy((input) =>
  typeof input === "function"
    ? v.custom(() => true)
    : optionsObject(rewriteEntries, "an object with stripPrefix, replace and prefix, or a function")
);

const SPLIT_EXPECTED = 'the name of a pool, or pools with their shares such as { "stable": 95, "canary": 5 }';

const splitSchema = v.pipe(
  v.record(
    v.string(),
    v.custom(
      (weight) => typeof weight === "number" && Number.isFinite(weight) && weight >= 0,
      mustBe("a number of at least 0"),
    ),
  ),
  v.custom((input) => {
    const weights = Object.values(input as Record<string, unknown>);
    return weights.some((weight) => typeof weight !== "number" || weight > 0);
  }, "must have a pool with a share above 0"),
);

const upstreamSchema = v.lazy((input) =>
  isRecord(input) ? splitSchema : v.custom((value) => typeof value === "string", mustBe(SPLIT_EXPECTED))
);

/** How paths are compared. */
export const pathsSchema: v.GenericSchema = v.optional(
  oneWord<PathMode>(["normalize", "refuse", "raw"]),
);

/** Which path servers get. */
export const forwardSchema: v.GenericSchema = v.optional(
  oneWord<PathForward>(["received", "normalized"]),
);

function oneWord<Word extends string>(words: readonly Word[]): v.GenericSchema {
  return v.custom((value) => words.includes(value as Word), mustBe(oneOf(words)));
}

/** Options of a route. */
export const routeEntries = {
  name: v.optional(
    v.custom((value) => typeof value === "string" && value !== "", mustBe("a text that is not empty")),
  ),
  match: v.optional(optionsObject(matchEntries, "an object with host, path, method and headers")),
  upstream: v.optional(upstreamSchema),
  splitKey: v.optional(v.custom((value) => parseKeySpec(value) !== undefined, mustBe(KEY_SPEC_EXPECTED))),
  paths: pathsSchema,
  forward: forwardSchema,
  rewrite: v.optional(rewriteSchema),
  limiter: v.optional(v.lazy((input) => input === false ? v.literal(false) : limiterSchema)),
  timeouts: v.optional(timeoutsSchema),
  retries: v.optional(retriesSchema),
  filters: v.optional(filterSetsSchema),
} satisfies Record<keyof RouteOptions, v.GenericSchema>;

/** What others call the options of a route. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  pool: "upstream",
  server: "upstream",
  servers: "upstream",
  backend: "upstream",
  proxyPass: "upstream",
  rateLimit: "limiter",
  limit: "limiter",
};

function explainRouteKey(key: string): string {
  if (Object.hasOwn(matchEntries, key)) return 'is not a known key; it belongs in "match"';
  if (Object.hasOwn(OTHER_NAMES, key)) return `is not a known key; here it is called "${OTHER_NAMES[key]}"`;
  return unknownKeyMessage(key, Object.keys(routeEntries));
}

/** Routes, tried in order. */
export const routesSchema: v.GenericSchema = v.pipe(
  v.array(optionsObject(routeEntries, "an object of a route", explainRouteKey), mustBe("an array of routes")),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!Array.isArray(dataset.value)) return;
    const routes: unknown[] = dataset.value;
    if (routes.length === 0) addIssue({ message: "must have at least one route" });
    const named = new Map<unknown, number>();
    routes.forEach((route, i) => {
      if (!isRecord(route) || route.name === undefined) return;
      const first = named.get(route.name);
      if (first === undefined) return void named.set(route.name, i);
      const path: [v.IssuePathItem, v.IssuePathItem] = [pathItem(routes, i), pathItem(route, "name")];
      addIssue({ message: `is that of [${first}]`, path });
    });
  }),
);
