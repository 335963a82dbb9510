/** The schema of active health checks. */

import * as v from "valibot";
import type { ActiveCheckOptions, CheckPacing } from "../../health/health_check_options.ts";
import { type HttpCheckRequest, parseStatuses, STATUSES_EXPECTED } from "../../health/http_check.ts";
import type { GrpcCheckRequest } from "../../health/grpc_check.ts";
import { isFieldValue, isToken } from "../../http/header_fields.ts";
import {
  isRecord,
  mustBe,
  oneOf,
  optionsObject,
  pathItem,
  portSchema,
  positiveDurationSchema,
  shareSchema,
  wholeNumberSchema,
} from "./schemas.ts";

const TYPES = [
  "tcp",
  "tls",
  "http",
  "grpc",
  "custom",
] as const satisfies readonly ActiveCheckOptions["type"][];
const STATES = ["checking", "up", "down"] as const;
const CHECK_EXPECTED = `an object with a "type" (${oneOf(TYPES)}) or a function`;

const countSchema = wholeNumberSchema(1, Number.MAX_SAFE_INTEGER);

const pacingEntries = {
  interval: v.optional(positiveDurationSchema),
  unhealthyInterval: v.optional(positiveDurationSchema),
  timeout: v.optional(positiveDurationSchema),
  rise: v.optional(countSchema),
  fall: v.optional(countSchema),
  jitter: v.optional(shareSchema),
  port: v.optional(portSchema),
  initial: v.optional(v.picklist(STATES, mustBe(oneOf(STATES)))),
} satisfies Record<keyof CheckPacing, v.GenericSchema>;

/** Text that is one piece of a request's head. */
function textSchema(isGood: (text: string) => boolean, expected: string): v.GenericSchema {
  return v.custom<string>((value) => typeof value === "string" && isGood(value), mustBe(expected));
}

const headersSchema = v.custom(
  (value) =>
    isRecord(value) &&
    Object.entries(value).every(([name, text]) =>
      isToken(name) && typeof text === "string" && isFieldValue(text)
    ),
  mustBe("an object of field names and their values"),
);

const statusesSchema = v.custom((value) => {
  if (!Array.isArray(value) || value.length === 0) return false;
  try {
    parseStatuses(value);
    return true;
  } catch {
    return false;
  }
}, mustBe(`an array of ${STATUSES_EXPECTED}`));

const httpEntries = {
  method: v.optional(textSchema(isToken, 'a method such as "GET"')),
  path: v.optional(textSchema((text) => /^\/[\x21-\x7e]*$/.test(text), 'a path such as "/health"')),
  host: v.optional(textSchema((text) => /^[\x21-\x7e]+$/.test(text), 'a host such as "api.example"')),
  headers: v.optional(headersSchema),
  expectedStatuses: v.optional(statusesSchema),
  body: v.optional(
    v.custom(
      (value) => typeof value === "string" || value instanceof RegExp || typeof value === "function",
      mustBe("a text, a regular expression or a function"),
    ),
  ),
  maxBodyBytes: v.optional(countSchema),
  reuseConnection: v.optional(v.boolean(mustBe("true or false"))),
} satisfies Record<keyof HttpCheckRequest, v.GenericSchema>;

const typeSchema = v.picklist(TYPES, mustBe(oneOf(TYPES)));
const plainSchema = optionsObject({ type: typeSchema, ...pacingEntries }, CHECK_EXPECTED);

const httpSchema = v.pipe(
  optionsObject({ type: typeSchema, ...pacingEntries, ...httpEntries }, CHECK_EXPECTED),
  v.rawCheck(({ dataset: { value }, addIssue }) => {
    if (!isRecord(value) || value.method !== "HEAD" || value.body === undefined) return;
    addIssue({
      message: 'is not possible where "method" is "HEAD", whose answers have none',
      path: [pathItem(value, "body")],
    });
  }),
);

const grpcEntries = {
  service: v.optional(textSchema(() => true, 'a service such as "package.Service"')),
  host: httpEntries.host,
} satisfies Record<keyof GrpcCheckRequest, v.GenericSchema>;

const grpcSchema = optionsObject({ type: typeSchema, ...pacingEntries, ...grpcEntries }, CHECK_EXPECTED);

const checkSchema = v.custom((value) => typeof value === "function", mustBe("a function"));
const customSchema = optionsObject(
  { type: typeSchema, ...pacingEntries, check: checkSchema },
  CHECK_EXPECTED,
);

const wrongTypeSchema = v.looseObject({ type: typeSchema });

/** How servers are checked. */
export const healthCheckSchema: v.GenericSchema = v.lazy((input) => {
  if (typeof input === "function") return checkSchema;
  switch (isRecord(input) ? input.type : undefined) {
    case "http":
      return httpSchema;
    case "grpc":
      return grpcSchema;
    case "custom":
      return customSchema;
    case "tcp":
    case "tls":
    case undefined:
      return plainSchema;
    default:
      // Which other options there may be depends on the type.
      return wrongTypeSchema;
  }
});
