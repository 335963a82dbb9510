/** Helpers of ready-made filters: rules for fields, local replies, `Vary`, credentials. */

import { byName, checkOptions, list, type Rule, text, word } from "../core/options.ts";
import { fieldTokens } from "../http/field_lines.ts";
import { type HeaderFields, isFieldValue, isToken } from "../http/header_fields.ts";
import { problemBody } from "../http/make_response.ts";

/** A field name. */
export const FIELD_NAME: Rule = text("the name of a field", isToken);
/** Field names. */
export const FIELD_NAMES: Rule = list(FIELD_NAME, "an array of names of fields");
/** A field value; a line break would start another field. */
export const FIELD_VALUE: Rule = text("the value of a field, without line breaks", isFieldValue);

/** An object of values by field name. */
export function fields(value: Rule, expected: string): Rule {
  return byName(value, expected, (name) => isToken(name) ? undefined : "is not the name of a field");
}

/**
 * Checks the options of a filter.
 *
 * @throws {TypeError} when the options are invalid; the message lists all problems
 */
export function checkFilter(filter: string, rule: Rule, options: unknown, subject?: string): void {
  checkOptions(`make the filter ${filter}`, rule, options, subject);
}

/** A problem document (RFC 9457) with additional fields. */
export function refuse(
  status: number,
  detail: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return new Response(problemBody(status, { detail }), {
    status,
    headers: { "content-type": "application/problem+json", "cache-control": "no-store", ...headers },
  });
}

/** Adds a name to `Vary` (RFC 9110 section 12.5.5) unless it is listed. */
export function addVary(headers: HeaderFields, name: string): void {
  const vary = headers.get("vary");
  if (vary === null || vary === "") return headers.set("vary", name);
  const wanted = name.toLowerCase();
  const covered = fieldTokens(vary).some((token) => token === "*" || token.toLowerCase() === wanted);
  if (!covered) headers.set("vary", `${vary}, ${name}`);
}

// Credentials of clients, and fields with identities for servers.

/** `token68` of RFC 9110 section 11.2, which is also the `b64token` of RFC 6750 section 2.1. */
const CREDENTIALS = /^([A-Za-z]+) +([A-Za-z0-9\-._~+/]+=*)$/;

/**
 * The credentials in `Authorization` for a scheme; `null` if they are missing, of another scheme, or several.
 *
 * @param scheme in lower case
 */
export function readCredentials(authorization: string | null, scheme: "basic" | "bearer"): string | null {
  if (authorization === null) return null;
  const match = CREDENTIALS.exec(authorization);
  return match !== null && match[1]!.toLowerCase() === scheme ? match[2]! : null;
}

/** The realm of credentials. */
export const REALM: Rule = text(
  "a text of visible ASCII characters and spaces",
  (value) => /^[\x20-\x7e]*$/.test(value),
);

/** Formats text as a quoted string (RFC 9110 section 5.6.4); its characters must be valid there. */
export function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}

/**
 * Encoding of a value in a field:
 *
 * - `"plain"`: unchanged. Only visible ASCII with spaces between is allowed; servers could misread other values (RFC
 *   9110 section 5.5), such as `"admin "` as `"admin"`;
 * - `"percent"`: percent-encoded as by `encodeURIComponent`; any text, for servers that decode it.
 */
export type IdentityEncoding = "plain" | "percent";

const EXACT = /^(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?$/;

/** Encodings of values in fields. */
export const ENCODING: Rule = word(["plain", "percent"] satisfies IdentityEncoding[]);

/**
 * The value as field value; `null` if the field cannot carry it exactly, so that the server would read another value.
 *
 * @param value a text, an exact number, or a boolean; other values cannot be carried
 */
export function identityText(value: unknown, encoding: IdentityEncoding): string | null {
  switch (typeof value) {
    case "string":
      if (encoding === "plain") return EXACT.test(value) ? value : null;
      return value.isWellFormed() ? encodeURIComponent(value) : null;
    case "number":
      // A larger whole number may have been rounded when it was parsed, so two different numbers could be equal.
      return Number.isSafeInteger(value) || (Number.isFinite(value) && !Number.isInteger(value))
        ? String(value)
        : null;
    case "boolean":
    case "bigint":
      return String(value);
    default:
      return null;
  }
}

/**
 * Replaces a field in all spellings that a server may treat as the same: for CGI and similar interfaces `X_User` and
 * `X-User` are the same variable.
 *
 * @param name in lower case
 * @param value result of {@linkcode identityText}; `null` only removes the field of the client
 */
export function setIdentityField(headers: HeaderFields, name: string, value: string | null): void {
  const plain = name.replaceAll("_", "-");
  const spellings = new Set<string>();
  headers.forEach((_value, each) => {
    if (each.replaceAll("_", "-") === plain) spellings.add(each);
  });
  for (const spelling of spellings) headers.delete(spelling);
  if (value !== null) headers.set(name, value);
}

const encoder = new TextEncoder();

/** Whether two texts are equal, in a time independent of the position of the difference and of the secret's length. */
export async function sameDigest(given: string, secret: string): Promise<boolean> {
  const [left, right] = await Promise.all([digest(given), digest(secret)]);
  let difference = 0;
  for (let i = 0; i < left.length; i++) difference |= left[i]! ^ right[i]!;
  return difference === 0;
}

async function digest(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(text)));
}
