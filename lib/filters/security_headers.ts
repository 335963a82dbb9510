/** Fields that make browsers careful. */

import type { Filters } from "../filter/filters.ts";
import type { RequestContext } from "../filter/request_context.ts";
import type { HeaderFields } from "../http/header_fields.ts";
import { checkedFieldName, checkedFieldValue } from "./checked_fields.ts";
import { checkOptions } from "./checked_options.ts";

/** What {@linkcode securityHeaders} sets; `false` leaves a field out. */
export interface SecurityHeadersOptions {
  /** `X-Content-Type-Options`: content is what it is declared to be. @default {"nosniff"} */
  contentTypeOptions?: string | false;
  /** `X-Frame-Options`: who may show a page in a frame. @default {"SAMEORIGIN"} */
  frameOptions?: string | false;
  /** `Referrer-Policy`: what other sites learn of where a visitor came from. @default {"strict-origin-when-cross-origin"} */
  referrerPolicy?: string | false;
  /** `Strict-Transport-Security`, only over TLS (RFC 6797 section 7.2). @default {"max-age=31536000"} */
  strictTransportSecurity?: string | false;
  /** `Content-Security-Policy`; there is none that suits every site. @default {false} */
  contentSecurityPolicy?: string | false;
  /** `Permissions-Policy`. @default {false} */
  permissionsPolicy?: string | false;
  /** `Cross-Origin-Opener-Policy`. @default {false} */
  crossOriginOpenerPolicy?: string | false;
  /** `Cross-Origin-Resource-Policy`. @default {false} */
  crossOriginResourcePolicy?: string | false;
  /** Fields that say what a server is made of, and that clients do not get. @default {["server", "x-powered-by"]} */
  remove?: readonly string[];
}

/** The options, and which of them are required. */
const OPTIONS = {
  contentTypeOptions: false,
  frameOptions: false,
  referrerPolicy: false,
  strictTransportSecurity: false,
  contentSecurityPolicy: false,
  permissionsPolicy: false,
  crossOriginOpenerPolicy: false,
  crossOriginResourcePolicy: false,
  remove: false,
} satisfies Record<keyof SecurityHeadersOptions, boolean>;

/**
 * Sets what a browser needs to be told to be careful, on responses of servers and on local replies.
 *
 * A field that the server has set itself stays: it knows its pages.
 *
 * @throws {TypeError} when a value cannot stand in a field
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
  checkOptions("securityHeaders", options, OPTIONS);
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
  const always = checkedFields({
    "x-content-type-options": contentTypeOptions,
    "x-frame-options": frameOptions,
    "referrer-policy": referrerPolicy,
    "content-security-policy": contentSecurityPolicy,
    "permissions-policy": permissionsPolicy,
    "cross-origin-opener-policy": crossOriginOpenerPolicy,
    "cross-origin-resource-policy": crossOriginResourcePolicy,
  });
  const overTls = checkedFields({ "strict-transport-security": strictTransportSecurity });
  const removed = remove.map((name) => checkedFieldName("securityHeaders", name));
  const edit = ({ headers }: { headers: HeaderFields }, { request }: RequestContext): void => {
    for (const name of removed) headers.delete(name);
    addMissing(headers, always);
    if (request.url.startsWith("https:")) addMissing(headers, overTls);
  };
  return { responseFilter: edit, ownResponseFilter: edit };
}

function checkedFields(fields: Readonly<Record<string, string | false>>): readonly [string, string][] {
  return Object.entries(fields)
    .filter((entry): entry is [string, string] => entry[1] !== false)
    .map(([name, value]) => [name, checkedFieldValue("securityHeaders", name, value)]);
}

function addMissing(headers: HeaderFields, fields: readonly [string, string][]): void {
  for (const [name, value] of fields) {
    if (!headers.has(name)) headers.set(name, value);
  }
}
