/** Requests of pages of other sites (CORS, Fetch standard section 3.2). */

import type { Filters } from "../filter/filters.ts";
import type { RequestContext } from "../filter/request_context.ts";
import { checkedBoolean } from "../core/callback.ts";
import { type Duration, DURATION_EXPECTED, parseDuration } from "../core/units.ts";
import { fieldTokens } from "../http/field_lines.ts";
import { type HeaderFields, isToken } from "../http/header_fields.ts";
import { addVary, checkedFieldName, checkOptions, refuse } from "./filter_support.ts";

/** What {@linkcode cors} takes. */
export interface CorsOptions {
  /**
   * Whose pages may ask: origins such as `"https://app.example"`, `"*"` for all, or a function, which must not be async. `"null"`, the origin of
   * files and sandboxed frames, is that of anybody, and has to be named like others.
   */
  origins: "*" | readonly string[] | ((origin: string, ctx: RequestContext) => boolean);
  /** Methods that pages may use. @default {["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]} */
  methods?: readonly string[];
  /** Fields that pages may send; `"any"` is whatever a page asks for. @default {"any"} */
  headers?: "any" | readonly string[];
  /** Fields of responses that pages may read. @default {[]} */
  exposeHeaders?: readonly string[];
  /** Whether pages may read what the limiter says, `RateLimit` and its relatives, too. @default {false} */
  exposeLimits?: boolean;
  /** Whether pages may send cookies and passwords; not with `"*"`. @default {false} */
  credentials?: boolean;
  /** How long a browser may keep the response to a preflight request. @default {"10m"} */
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

/** The options, and which of them are required. */
const OPTIONS = {
  origins: true,
  methods: false,
  headers: false,
  exposeHeaders: false,
  exposeLimits: false,
  credentials: false,
  maxAge: false,
} satisfies Record<keyof CorsOptions, boolean>;

/**
 * Lets pages of other sites ask: responds to their preflight requests, and adds the fields by which a browser knows.
 *
 * The fields are on local replies too, so that a page can tell a 429 from a server that is gone; those that
 * a server has set itself go. A preflight of an origin that may not ask gets 403; any other request of it goes to the
 * server, and the browser keeps the response from the page. Comes first in `filters`, since a preflight has no password.
 *
 * @throws {TypeError} when an option cannot be read, or `credentials` come with `"*"`
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
  checkOptions("cors", options, OPTIONS);
  const {
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
    headers = "any",
    credentials = false,
  } = options;
  const { exposeHeaders = [], exposeLimits = false, maxAge = "10m" } = options;
  const allows = originTest(options);
  const everybody = options.origins === "*";
  const grant = (response: HeaderFields, ctx: RequestContext): void => {
    for (const name of GRANTS) response.delete(name);
    const origin = ctx.request.headers.get("origin");
    if (!everybody) addVary(response, "Origin");
    if (origin === null || !allows(origin, ctx)) return;
    response.set("access-control-allow-origin", everybody ? "*" : origin);
    if (credentials) response.set("access-control-allow-credentials", "true");
    if (exposed !== "" && !isPreflight(ctx)) response.set("access-control-expose-headers", exposed);
  };
  const exposed = [...exposeHeaders, ...(exposeLimits ? LIMIT_FIELDS : [])]
    .map((name) => checkedFieldName("cors", name)).join(", ");
  const allowedMethods = methods.map(checkedMethod).join(", ");
  const allowedHeaders = headers === "any"
    ? null
    : headers.map((name) => checkedFieldName("cors", name)).join(", ");
  const maxAgeSeconds = seconds(maxAge);
  return {
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
  };
}

/** Fields that are this filter's alone; a second value beside ours would make browsers refuse the response. */
const GRANTS = [
  "access-control-allow-origin",
  "access-control-allow-credentials",
  "access-control-expose-headers",
];

function isPreflight({ method, request: { headers } }: RequestContext): boolean {
  return method === "OPTIONS" && headers.has("origin") && headers.has("access-control-request-method");
}

/** The fields that a page asks for, without what is none. */
function requestedFields({ headers }: Request): string {
  return fieldTokens(headers.get("access-control-request-headers") ?? "").filter(isToken).join(", ");
}

function originTest({ origins, credentials }: CorsOptions): (origin: string, ctx: RequestContext) => boolean {
  if (typeof origins === "function") return (origin, ctx) => checkedBoolean(origins(origin, ctx));
  if (origins === "*") {
    if (!credentials) return () => true;
    throw new TypeError(
      'Cannot make the filter cors: "credentials" are not possible with the origins "*"; name those that may send them',
    );
  }
  for (const origin of origins) {
    if (origin !== "null" && !(URL.canParse(origin) && new URL(origin).origin === origin)) {
      throw new TypeError(
        `Cannot make the filter cors: expected an origin such as "https://app.example", received ${
          JSON.stringify(origin)
        }`,
      );
    }
  }
  const known = new Set(origins);
  return (origin) => known.has(origin);
}

function checkedMethod(method: string): string {
  if (isToken(method)) return method;
  throw new TypeError(`Cannot make the filter cors: ${JSON.stringify(method)} is not a method`);
}

function seconds(maxAge: Duration): string {
  const ms = parseDuration(maxAge);
  if (ms !== undefined) return String(Math.floor(ms / 1000));
  throw new TypeError(
    `Cannot make the filter cors: "maxAge" must be ${DURATION_EXPECTED}, received ${JSON.stringify(maxAge)}`,
  );
}
