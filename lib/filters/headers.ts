/** Filters that set and remove fields, and set security fields. */

import { choose, FUNCTION, object, orFalse } from "../core/options.ts";
import { unexpected } from "../core/callback.ts";
import { type Filters, named } from "../filter/filters.ts";
import { type RequestContext, schemeOf } from "../filter/request_context.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import { checkFilter, FIELD_NAMES, FIELD_VALUE, fields } from "./filter_support.ts";

/**
 * A value, or a function that returns it; no result keeps the field. Must not be async. A result for the server with
 * white space around it is an error: without the white space two users could become one.
 */
type FieldValue = NonNullable<SetHeadersOptions["request"]>[string];

/** Fields to set, by name. */
export interface SetHeadersOptions {
  /**
   * Fields of requests to the server.
   * A value, or a function that returns it; `null` keeps the field. Must not be async. A value with white space around
   * it is an error: without the white space two users could become one.
   *
   * @default {{}}
   */
  request?: Readonly<Record<string, string | ((ctx: RequestContext) => string | null)>>;
  /** Fields of responses to the client, local replies included. @default {{}} */
  response?: Readonly<Record<string, string | ((ctx: RequestContext) => string | null)>>;
}

const VALUES = fields(
  choose((value) => typeof value === "function" ? FUNCTION : FIELD_VALUE),
  "an object of fields and their values",
);
const SET_OPTIONS = object<SetHeadersOptions>(
  { request: VALUES, response: VALUES },
  'an object with "request" and "response"',
);

/**
 * Sets fields; each replaces the field of the client or the server.
 *
 * @throws {TypeError} when a name or a value is invalid; for a value of a function, when the function runs
 *
 * @example
 * ```ts
 * import { defineConfig, setHeaders } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   filters: [setHeaders({
 *     request: { host: "api.internal" },
 *     response: { "x-served-by": (ctx) => ctx.server?.address ?? null },
 *   })],
 * });
 * ```
 */
export function setHeaders(options: SetHeadersOptions): Filters {
  checkFilter("setHeaders", SET_OPTIONS, options);
  const { request = {}, response = {} } = options;
  const onRequest = compileFields(request, true);
  const onResponse = compileFields(response, false);
  return named("setHeaders", {
    ...(onRequest === null ? {} : { upstreamRequestFilter: ({ headers }, ctx) => onRequest(headers, ctx) }),
    ...(onResponse === null ? {} : {
      responseFilter: ({ headers }, ctx) => onResponse(headers, ctx),
      localReplyFilter: ({ headers }, ctx) => onResponse(headers, ctx),
    }),
  });
}

function compileFields(
  values: Readonly<Record<string, FieldValue>>,
  exact: boolean,
): ((headers: HeaderFields, ctx: RequestContext) => void) | null {
  const entries = Object.entries(values).map(([name, value]) => [name.toLowerCase(), value] as const);
  if (entries.length === 0) return null;
  return (headers, ctx) => {
    for (const [name, value] of entries) {
      const text: unknown = typeof value === "function" ? value(ctx) : value;
      if (text === null || text === undefined) continue;
      if (typeof text !== "string") throw unexpected(`a text for the field "${name}", or null`, text);
      if (exact && /^\s|\s$/.test(text)) {
        throw new TypeError(`the field "${name}" cannot carry ${JSON.stringify(text)} exactly`);
      }
      headers.set(name, text);
    }
  };
}

const REMOVE_OPTIONS = object<Parameters<typeof removeHeaders>[0]>(
  { request: FIELD_NAMES, response: FIELD_NAMES },
  'an object with "request" and "response"',
);

/**
 * Removes fields, with all lines of each.
 *
 * @throws {TypeError} when a field name is invalid
 *
 * @example
 * ```ts
 * import { defineConfig, removeHeaders } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   filters: [removeHeaders({ request: ["cookie"], response: ["server", "x-powered-by"] })],
 * });
 * ```
 */
export function removeHeaders(options: {
  /** Names of fields removed from requests to the server. @default {[]} */
  request?: readonly string[];
  /** Names of fields removed from responses to the client. @default {[]} */
  response?: readonly string[];
}): Filters {
  checkFilter("removeHeaders", REMOVE_OPTIONS, options);
  const { request = [], response = [] } = options;
  const fromRequest = request.map((name) => name.toLowerCase());
  const fromResponse = response.map((name) => name.toLowerCase());
  return named("removeHeaders", {
    ...(fromRequest.length === 0 ? {} : {
      upstreamRequestFilter: ({ headers }) => remove(headers, fromRequest),
    }),
    ...(fromResponse.length === 0 ? {} : {
      responseFilter: ({ headers }) => remove(headers, fromResponse),
      localReplyFilter: ({ headers }) => remove(headers, fromResponse),
    }),
  });
}

function remove(headers: HeaderFields, names: readonly string[]): void {
  for (const name of names) headers.delete(name);
}

/** Options of {@linkcode securityHeaders}; `false` omits a field. */
export interface SecurityHeadersOptions {
  /** `X-Content-Type-Options`: the declared content type applies. @default {"nosniff"} */
  contentTypeOptions?: string | false;
  /** `X-Frame-Options`: which pages may embed a page in a frame. @default {"SAMEORIGIN"} */
  frameOptions?: string | false;
  /** `Referrer-Policy`: what other sites learn about the previous page. @default {"strict-origin-when-cross-origin"} */
  referrerPolicy?: string | false;
  /**
   * `Strict-Transport-Security`, only over TLS (RFC 6797 section 7.2), which a trusted proxy may have ended.
   *
   * @default {"max-age=31536000"}
   */
  strictTransportSecurity?: string | false;
  /** `Content-Security-Policy`; no value suits every site. @default {false} */
  contentSecurityPolicy?: string | false;
  /** `Permissions-Policy`. @default {false} */
  permissionsPolicy?: string | false;
  /** `Cross-Origin-Opener-Policy`. @default {false} */
  crossOriginOpenerPolicy?: string | false;
  /** `Cross-Origin-Resource-Policy`. @default {false} */
  crossOriginResourcePolicy?: string | false;
  /** Fields about the software of the server, removed from responses. @default {["server", "x-powered-by"]} */
  remove?: readonly string[];
}

const SECURITY_OPTIONS = object<SecurityHeadersOptions>({
  contentTypeOptions: orFalse(FIELD_VALUE),
  frameOptions: orFalse(FIELD_VALUE),
  referrerPolicy: orFalse(FIELD_VALUE),
  strictTransportSecurity: orFalse(FIELD_VALUE),
  contentSecurityPolicy: orFalse(FIELD_VALUE),
  permissionsPolicy: orFalse(FIELD_VALUE),
  crossOriginOpenerPolicy: orFalse(FIELD_VALUE),
  crossOriginResourcePolicy: orFalse(FIELD_VALUE),
  remove: FIELD_NAMES,
}, "an object of fields, each a text or false");

/**
 * Sets security fields for browsers, on responses of servers and on local replies.
 *
 * A field that the server has set is kept: it knows its pages.
 *
 * @throws {TypeError} when a field value is invalid
 *
 * @example
 * ```ts
 * import { defineConfig, securityHeaders } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   filters: [securityHeaders({ frameOptions: "DENY", contentSecurityPolicy: "default-src 'self'" })],
 * });
 * ```
 */
export function securityHeaders(options: SecurityHeadersOptions = {}): Filters {
  checkFilter("securityHeaders", SECURITY_OPTIONS, options);
  const {
    contentTypeOptions = "nosniff",
    frameOptions = "SAMEORIGIN",
    referrerPolicy = "strict-origin-when-cross-origin",
    strictTransportSecurity = "max-age=31536000",
    contentSecurityPolicy = false,
    permissionsPolicy = false,
    crossOriginOpenerPolicy = false,
    crossOriginResourcePolicy = false,
    remove = ["server", "x-powered-by"],
  } = options;
  const always = present({
    "x-content-type-options": contentTypeOptions,
    "x-frame-options": frameOptions,
    "referrer-policy": referrerPolicy,
    "content-security-policy": contentSecurityPolicy,
    "permissions-policy": permissionsPolicy,
    "cross-origin-opener-policy": crossOriginOpenerPolicy,
    "cross-origin-resource-policy": crossOriginResourcePolicy,
  });
  const overTls = present({ "strict-transport-security": strictTransportSecurity });
  const removed = remove.map((name) => name.toLowerCase());
  const edit = ({ headers }: { headers: HeaderFields }, ctx: RequestContext): void => {
    for (const name of removed) headers.delete(name);
    addMissing(headers, always);
    if (schemeOf(ctx) === "https") addMissing(headers, overTls);
  };
  return named("securityHeaders", { responseFilter: edit, localReplyFilter: edit });
}

/** The fields that are not `false`. */
function present(all: Readonly<Record<string, string | false>>): readonly [string, string][] {
  return Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== false);
}

function addMissing(headers: HeaderFields, fields: readonly [string, string][]): void {
  for (const [name, value] of fields) {
    if (!headers.has(name)) headers.set(name, value);
  }
}
