/** What ready-made filters share: rules for fields, local replies, `Vary`. */

import { byName, checkOptions, list, type Rule, text } from "../core/options.ts";
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
