/** The schema of retries. */

import * as v from "valibot";
import { BYTE_SIZE_EXPECTED, parseByteSize } from "../../core/byte_size.ts";
import { isToken } from "../../http/header_fields.ts";
import type { BackoffOptions, RetryBudgetOptions, RetryOptions } from "../retry_options.ts";
import { durationSchema } from "./duration_schema.ts";
import { mustBe } from "./messages.ts";
import { numberSchema, wholeNumberSchema } from "./number_schema.ts";
import { optionsObject } from "./options_object.ts";

const REASONS: readonly unknown[] = ["connect", "reset", "timeout"];

function isReason(value: unknown): boolean {
  return REASONS.includes(value) || (Number.isInteger(value) && Number(value) >= 400 && Number(value) <= 599);
}

const notNegative = numberSchema((value) => value >= 0 && value !== Infinity, "a number of at least 0");

const budgetEntries = {
  percent: v.optional(notNegative),
  min: v.optional(notNegative),
} satisfies Record<keyof RetryBudgetOptions, v.GenericSchema>;

const backoffEntries = {
  base: v.optional(durationSchema),
  max: v.optional(durationSchema),
} satisfies Record<keyof BackoffOptions, v.GenericSchema>;

/** `false`, or an object with these options. */
function orFalse(entries: v.ObjectEntries, expected: string): v.GenericSchema {
  const options = optionsObject(entries, expected);
  return v.lazy((input) => input === false ? v.literal(false) : options);
}

const entries = {
  attempts: v.optional(wholeNumberSchema(0, 100)),
  on: v.optional(v.array(
    v.custom(isReason, mustBe('"connect", "reset", "timeout" or a status from 400 to 599')),
    mustBe("an array of reasons and statuses"),
  )),
  methods: v.optional(v.array(
    v.custom((value) => typeof value === "string" && isToken(value), mustBe("a method")),
    mustBe("an array of methods"),
  )),
  idempotencyKey: v.optional(v.boolean(mustBe("true or false"))),
  budget: v.optional(orFalse(budgetEntries, "false or an object with percent and min")),
  backoff: v.optional(orFalse(backoffEntries, "false or an object with base and max")),
  bodyLimit: v.optional(
    v.custom((value) => parseByteSize(value) !== undefined, mustBe(BYTE_SIZE_EXPECTED)),
  ),
} satisfies Record<keyof RetryOptions, v.GenericSchema>;

const optionsSchema = optionsObject(entries, "false, a function or an object with options of retries");

/** `false`, a function that decides, or the options. */
export const retriesSchema: v.GenericSchema = v.lazy((input) => {
  if (input === false) return v.literal(false);
  return typeof input === "function" ? v.any() : optionsSchema;
});
