/** What ready-made filters share: options and fields that are checked, local replies, `Vary`. */

import { unknownName } from "../core/options.ts";
import { fieldTokens } from "../http/field_lines.ts";
import { type HeaderFields, isFieldValue, isToken } from "../http/header_fields.ts";
import { problemBody } from "../http/make_response.ts";

/**
 * Checks the names of options, which nothing else finds in a configuration without types.
 *
 * @param filter name of the filter, for the message
 * @param known every option that it has, and whether it is required
 * @throws {TypeError} for the first that it does not have, for one that is missing, or when there are no options at all
 */
export function checkOptions(
  filter: string,
  options: unknown,
  known: Readonly<Record<string, boolean>>,
): void {
  const fail = (problem: string) => new TypeError(`Cannot make the filter ${filter}: ${problem}`);
  const names = Object.keys(known);
  if (typeof options !== "object" || options === null) {
    throw fail(`it takes an object with ${names.map((name) => `"${name}"`).join(", ")}`);
  }
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(known, name)) throw fail(`"${name}" ${unknownName(name, names)}`);
  }
  for (const name of names) {
    if (known[name] && (options as Record<string, unknown>)[name] === undefined) {
      throw fail(`"${name}" is required`);
    }
  }
}

/**
 * Returns the name in lower case.
 *
 * @param filter who asks, for the error message
 * @throws {TypeError} when it cannot be the name of a field
 */
export function checkedFieldName(filter: string, name: unknown): string {
  if (typeof name === "string" && isToken(name)) return name.toLowerCase();
  throw new TypeError(`Cannot make the filter ${filter}: ${JSON.stringify(name)} is not the name of a field`);
}

/**
 * Returns the value.
 *
 * @throws {TypeError} when it cannot be the value of a field: a line break would begin a field of its own
 */
export function checkedFieldValue(filter: string, name: string, value: unknown): string {
  if (typeof value === "string" && isFieldValue(value)) return value;
  throw new TypeError(
    `Cannot make the filter ${filter}: ${JSON.stringify(value)} cannot be the value of the field "${name}"`,
  );
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
