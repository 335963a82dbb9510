/** The schema of a limit. */

import * as v from "valibot";
import { KEY_SPEC_EXPECTED, parseKeySpec } from "../../limiter/key_spec.ts";
import { findPolicyProblems } from "../../limiter/policy.ts";
import type { LimiterOptions } from "../proxy_config.ts";
import { positiveDurationSchema } from "./duration_schema.ts";
import { mustBe } from "./messages.ts";
import { isRecord, optionsObject, pathItem } from "./options_object.ts";

const HEADER_STYLES = ["x-rate-limit", "draft-11", "draft-7", "draft-6", "x-ratelimit"] as const;

function oneOf(values: readonly string[]): string {
  return values.map((value) => `"${value}"`).join(values.length === 2 ? " or " : ", ");
}

const entries = {
  name: v.optional(
    v.custom<string>(
      (value) => typeof value === "string" && /^[\x21-\x7e](?:[\x20-\x7e]{0,62}[\x21-\x7e])?$/.test(value),
      mustBe("a name of at most 64 printable ASCII characters"),
    ),
  ),
  key: v.custom((value) => parseKeySpec(value) !== undefined, mustBe(KEY_SPEC_EXPECTED)),
  limit: v.custom(
    (value) => typeof value === "function" || (Number.isSafeInteger(value) && (value as number) >= 0),
    mustBe("a whole number of at least 0, or a function"),
  ),
  window: positiveDurationSchema,
  algorithm: v.optional(v.literal("fixed-window", mustBe('"fixed-window"'))),
  onMissingKey: v.optional(
    v.picklist(["skip", "reject", "ip"], mustBe(`one of ${oneOf(["skip", "reject", "ip"])}`)),
  ),
  headers: v.optional(
    v.union(
      [v.literal(false), v.array(v.picklist(HEADER_STYLES))],
      mustBe(`false or an array of ${oneOf(HEADER_STYLES)}`),
    ),
  ),
} satisfies Record<keyof LimiterOptions, v.GenericSchema>;

/** One policy; what its own layer finds wrong beyond the shape is reported too. */
export const limiterSchema: v.GenericSchema = v.pipe(
  optionsObject(entries, 'an object with "key", "limit" and "window"'),
  v.rawCheck(({ dataset, addIssue }) => {
    // With issues of the shape the same things would be said twice.
    if (dataset.issues !== undefined || !isRecord(dataset.value)) return;
    for (const { option, message } of findPolicyProblems(dataset.value)) {
      addIssue({ message: `is not possible: ${message}`, path: [pathItem(dataset.value, option)] });
    }
  }),
);
