/** The rules of the access log. */

import {
  ANYTHING,
  byteSize,
  choose,
  FUNCTION,
  list,
  number,
  object,
  oneOf,
  orFalse,
  required,
  type Rule,
  text,
  whole,
  wordOrFunction,
} from "../../core/options.ts";
import { describeValue } from "../../core/describe_value.ts";
import { nearestName } from "../../core/nearest_name.ts";
import { isToken } from "../../http/header_fields.ts";
import {
  ACCESS_FIELDS,
  ACCESS_FORMATS,
  type AccessLogFile,
  type AccessLogOptions,
  headerOf,
} from "../../observe/access_log_options.ts";

/** A file that is begun anew for less is no log. */
const LEAST_BYTES = 1024;

const FILE: Rule = object<AccessLogFile>({
  file: required(text("the path of a file", (file) => file !== "" && !file.includes("\0"))),
  maxSize: byteSize(LEAST_BYTES, Number.MAX_SAFE_INTEGER),
  keep: whole(1, 1000),
}, '"stdout", "stderr", or an object with "file"');

const FIELD: Rule = (field, report) => {
  if (typeof field !== "string") return text("the name of a field")(field, report);
  const header = headerOf(field);
  if (header === null ? (ACCESS_FIELDS as readonly string[]).includes(field) : isToken(header)) return;
  const nearest = nearestName(field, ACCESS_FIELDS);
  const hint = nearest === undefined ? "" : `, did you mean "${nearest}"?`;
  report(`must be "header:NAME" or ${oneOf(ACCESS_FIELDS)}, received ${describeValue(field)}${hint}`);
};

/** What of each request is logged. */
export const ACCESS_LOG: Rule = orFalse(object<AccessLogOptions>(
  {
    format: wordOrFunction(ACCESS_FORMATS),
    to: choose((to) => to === "stdout" || to === "stderr" ? ANYTHING : FILE),
    sample: number("a share above 0, at most 1", (sample) => sample > 0 && sample <= 1),
    when: FUNCTION,
    fields: list(FIELD, "an array of names of fields"),
    redact: orFalse(list(text("a name"), "false, or an array of names")),
  },
  "false, or an object with format, to, sample, when, fields and redact",
  {
    check({ format, fields }, report) {
      if (fields === undefined || (format !== "combined" && typeof format !== "function")) return;
      report('must have no "fields" with this format, which says itself what stands in a line');
    },
  },
));
