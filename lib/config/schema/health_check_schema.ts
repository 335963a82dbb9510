/** The schema of active health checks. */

import * as v from "valibot";
import type { HealthCheckOptions } from "../../health/health_check_options.ts";
import { positiveDurationSchema } from "./duration_schema.ts";
import { mustBe } from "./messages.ts";
import { portSchema, shareSchema, wholeNumberSchema } from "./number_schema.ts";
import { optionsObject } from "./options_object.ts";

const countSchema = wholeNumberSchema(1, Number.MAX_SAFE_INTEGER);

const entries = {
  type: v.literal("tcp", mustBe('"tcp"')),
  interval: v.optional(positiveDurationSchema),
  timeout: v.optional(positiveDurationSchema),
  rise: v.optional(countSchema),
  fall: v.optional(countSchema),
  jitter: v.optional(shareSchema),
  port: v.optional(portSchema),
} satisfies Record<keyof HealthCheckOptions, v.GenericSchema>;

/** How servers are checked. */
export const healthCheckSchema: v.GenericSchema = optionsObject(entries, 'an object with type: "tcp"');
