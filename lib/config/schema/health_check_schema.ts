/** The rules of active health checks. */

import {
  choose,
  DURATION_ABOVE_0,
  FLAG,
  FUNCTION,
  isRecord,
  must,
  object,
  ofType,
  oneOf,
  PORT,
  required,
  type Rule,
  type Rules,
  SHARE,
  text,
  whole,
  word,
} from "../../core/options.ts";
import type { ActiveCheckOptions, CheckPacing } from "../../health/health_check_options.ts";
import { type HttpCheckRequest, parseStatuses, STATUSES_EXPECTED } from "../../health/http_check.ts";
import type { GrpcCheckRequest } from "../../health/grpc_check.ts";
import { isFieldValue, isToken } from "../../http/header_fields.ts";

const TYPES = [
  "tcp",
  "tls",
  "http",
  "grpc",
  "custom",
] as const satisfies readonly ActiveCheckOptions["type"][];
const EXPECTED = `an object with a "type" (${oneOf(TYPES)}) or a function`;

const PACING: Rules<CheckPacing> = {
  interval: DURATION_ABOVE_0,
  unhealthyInterval: DURATION_ABOVE_0,
  timeout: DURATION_ABOVE_0,
  rise: whole(1),
  fall: whole(1),
  jitter: SHARE,
  port: PORT,
  initial: word(["checking", "up", "down"]),
};

const HOST = text('a host such as "api.example"', (host) => /^[\x21-\x7e]+$/.test(host));

const REQUEST: Rules<HttpCheckRequest> = {
  method: text('a method such as "GET"', isToken),
  path: text('a path such as "/health"', (path) => /^\/[\x21-\x7e]*$/.test(path)),
  host: HOST,
  headers: must(areHeaders, "an object of field names and their values"),
  expectedStatuses: must(areStatuses, `an array of ${STATUSES_EXPECTED}`),
  body: must(
    (body) => typeof body === "string" || body instanceof RegExp || typeof body === "function",
    "a text, a regular expression or a function",
  ),
  maxBodyBytes: whole(1),
  reuseConnection: FLAG,
};

function areHeaders(value: unknown): boolean {
  return isRecord(value) &&
    Object.entries(value).every(([name, text]) =>
      isToken(name) && typeof text === "string" && isFieldValue(text)
    );
}

function areStatuses(value: unknown): boolean {
  if (!Array.isArray(value) || value.length === 0) return false;
  try {
    parseStatuses(value);
    return true;
  } catch {
    return false;
  }
}

const TYPE = required(word(TYPES));
const PLAIN = object<{ type: string } & CheckPacing>({ type: TYPE, ...PACING }, EXPECTED);
const BY_TYPE: Readonly<Record<ActiveCheckOptions["type"], Rule>> = {
  tcp: PLAIN,
  tls: PLAIN,
  http: object<{ type: string } & CheckPacing & HttpCheckRequest>(
    { type: TYPE, ...PACING, ...REQUEST },
    EXPECTED,
    {
      check({ method, body }, report) {
        if (method !== "HEAD" || body === undefined) return;
        report('is not possible where "method" is "HEAD", whose responses have none', "body");
      },
    },
  ),
  grpc: object<{ type: string } & CheckPacing & GrpcCheckRequest>(
    { type: TYPE, ...PACING, service: text('a service such as "package.Service"'), host: HOST },
    EXPECTED,
  ),
  custom: object<{ type: string; check: unknown } & CheckPacing>(
    { type: TYPE, ...PACING, check: required(FUNCTION) },
    EXPECTED,
  ),
};

/** How servers are checked. */
export const HEALTH_CHECK: Rule = choose((value) => {
  if (typeof value === "function") return FUNCTION;
  const type = isRecord(value) ? value.type : undefined;
  if (type === undefined) return PLAIN;
  // Which other options there may be depends on the type.
  return BY_TYPE[type as ActiveCheckOptions["type"]] ?? ofType(TYPE);
});
