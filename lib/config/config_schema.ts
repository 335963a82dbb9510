/** The rules of a whole configuration, and of combinations of its parts. */

import { describeValue, nearestName, normalizeName } from "../core/describe_value.ts";
import {
  DURATION,
  FLAG,
  FUNCTION,
  isRecord,
  object,
  type OptionPath,
  type Report,
  required,
  type Rule,
  type Rules,
  type Unchecked,
  unknownName,
} from "../core/options.ts";
import { FILTER_SETS, PHASES } from "../filter/filters.ts";
import { FORWARDED } from "../http/proxy_fields.ts";
import { TRUSTED_PROXIES } from "../http/trusted_proxies.ts";
import { MAX_POLICIES } from "../limiter/policy.ts";
import { LIMITER, POLICY_OPTIONS } from "../limiter/resolve_policy.ts";
import { MAX_SKETCHES } from "../limiter/table_layout.ts";
import { ACCESS_LOG } from "../observe/access_log_options.ts";
import { ADMIN } from "./admin_options.ts";
import { LISTEN, LISTEN_KEYS } from "./listen_schema.ts";
import { DEFAULT_POOL, isSinglePool, POOL_KEYS, UPSTREAMS } from "./pool_options.ts";
import { OVERLOAD, ROLLBACK, TRACING, WORKERS } from "./process_options.ts";
import type { ProxyConfig } from "./proxy_config.ts";
import { FORWARD, PATHS, ROUTE_KEYS, ROUTES } from "./route_options.ts";

/** Names of the keys in other proxies and libraries. */
const OTHER_NAMES: { readonly [Key in keyof ProxyConfig]?: readonly string[] } = {
  listen: ["bind", "listener", "listeners", "listenAddress", "frontend", "frontends"],
  upstreams: [
    "backend",
    "backends",
    "pool",
    "pools",
    "origin",
    "origins",
    "loadBalancer",
    "loadBalancing",
    "target",
    "targets",
    "peers",
    "proxy",
    "proxyPass",
    "reverseProxy",
  ],
  limiter: [
    "rateLimit",
    "rateLimits",
    "rateLimiter",
    "rateLimiters",
    "rateLimiting",
    "limits",
    "policy",
    "policies",
    "throttle",
    "throttling",
  ],
  routes: ["location", "locations", "rules", "handle"],
  workers: ["threads", "workerProcesses", "cluster"],
  trustedProxies: ["trustProxy", "realIp", "setRealIpFrom"],
  admin: ["dashboard", "stats", "status"],
  gracePeriod: ["shutdownTimeout", "drainTimeout"],
  filters: ["middleware", "middlewares", "plugins"],
  requestFilter: ["onRequest", "beforeRequest"],
  responseFilter: ["onResponse", "afterResponse"],
  failToProxy: ["onError", "errorHandler", "errorPage", "errorPages"],
};

/** Keys whose options are often used as top-level keys by mistake. */
const OPTIONS: readonly (readonly [key: string, options: readonly string[]])[] = [
  ["listen", LISTEN_KEYS],
  ["upstreams", POOL_KEYS],
  ["limiter", POLICY_OPTIONS],
  ["routes", ROUTE_KEYS],
];

/** Parts of options that are often used as top-level keys by mistake. */
const MISPLACED_PARTS: Readonly<Record<string, string>> = {
  changeOrigin: 'a filter: setHeaders({ request: { host: "api.internal" } })',
  pathRewrite: '"rewrite" of "routes"',
  stripPrefix: '"rewrite" of "routes"',
  headers: 'a filter, setHeaders(...), or in "limiter" for the fields of its responses',
  timeout: '"timeouts" of "listen", "upstreams" or "routes"',
  cert: '"tls" of "listen"',
  certificate: '"tls" of "listen"',
  certificates: '"tls" of "listen"',
  ssl: '"tls" of "listen"',
  https: '"tls" of "listen"',
  redis: '"store" of "limiter"',
};

/** Options of the command line. */
const FLAGS: Readonly<Record<string, string>> = { logLevel: "--log-level", logFormat: "--log-format" };

/** The meaning of a name that is not a key. */
interface Misplaced {
  /** The place where it belongs, as the end of a sentence. */
  readonly place: string;
  /** Keys that have it as an option; none if it is another name for a key. */
  readonly owners: readonly string[];
}

/** Finds the place where an unknown key belongs, in any spelling; `undefined` if the name is not known at all. */
export function findMisplaced(name: string): Misplaced | undefined {
  return KNOWN.get(normalizeName(name));
}

const KNOWN: ReadonlyMap<string, Misplaced> = collect();

function collect(): Map<string, Misplaced> {
  const known = new Map<string, Misplaced>();
  for (const [key, names] of Object.entries(OTHER_NAMES)) {
    for (const name of names) {
      known.set(normalizeName(name), { place: `here it is called "${key}"`, owners: [] });
    }
  }
  const either = 'it belongs in "listen" (where clients come in) or "upstreams" (where requests go)';
  known.set("server", { place: either, owners: [] });
  for (const [name, flag] of Object.entries(FLAGS)) {
    known.set(normalizeName(name), { place: `it is the option ${flag} of the command line`, owners: [] });
  }
  for (const name of new Set(OPTIONS.flatMap(([, options]) => options))) {
    const owners = OPTIONS.filter(([, options]) => options.includes(name)).map(([key]) => key);
    const place = `it belongs in ${owners.map((key) => `"${key}"`).join(" or ")}`;
    known.set(normalizeName(name), { place, owners });
  }
  return known;
}

const CONFIG_RULES: Rules<ProxyConfig> = {
  listen: LISTEN,
  upstreams: required(UPSTREAMS),
  limiter: LIMITER,
  trustedProxies: TRUSTED_PROXIES,
  forwarded: FORWARDED,
  paths: PATHS,
  forward: FORWARD,
  overload: OVERLOAD,
  tracing: TRACING,
  serverTiming: FLAG,
  accessLog: ACCESS_LOG,
  metrics: FLAG,
  admin: ADMIN,
  gracePeriod: DURATION,
  webSocketGrace: DURATION,
  shutdownDelay: DURATION,
  workers: WORKERS,
  rollback: ROLLBACK,
  onListen: FUNCTION,
  routes: ROUTES,
  filters: FILTER_SETS,
  ...PHASES,
};

/** Names of all keys of a configuration. */
export const CONFIG_KEYS: readonly string[] = Object.freeze(Object.keys(CONFIG_RULES));

/** Ready-made filters and their names elsewhere. An export with such a name may be anything. */
const READY_MADE: Readonly<Record<string, readonly string[]>> = {
  basicAuth: ["auth"],
  bearerAuth: ["jwt"],
  compress: ["compression", "gzip", "brotli"],
  cors: [],
  ipAllow: ["allow", "allowlist", "whitelist"],
  ipDeny: ["deny", "denylist", "blacklist"],
  maxBodySize: ["bodyLimit", "bodySize", "clientMaxBodySize"],
  mirror: [],
  requestId: [],
  rewritePath: [],
  securityHeaders: ["helmet"],
  setHeaders: ["headers", "addHeaders"],
  removeHeaders: [],
};

const FILTER_OF: ReadonlyMap<string, string> = new Map(
  Object.entries(READY_MADE).flatMap(([filter, names]) =>
    [filter, ...names].map((name) => [normalizeName(name), filter] as const)
  ),
);

/** Explains where an unknown key belongs; `undefined` if that is not known. */
function explainKey(key: string): string | undefined {
  const nearest = nearestName(key, CONFIG_KEYS);
  // A name known elsewhere is not an abbreviation of a much longer key: `server`, of `serverTiming`.
  const unlike = nearest === undefined || nearest.length > key.length + 4;
  const misplaced = unlike ? findMisplaced(key) : undefined;
  if (Object.hasOwn(MISPLACED_PARTS, key)) return `is not a known key; it belongs in ${MISPLACED_PARTS[key]}`;
  if (misplaced !== undefined) return `is not a known key; ${misplaced.place}`;
  const filter = unlike ? FILTER_OF.get(normalizeName(key)) : undefined;
  return filter === undefined
    ? undefined
    : `is not a known key; there is a filter for it: filters: [${filter}(...)]`;
}

/** The error message for an unknown key. */
export function unknownConfigKey(key: string): string {
  return explainKey(key) ?? unknownName(key, CONFIG_KEYS);
}

/** A configuration. */
export const CONFIG: Rule = object<ProxyConfig>(CONFIG_RULES, 'an object with "upstreams"', {
  explain: explainKey,
  check: findContradictions,
  otherNames: OTHER_NAMES,
});

// Contradictions between valid parts of a configuration.

/** A field name and its place in the configuration. */
type NamedField = readonly [name: string, path: OptionPath];

/** Finds contradictions between the parts of a configuration; ignores other problems. */
function findContradictions(config: Unchecked<ProxyConfig>, report: Report): void {
  checkPools(config, report);
  checkReadiness(config, report);
  checkRouteLimits(config, report);
  checkForward(config, report);
  checkFieldNames(config, report);
}

/** Finds routes without a valid pool, and several pools without routes and without a default pool. */
function checkPools({ upstreams, routes }: Unchecked<ProxyConfig>, report: Report): void {
  const pools = poolNames(upstreams);
  if (pools === null) return;
  const quoted = pools.map((name) => `"${name}"`).join(", ");
  const hasDefault = pools.length === 1 || pools.includes(DEFAULT_POOL);
  if (!Array.isArray(routes)) {
    if (!hasDefault) {
      report(`must have a pool named "${DEFAULT_POOL}" in addition to ${quoted}, or routes`, "upstreams");
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

/** Names of the pools; `null` if the upstreams are invalid. */
function poolNames(upstreams: unknown): readonly string[] | null {
  if (Array.isArray(upstreams)) return [DEFAULT_POOL];
  if (!isRecord(upstreams)) return null;
  if (isSinglePool(upstreams)) return [DEFAULT_POOL];
  const names = Object.keys(upstreams);
  return names.length === 0 ? null : names;
}

/** Finds unknown pools in `readyz`. */
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

/** Finds limits of routes that cannot be counted together with those of other routes and of the configuration. */
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
      problem(
        `must have at most ${
          MAX_POLICIES - shared.length
        } policies in addition to those of the configuration`,
      );
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

/** Finds `forward: "normalized"` with routes that compare raw paths: route and server would see different paths. */
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
 * Finds keys and conditions by fields that no request can have, since listeners drop fields with underscores in their
 * names. Without this check a limit by such a field would never apply.
 */
function checkFieldNames(config: Unchecked<ProxyConfig>, report: Report): void {
  if (passUnderscores(config.listen)) return;
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

/** Whether every listener that forwards requests passes fields with underscores. */
function passUnderscores(listen: unknown): boolean {
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

/** The fields that a key uses. */
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
