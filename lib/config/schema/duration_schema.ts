/** The schema of lengths of time. */

import * as v from "valibot";
import { DURATION_EXPECTED, parseDuration } from "../../core/duration.ts";
import { mustBe } from "./messages.ts";

/** Any duration, zero too. */
export const durationSchema = v.custom<number | string>(
  (value) => parseDuration(value) !== undefined,
  mustBe(DURATION_EXPECTED),
);

/** A duration that is longer than nothing. */
export const positiveDurationSchema = v.pipe(
  durationSchema,
  v.check((value) => parseDuration(value)! > 0, mustBe("longer than 0")),
);
