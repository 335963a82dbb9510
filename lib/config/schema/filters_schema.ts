/** The schema of the phases of a request. */

import * as v from "valibot";
import type { Filters } from "../../filter/filters.ts";
import { mustBe } from "./messages.ts";
import { optionsObject } from "./options_object.ts";

/** A function, or nothing. */
export const functionSchema = v.optional(
  v.custom((value) => typeof value === "function", mustBe("a function")),
);

/** The phases, each of them a function. */
export const filterEntries = {
  newContext: functionSchema,
  requestFilter: functionSchema,
  requestBodyFilter: functionSchema,
  upstreamPeer: functionSchema,
  upstreamRequestFilter: functionSchema,
  failToConnect: functionSchema,
  upstreamResponseFilter: functionSchema,
  responseFilter: functionSchema,
  responseBodyFilter: functionSchema,
  failToProxy: functionSchema,
  ownResponseFilter: functionSchema,
  logging: functionSchema,
} satisfies Record<keyof Filters, v.GenericSchema>;

/** Filter sets, in order. */
export const filterSetsSchema: v.GenericSchema = v.array(
  optionsObject(filterEntries, "an object of phases"),
  mustBe("an array of objects of phases"),
);
