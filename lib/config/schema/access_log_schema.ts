/** The schema of the access log. */

import { describeValue } from "../../core/describe_value.ts";
import * as v from "valibot";
import { isToken } from "../../http/header_fields.ts";
import {
  ACCESS_FIELDS,
  ACCESS_FORMATS,
  type AccessLogFile,
  type AccessLogOptions,
  headerOf,
} from "../../observe/access_log_options.ts";
import { nearestName } from "../nearest_name.ts";
import { byteSizeSchema, functionSchema, mustBe, oneOf, optionsObject } from "./schemas.ts";

/** A file that is begun anew for less is no log. */
const LEAST_BYTES = 1024;
const MOST_KEPT = 1000;

const fileEntries = {
  file: v.custom<string>(
    (file) => typeof file === "string" && file !== "" && !file.includes("\0"),
    mustBe("the path of a file"),
  ),
  maxSize: v.optional(byteSizeSchema(LEAST_BYTES, Number.MAX_SAFE_INTEGER)),
  keep: v.optional(
    v.custom<number>(
      (keep) => Number.isInteger(keep) && keep as number >= 1 && keep as number <= MOST_KEPT,
      mustBe(`a whole number from 1 to ${MOST_KEPT}`),
    ),
  ),
} satisfies Record<keyof AccessLogFile, v.GenericSchema>;

const fileSchema = optionsObject(fileEntries, '"stdout", "stderr", or an object with "file"');

const namesSchema = (schema: v.GenericSchema, expected: string): v.GenericSchema =>
  v.lazy((input) => Array.isArray(input) ? v.array(schema) : v.custom(() => false, mustBe(expected)));

const fieldSchema = v.pipe(
  v.string(mustBe("the name of a field")),
  v.check((field) => {
    const header = headerOf(field);
    return header === null ? (ACCESS_FIELDS as readonly string[]).includes(field) : isToken(header);
  }, ({ input }) => {
    const nearest = nearestName(String(input), ACCESS_FIELDS);
    const hint = nearest === undefined ? "" : `, did you mean "${nearest}"?`;
    return `must be "header:NAME" or ${oneOf(ACCESS_FIELDS)}, received ${describeValue(input)}${hint}`;
  }),
);

const entries = {
  format: v.optional(
    v.custom(
      (format) => typeof format === "function" || (ACCESS_FORMATS as readonly unknown[]).includes(format),
      mustBe(`${oneOf(ACCESS_FORMATS)}, or a function`),
    ),
  ),
  to: v.optional(v.lazy((to) => to === "stdout" || to === "stderr" ? v.any() : fileSchema)),
  sample: v.optional(
    v.custom<number>(
      (sample) => typeof sample === "number" && sample > 0 && sample <= 1,
      mustBe("a share above 0, at most 1"),
    ),
  ),
  when: functionSchema,
  fields: v.optional(namesSchema(fieldSchema, "an array of names of fields")),
  redact: v.optional(
    v.lazy((redact) =>
      redact === false
        ? v.literal(false)
        : namesSchema(v.string(mustBe("a name")), "false, or an array of names")
    ),
  ),
} satisfies Record<keyof AccessLogOptions, v.GenericSchema>;

const optionsSchema = v.pipe(
  optionsObject(entries, "false, or an object with format, to, sample, when, fields and redact"),
  v.check(
    ({ format, fields }) => fields === undefined || (format !== "combined" && typeof format !== "function"),
    'must have no "fields" with this format, which says itself what stands in a line',
  ),
);

/** What of each request is logged. */
export const accessLogSchema: v.GenericSchema = v.lazy((input) =>
  input === false ? v.literal(false) : optionsSchema
);
