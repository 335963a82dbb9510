/** The schema of timeouts. */

import * as v from "valibot";
import type { TimeoutOptions } from "../server_options.ts";
import { positiveDurationSchema } from "./duration_schema.ts";
import { optionsObject } from "./options_object.ts";

const entries = {
  connect: v.optional(positiveDurationSchema),
  tls: v.optional(positiveDurationSchema),
  response: v.optional(positiveDurationSchema),
  idle: v.optional(positiveDurationSchema),
  total: v.optional(positiveDurationSchema),
} satisfies Record<keyof TimeoutOptions, v.GenericSchema>;

/** How long each part of an exchange may take. */
export const timeoutsSchema: v.GenericSchema = optionsObject(entries, "an object with timeouts");
