/** The rules of the phases of a request. */

import { FUNCTION, list, object, type Rule, type Rules } from "../../core/options.ts";
import type { Filters } from "../../filter/filters.ts";

/** The phases, each of them a function. */
export const PHASES: Rules<Filters> = {
  newContext: FUNCTION,
  requestFilter: FUNCTION,
  requestBodyFilter: FUNCTION,
  upstreamPeer: FUNCTION,
  upstreamRequestFilter: FUNCTION,
  failToConnect: FUNCTION,
  upstreamResponseFilter: FUNCTION,
  responseFilter: FUNCTION,
  responseBodyFilter: FUNCTION,
  failToProxy: FUNCTION,
  localReplyFilter: FUNCTION,
  logging: FUNCTION,
};

/** Filter sets, in order. */
export const FILTER_SETS: Rule = list(
  object<Filters>(PHASES, "an object of phases"),
  "an array of objects of phases",
);
