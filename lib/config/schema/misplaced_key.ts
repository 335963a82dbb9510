/** Names that say something of a proxy, but are no keys of a configuration as a whole. */

import { normalizeName } from "../nearest_name.ts";
import { POLICY_OPTIONS } from "../../limiter/policy_problems.ts";
import { listenEntries } from "./listen_schema.ts";
import { poolEntries } from "./pool_schema.ts";
import { routeEntries } from "./routes_schema.ts";

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
  ["listen", Object.keys(listenEntries)],
  ["upstreams", Object.keys(poolEntries)],
  ["limiter", POLICY_OPTIONS],
  ["routes", Object.keys(routeEntries)],
];

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
