/** Errors as a client sees them. */

import { OUT_OF_RESOURCES, OVERLOADED, type ProxyError, TLS_HANDSHAKE_TIMEOUT } from "../core/errors.ts";
import { PROXY_NAME } from "./forwarded.ts";
import { HeaderFields } from "./header_fields.ts";
import { reasonPhrase } from "./reason_phrase.ts";

const encoder = new TextEncoder();

/** Members of a problem document beside `type`, `title` and `status` (RFC 9457 section 3). */
interface ProblemMembers {
  readonly type?: string;
  readonly detail?: string;
  readonly [member: string]: unknown;
}

/** Makes a problem document (RFC 9457). */
export function problemBody(status: number, members: ProblemMembers = {}): Uint8Array<ArrayBuffer> {
  const { type = "about:blank", ...rest } = members;
  const title = reasonPhrase(status) || "Error";
  return encoder.encode(JSON.stringify({ type, title, status, ...rest }) + "\n");
}

/** The nearest types of RFC 9209 section 2.3 for failures that have none of their own. */
const NEAREST_TYPES: Readonly<Record<string, string>> = {
  [OUT_OF_RESOURCES.code]: "proxy_internal_error",
  [OVERLOADED]: "proxy_internal_error",
  [TLS_HANDSHAKE_TIMEOUT]: "connection_timeout",
};

/**
 * The fields of the response to a failure.
 *
 * `Proxy-Status` (RFC 9209) names the kind of failure. Only what a client may know is said: details of a client's own
 * mistake, never those of a server or a filter.
 */
export function problemFields(error: ProxyError): HeaderFields {
  const { code, headers } = error;
  const near = NEAREST_TYPES[code];
  const type = near === undefined ? code : `${near}; details="${code}"`;
  const fields = new HeaderFields();
  fields.list.push("content-type", "application/problem+json", "cache-control", "no-store");
  for (const [name, value] of Object.entries(headers)) fields.set(name, value);
  fields.list.push("proxy-status", `${PROXY_NAME}; error=${type}`);
  return fields;
}
