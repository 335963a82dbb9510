/** What a whole configuration may have, and where names belong that are none of its keys. */

import { POLICY_OPTIONS } from "../limiter/policy_problems.ts";
import * as v from "valibot";
import { adminSchema } from "./admin_options.ts";
import { queueSchema } from "./balancing_options.ts";
import {
  checkAdminPools,
  checkFieldNames,
  checkForward,
  checkPools,
  checkRouteLimits,
} from "./contradictions.ts";
import { listenEntries, listenSchema } from "./listen_schema.ts";
import { nearestName, normalizeName } from "./nearest_name.ts";
import { poolEntries, upstreamsSchema } from "./pool_options.ts";
import {
  type OverloadOptions,
  type RollbackOptions,
  TRACE_TRUST,
  type TracingOptions,
  workersSchema,
} from "./process_options.ts";
import type { ProxyConfig } from "./proxy_config.ts";
import { forwardSchema, pathsSchema, routeEntries, routesSchema } from "./route_options.ts";
import { accessLogSchema } from "./schema/access_log_schema.ts";
import { forwardedSchema, trustedProxiesSchema } from "./schema/forwarded_schema.ts";
import { limiterSchema } from "./schema/limiter_schema.ts";
import {
  durationSchema,
  filterEntries,
  filterSetsSchema,
  functionSchema,
  limitSchema,
  mustBe,
  oneOf,
  optionsObject,
  positiveDurationSchema,
  shareSchema,
  unknownKeyMessage,
  wholeNumberSchema,
} from "./schema/schemas.ts";

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

const overloadEntries = {
  maxInFlight: v.optional(limitSchema(1)),
  queue: v.optional(queueSchema),
  maxLoopDelay: v.optional(positiveDurationSchema),
} satisfies Record<keyof OverloadOptions, v.GenericSchema>;

const rollbackEntries = {
  errorRate: shareSchema,
  within: positiveDurationSchema,
  minRequests: v.optional(wholeNumberSchema(1, Number.MAX_SAFE_INTEGER)),
} satisfies Record<keyof RollbackOptions, v.GenericSchema>;

const tracingEntries = {
  sample: v.optional(
    v.custom<number>(
      (sample) => typeof sample === "number" && sample >= 0 && sample <= 1,
      mustBe("a share from 0 to 1"),
    ),
  ),
  continue: v.optional(v.picklist(TRACE_TRUST, mustBe(oneOf(TRACE_TRUST)))),
} satisfies Record<keyof TracingOptions, v.GenericSchema>;

const tracingOptionsSchema = optionsObject(
  tracingEntries,
  "true, false, or an object with sample and continue",
);

const tracingSchema = v.lazy((input) => typeof input === "boolean" ? v.boolean() : tracingOptionsSchema);

const entries = {
  listen: v.optional(listenSchema),
  upstreams: upstreamsSchema,
  limiter: v.optional(limiterSchema),
  trustedProxies: v.optional(trustedProxiesSchema),
  forwarded: v.optional(forwardedSchema),
  paths: pathsSchema,
  forward: forwardSchema,
  overload: v.optional(optionsObject(overloadEntries, "an object with maxInFlight, queue and maxLoopDelay")),
  tracing: v.optional(tracingSchema),
  serverTiming: v.optional(v.boolean(mustBe("true or false"))),
  accessLog: v.optional(accessLogSchema),
  metrics: v.optional(v.boolean(mustBe("true or false"))),
  admin: v.optional(adminSchema),
  gracePeriod: v.optional(durationSchema),
  webSocketGrace: v.optional(durationSchema),
  shutdownDelay: v.optional(durationSchema),
  workers: v.optional(workersSchema),
  rollback: v.optional(optionsObject(rollbackEntries, "an object with errorRate and within")),
  onListen: functionSchema,
  routes: v.optional(routesSchema),
  filters: v.optional(filterSetsSchema),
  ...filterEntries,
} satisfies Record<keyof ProxyConfig, v.GenericSchema>;

/** Names of everything that a configuration can have. */
export const CONFIG_KEYS: readonly string[] = Object.freeze(Object.keys(entries));

/** What is said of a key that a configuration does not have. */
export function unknownConfigKey(key: string): string {
  const nearest = nearestName(key, CONFIG_KEYS);
  // What is known elsewhere is no beginning of a much longer key: `server`, of `serverTiming`.
  const unlike = nearest === undefined || nearest.length > key.length + 4;
  const misplaced = unlike ? findMisplaced(key) : undefined;
  return misplaced === undefined
    ? unknownKeyMessage(key, CONFIG_KEYS)
    : `is not a known key; ${misplaced.place}`;
}

const objectSchema = optionsObject(entries, 'an object with "upstreams"', unknownConfigKey);

/** A configuration as an object. */
export const configSchema: v.GenericSchema = v.lazy((config) =>
  v.pipe(
    objectSchema,
    v.rawCheck(({ addIssue }) => {
      // As it was written: the schema makes copies, which no longer show what was the same object.
      checkPools(config, addIssue);
      checkAdminPools(config, addIssue);
      checkRouteLimits(config, addIssue);
      checkForward(config, addIssue);
      checkFieldNames(config, addIssue);
    }),
  )
);
