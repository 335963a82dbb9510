/** The schema of a whole configuration. */

import * as v from "valibot";
import { nearestName } from "../nearest_name.ts";
import type { ProxyConfig } from "../proxy_config.ts";
import type { OverloadOptions } from "../overload_options.ts";
import { adminSchema, checkAdminPools } from "./admin_schema.ts";
import type { RollbackOptions } from "../rollback_options.ts";
import { accessLogSchema } from "./access_log_schema.ts";
import { durationSchema, positiveDurationSchema } from "./duration_schema.ts";
import { filterEntries, filterSetsSchema, functionSchema } from "./filters_schema.ts";
import { forwardedSchema, trustedProxiesSchema } from "./forwarded_schema.ts";
import { limiterSchema } from "./limiter_schema.ts";
import { listenSchema } from "./listen_schema.ts";
import { findMisplaced } from "./misplaced_key.ts";
import { TRACE_TRUST, type TracingOptions } from "../tracing_options.ts";
import { mustBe, oneOf } from "./messages.ts";
import { limitSchema, shareSchema, wholeNumberSchema } from "./number_schema.ts";
import { optionsObject, unknownKeyMessage } from "./options_object.ts";
import { checkForward, forwardSchema, pathsSchema, routesSchema } from "./routes_schema.ts";
import { checkFieldNames } from "./check_field_names.ts";
import { queueSchema } from "./balancing_schema.ts";
import { checkPools } from "./check_pools.ts";
import { checkRouteLimits } from "./check_route_limits.ts";
import { workersSchema } from "./workers_schema.ts";
import { upstreamsSchema } from "./upstreams_schema.ts";

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
