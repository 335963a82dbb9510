/** Errors as a client sees them. */

import { OUT_OF_RESOURCES, OVERLOADED, type ProxyError } from "../core/errors.ts";
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

/**
 * The fields of the response to a failure.
 *
 * `Proxy-Status` (RFC 9209) names the kind of failure. Only what a client may know is said: details of a client's own
 * mistake, never those of a server or a filter.
 */
export function problemFields(error: ProxyError): HeaderFields {
  const { code, headers } = error;
  // RFC 9209 has no type of its own for it.
  const own = code === OUT_OF_RESOURCES.code || code === OVERLOADED;
  const type = own ? `proxy_internal_error; details="${code}"` : code;
  const fields = new HeaderFields();
  fields.list.push("content-type", "application/problem+json", "cache-control", "no-store");
  for (const [name, value] of Object.entries(headers)) fields.set(name, value);
  fields.list.push("proxy-status", `${PROXY_NAME}; error=${type}`);
  return fields;
}
