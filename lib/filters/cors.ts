/** Cross-origin requests (CORS, Fetch standard section 3.2). */

import { type Filters, named } from "../filter/filters.ts";
import type { RequestContext } from "../filter/request_context.ts";
import { ANYTHING, choose, DURATION, FLAG, FUNCTION, list, object, required, text } from "../core/options.ts";
import { checkedBoolean } from "../core/callback.ts";
import { type Duration, parseDuration } from "../core/units.ts";
import { fieldTokens } from "../http/field_lines.ts";
import { type HeaderFields, isToken } from "../http/header_fields.ts";
import { addVary, checkFilter, FIELD_NAMES, refuse } from "./filter_support.ts";

/** Options of {@linkcode cors}. */
export interface CorsOptions {
  /**
   * Origins whose pages may send requests, such as `"https://app.example"`, `"*"` for all, or a function, which must
   * not be async. `"null"` is the origin of files and sandboxed frames, so any page can have it; allow it only if
   * intended.
   */
  origins: "*" | readonly string[] | ((origin: string, ctx: RequestContext) => boolean);
  /** Methods that pages may use. @default {["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]} */
  methods?: readonly string[];
  /** Fields that pages may send; `"any"` allows all. @default {"any"} */
  headers?: "any" | readonly string[];
  /** Fields of responses that pages may read. @default {[]} */
  exposeHeaders?: readonly string[];
  /** Whether pages may also read the fields of the limiter (`RateLimit` and others). @default {false} */
  exposeLimits?: boolean;
  /** Whether pages may send cookies and passwords; not with `"*"`. @default {false} */
  credentials?: boolean;
  /** How long a browser may cache the response to a preflight request. @default {"10m"} */
  maxAge?: Duration;
}

const LIMIT_FIELDS = [
  "retry-after",
  "ratelimit",
  "ratelimit-policy",
  ...["x-rate-limit", "x-ratelimit", "ratelimit"].flatMap((family) =>
    ["limit", "remaining", "reset"].map((name) => `${family}-${name}`)
  ),
];

const ORIGIN = text(
  'an origin such as "https://app.example"',
  (origin) => origin === "null" || URL.parse(origin)?.origin === origin,
);
const ORIGINS = list(ORIGIN, '"*", an array of origins, or a function');

const OPTIONS = object<CorsOptions>(
  {
    origins: required(
      choose((origins) => origins === "*" ? ANYTHING : typeof origins === "function" ? FUNCTION : ORIGINS),
    ),
    methods: list(text("a method", isToken), "an array of methods"),
    headers: choose((headers) => headers === "any" ? ANYTHING : FIELD_NAMES),
    exposeHeaders: FIELD_NAMES,
    exposeLimits: FLAG,
    credentials: FLAG,
    maxAge: DURATION,
  },
  'an object with "origins"',
  {
    check({ origins, credentials }, report) {
      if (origins !== "*" || credentials !== true) return;
      report('are not possible with the origins "*"; name those that may send them', "credentials");
    },
  },
);

/**
 * Allows cross-origin requests: responds to preflight requests, and adds the fields that browsers require.
 *
 * The fields are also on local replies, so that a page can distinguish a 429 from an unreachable server; such fields of
 * a server are removed. A preflight request from an origin that is not allowed gets 403. Other requests from it are
 * forwarded, and the browser hides the response from the page. Put this filter first in `filters`: preflight requests
 * have no credentials.
 *
 * @throws {TypeError} when an option is invalid, or `credentials` is used with `"*"`
 *
 * @example
 * ```ts
 * import { cors, defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   filters: [cors({ origins: ["https://app.example"], credentials: true, exposeLimits: true })],
 * });
 * ```
 */
export function cors(options: CorsOptions): Filters {
  checkFilter("cors", OPTIONS, options);
  const {
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
    headers = "any",
    credentials = false,
  } = options;
  const { exposeHeaders = [], exposeLimits = false, maxAge = "10m" } = options;
  const allows = originTest(options);
  const allOrigins = options.origins === "*";
  const grant = (response: HeaderFields, ctx: RequestContext): void => {
    for (const name of GRANTS) response.delete(name);
    const origin = ctx.request.headers.get("origin");
    if (!allOrigins) addVary(response, "Origin");
    if (origin === null || !allows(origin, ctx)) return;
    response.set("access-control-allow-origin", allOrigins ? "*" : origin);
    if (credentials) response.set("access-control-allow-credentials", "true");
    if (exposed !== "" && !isPreflight(ctx)) response.set("access-control-expose-headers", exposed);
  };
  const exposed = [...exposeHeaders, ...(exposeLimits ? LIMIT_FIELDS : [])]
    .map((name) => name.toLowerCase()).join(", ");
  const allowedMethods = methods.join(", ");
  const allowedHeaders = headers === "any" ? null : headers.map((name) => name.toLowerCase()).join(", ");
  const maxAgeSeconds = String(Math.floor(parseDuration(maxAge)! / 1000));
  return named("cors", {
    requestFilter: (request, ctx) => {
      if (!isPreflight(ctx)) return;
      if (!allows(request.headers.get("origin")!, ctx)) {
        return refuse(403, "Pages of this origin must not ask");
      }
      const response = new Response(null, { status: 204 });
      response.headers.set("access-control-allow-methods", allowedMethods);
      const fields = allowedHeaders ?? requestedFields(request);
      if (fields !== "") response.headers.set("access-control-allow-headers", fields);
      response.headers.set("access-control-max-age", maxAgeSeconds);
      response.headers.set("vary", "Access-Control-Request-Method, Access-Control-Request-Headers");
      return response;
    },
    responseFilter: (response, ctx) => grant(response.headers, ctx),
    localReplyFilter: (response, ctx) => grant(response.headers, ctx),
  });
}

/** Fields set only by this filter: with a second value of the server, browsers would refuse the response. */
const GRANTS = [
  "access-control-allow-origin",
  "access-control-allow-credentials",
  "access-control-expose-headers",
];

function isPreflight({ method, request: { headers } }: RequestContext): boolean {
  return method === "OPTIONS" && headers.has("origin") && headers.has("access-control-request-method");
}

/** The valid names of fields that a page requests. */
function requestedFields({ headers }: Request): string {
  return fieldTokens(headers.get("access-control-request-headers") ?? "").filter(isToken).join(", ");
}

function originTest({ origins }: CorsOptions): (origin: string, ctx: RequestContext) => boolean {
  if (typeof origins === "function") return (origin, ctx) => checkedBoolean(origins(origin, ctx));
  if (origins === "*") return () => true;
  const known = new Set(origins);
  return (origin) => known.has(origin);
}
