/** Makes the fields of a client mean the same to everybody who looks at them. */

import { RequestError } from "../core/errors.ts";
import type { HeaderFields } from "./header_fields.ts";

/** What becomes of fields with underscores in their names. */
export type Underscores = "drop" | "refuse" | "pass";

/**
 * Removes what keys and filters would see otherwise than servers: empty lines of a field that has others, and fields with
 * underscores in their names, which servers behind CGI and its heirs take for those with dashes.
 *
 * @throws {RequestError} 400 for an underscore where these are refused
 */
export function screenFields(headers: HeaderFields, underscores: Underscores): void {
  const { lines } = headers;
  if (lines === null) return;
  if (lines.underscore && underscores !== "pass") {
    for (let line = 0; line < lines.count; line++) {
      const name = lines.name(line);
      if (!name.includes("_")) continue;
      if (underscores === "refuse") throw underscoreError(name);
      headers.remove(line);
    }
  }
  if (lines.emptyValue) {
    for (let line = 0; line < lines.count; line++) {
      if (lines.valueStart(line) === lines.valueEnd(line) && isRepeated(headers, line)) headers.remove(line);
    }
  }
}

/** The error for a field with an underscore in its name, where these are refused. */
export function underscoreError(name: string): RequestError {
  return new RequestError(`Names of fields must not have underscores, received ${JSON.stringify(name)}`);
}

function isRepeated(headers: HeaderFields, line: number): boolean {
  const lines = headers.lines!;
  const name = lines.name(line);
  const id = lines.id(line);
  for (let other = 0; other < lines.count; other++) {
    if (other !== line && !headers.isRemoved(other) && lines.isNamed(other, name, id)) return true;
  }
  return false;
}
