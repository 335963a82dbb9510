/** Fields as they stand in a configuration. */

import { isFieldValue, isToken } from "../http/header_fields.ts";

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
