/** The schema of the phases of a request. */

import * as v from "valibot";
import type { Filters } from "../filters.ts";
import { mustBe } from "./messages.ts";

/** A function, or nothing. */
export const functionSchema = v.optional(
  v.custom((value) => typeof value === "function", mustBe("a function")),
);

/** The phases, each of them a function. */
export const filterEntries = {
  newContext: functionSchema,
  requestFilter: functionSchema,
  upstreamPeer: functionSchema,
  upstreamRequestFilter: functionSchema,
  responseFilter: functionSchema,
  failToProxy: functionSchema,
  logging: functionSchema,
} satisfies Record<keyof Filters, v.GenericSchema>;
