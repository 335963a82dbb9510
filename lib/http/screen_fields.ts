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
  let refused: string | null = null;
  if (lines.underscore && underscores !== "pass") {
    for (let line = 0; line < lines.count; line++) {
      const name = lines.name(line);
      if (!name.includes("_")) continue;
      refused ??= name;
      headers.remove(line);
    }
  }
  if (lines.emptyValue) removeEmptyRepeats(headers);
  // Filters are asked about a refusal too, and must not see them then either.
  if (refused !== null && underscores === "refuse") throw underscoreError(refused);
}

/** The error for a field with an underscore in its name, where these are refused. */
export function underscoreError(name: string): RequestError {
  return new RequestError(`Names of fields must not have underscores, received ${JSON.stringify(name)}`);
}

// Names are counted first: comparing each empty line with every other takes square time.
function removeEmptyRepeats(headers: HeaderFields): void {
  const lines = headers.lines!;
  const counts = new Map<string, number>();
  for (let line = 0; line < lines.count; line++) {
    if (headers.isRemoved(line)) continue;
    const name = lines.name(line);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  for (let line = 0; line < lines.count; line++) {
    if (lines.valueStart(line) !== lines.valueEnd(line) || headers.isRemoved(line)) continue;
    const name = lines.name(line);
    const count = counts.get(name)!;
    if (count === 1) continue;
    headers.remove(line);
    counts.set(name, count - 1);
  }
}
