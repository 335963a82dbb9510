/** What a whole configuration may have, and where names belong that are none of its keys. */

import { LIMITER } from "../limiter/policy_problems.ts";
import { ADMIN } from "./admin_options.ts";
import { findContradictions } from "./contradictions.ts";
import { LISTEN, LISTEN_KEYS } from "./listen_schema.ts";
import { POOL_KEYS, UPSTREAMS } from "./pool_options.ts";
import { OVERLOAD, ROLLBACK, TRACING, WORKERS } from "./process_options.ts";
import { FORWARD, PATHS, ROUTE_KEYS, ROUTES } from "./route_options.ts";
import { ACCESS_LOG } from "../observe/access_log_options.ts";
import { FILTER_SETS, PHASES } from "../filter/filters.ts";
import { FORWARDED } from "../http/proxy_fields.ts";
import { TRUSTED_PROXIES } from "../http/trusted_proxies.ts";
import { POLICY_OPTIONS } from "../limiter/policy_problems.ts";
import {
  DURATION,
  FLAG,
  FUNCTION,
  object,
  required,
  type Rule,
  type Rules,
  unknownName,
} from "../core/options.ts";
import { nearestName, normalizeName } from "../core/nearest_name.ts";
import type { ProxyConfig } from "./proxy_config.ts";

/** What other proxies and libraries call the keys. */
const OTHER_NAMES: Readonly<Record<string, readonly string[]>> = {
  listen: ["bind", "listener", "listeners", "listenAddress"],
  upstreams: [
    "server",
    "backend",
    "backends",
    "pool",
    "pools",
    "origin",
    "origins",
    "loadBalancer",
    "loadBalancing",
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
  routes: ["locations", "rules"],
  filters: ["middleware", "middlewares", "plugins"],
  requestFilter: ["onRequest", "beforeRequest"],
  responseFilter: ["onResponse", "afterResponse"],
  failToProxy: ["onError", "errorHandler", "errorPage", "errorPages"],
};

/** Keys whose options people take for keys themselves. */
const OPTIONS: readonly (readonly [key: string, options: readonly string[]])[] = [
  ["listen", LISTEN_KEYS],
  ["upstreams", POOL_KEYS],
  ["limiter", POLICY_OPTIONS],
  ["routes", ROUTE_KEYS],
];

/** Parts of options that people take for keys. */
const PARTS: Readonly<Record<string, string>> = {
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

/** What a name has to do with a configuration. */
interface Misplaced {
  /** Where it belongs, as a sentence without its beginning. */
  readonly place: string;
  /** Keys of which it is an option; none when it is another name for one. */
  readonly owners: readonly string[];
}

/** Says where a name belongs that is no key, however it is written; `undefined` when it is not known at all. */
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

/** Names of everything that a configuration can have. */
export const CONFIG_KEYS: readonly string[] = Object.freeze(Object.keys(CONFIG_RULES));

/** Ready-made filters, and what else they are called. An export of such a name may be anything. */
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

/** Says of a key that a configuration does not have where it belongs; `undefined` when nobody knows. */
function explainKey(key: string): string | undefined {
  const nearest = nearestName(key, CONFIG_KEYS);
  // What is known elsewhere is no beginning of a much longer key: `server`, of `serverTiming`.
  const unlike = nearest === undefined || nearest.length > key.length + 4;
  const misplaced = unlike ? findMisplaced(key) : undefined;
  if (Object.hasOwn(PARTS, key)) return `is not a known key; it belongs in ${PARTS[key]}`;
  if (misplaced !== undefined) return `is not a known key; ${misplaced.place}`;
  const filter = unlike ? FILTER_OF.get(normalizeName(key)) : undefined;
  return filter === undefined
    ? undefined
    : `is not a known key; there is a filter for it: filters: [${filter}(...)]`;
}

/** What is said of a key that a configuration does not have. */
export function unknownConfigKey(key: string): string {
  return explainKey(key) ?? unknownName(key, CONFIG_KEYS);
}

/** A configuration. */
export const CONFIG: Rule = object<ProxyConfig>(CONFIG_RULES, 'an object with "upstreams"', {
  explain: explainKey,
  check: findContradictions,
});
