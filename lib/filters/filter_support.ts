/** What ready-made filters share: rules for fields, local replies, `Vary`, credentials. */

import { byName, checkOptions, list, type Rule, text, word } from "../core/options.ts";
import { fieldTokens } from "../http/field_lines.ts";
import { type HeaderFields, isFieldValue, isToken } from "../http/header_fields.ts";
import { problemBody } from "../http/make_response.ts";

/** The name of a field. */
export const FIELD_NAME: Rule = text("the name of a field", isToken);
/** Names of fields. */
export const FIELD_NAMES: Rule = list(FIELD_NAME, "an array of names of fields");
/** The value of a field; a line break would begin a field of its own. */
export const FIELD_VALUE: Rule = text("the value of a field, without line breaks", isFieldValue);

/** An object of fields, by their names. */
export function fields(value: Rule, expected: string): Rule {
  return byName(value, expected, (name) => isToken(name) ? undefined : "is not the name of a field");
}

/**
 * Makes sure of the options of a filter.
 *
 * @throws {TypeError} when anything is wrong with them, listing all of it
 */
export function checkFilter(filter: string, rule: Rule, options: unknown, subject?: string): void {
  checkOptions(`make the filter ${filter}`, rule, options, subject);
}

/** A problem document (RFC 9457) with more fields. */
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

/** Adds a name to `Vary` (RFC 9110 section 12.5.5) unless it is there. */
export function addVary(headers: HeaderFields, name: string): void {
  const vary = headers.get("vary");
  if (vary === null || vary === "") return headers.set("vary", name);
  const wanted = name.toLowerCase();
  const covered = fieldTokens(vary).some((token) => token === "*" || token.toLowerCase() === wanted);
  if (!covered) headers.set("vary", `${vary}, ${name}`);
}

// What a client shows to be let in, and how servers are told who it is.

/** `token68` of RFC 9110 section 11.2, which is also the `b64token` of RFC 6750 section 2.1. */
const CREDENTIALS = /^([A-Za-z]+) +([A-Za-z0-9\-._~+/]+=*)$/;

/**
 * The credentials of `Authorization` for a scheme; `null` when there are none, or of another scheme, or several.
 *
 * @param scheme in lower case
 */
export function readCredentials(authorization: string | null, scheme: "basic" | "bearer"): string | null {
  if (authorization === null) return null;
  const match = CREDENTIALS.exec(authorization);
  return match !== null && match[1]!.toLowerCase() === scheme ? match[2]! : null;
}

/** What a client is asked for credentials to. */
export const REALM: Rule = text(
  "a text of visible ASCII characters and spaces",
  (value) => /^[\x20-\x7e]*$/.test(value),
);

/** Writes text as a quoted string (RFC 9110 section 5.6.4), of which it has the characters. */
export function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}

/**
 * How a value stands in a field:
 *
 * - `"plain"`: as it is. Only visible characters of ASCII with spaces between them can be carried so; servers would
 *   take others for something else (RFC 9110 section 5.5), such as `"admin "` for `"admin"`;
 * - `"percent"`: percent-encoded as `encodeURIComponent` does it, any text, for servers that decode it.
 */
export type IdentityEncoding = "plain" | "percent";

const EXACT = /^(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?$/;

/** How values stand in fields. */
export const ENCODING: Rule = word(["plain", "percent"] satisfies IdentityEncoding[]);

/**
 * The value as it stands in the field; `null` when it cannot be carried there, so that the server would take it for
 * another one.
 *
 * @param value a text, a number that is exact, or a boolean; nothing else can be carried
 */
export function identityText(value: unknown, encoding: IdentityEncoding): string | null {
  switch (typeof value) {
    case "string":
      if (encoding === "plain") return EXACT.test(value) ? value : null;
      return value.isWellFormed() ? encodeURIComponent(value) : null;
    case "number":
      // A larger whole number has lost its last digits when it was read, and two of them look the same.
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
 * Replaces the field, in any spelling that a server could take for it: behind CGI and its heirs `X_User` is the same
 * variable as `X-User`.
 *
 * @param name in lower case
 * @param value as {@linkcode identityText} makes it; `null` only takes the client's away
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

/** Whether two texts are the same, in a time that depends on neither where they differ nor how long the secret one is. */
export async function sameDigest(given: string, secret: string): Promise<boolean> {
  const [left, right] = await Promise.all([digest(given), digest(secret)]);
  let difference = 0;
  for (let i = 0; i < left.length; i++) difference |= left[i]! ^ right[i]!;
  return difference === 0;
}

async function digest(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(text)));
}
